"""Commands that show what control planes and proxies have: on this machine, or in a cluster."""
