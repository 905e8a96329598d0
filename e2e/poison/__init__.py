"""Resources that Envoy rejects, from a control plane that would never make them: see `e2e/test_poison.py`."""
