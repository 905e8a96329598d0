"""The HTTP endpoint: readiness, metrics, and pages that show the state of the mesh and of every proxy."""
