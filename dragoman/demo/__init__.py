"""The demonstration mesh that runs on one machine without root."""
