"""How fast it is: `make bench` and `make soak` (docs/performance.md)."""
