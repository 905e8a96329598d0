"""Istio's own client of the certificate service for the tests, built from Istio's Go module into a cache outside of the
tree."""
