"""What runs only beside an API server: leader election, status, distribution of roots."""
