"""Kubernetes' own programs for the tests, built from Go modules: see `e2e.apiserver.build`."""
