"""Test servers: one program, as many protocols as asked for."""
