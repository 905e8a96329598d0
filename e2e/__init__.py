"""End-to-end tests: real Envoys with transparent capture, pods as network namespaces."""
