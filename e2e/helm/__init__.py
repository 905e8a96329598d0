"""Helm itself for the tests, built from its Go module into a cache outside of the tree."""
