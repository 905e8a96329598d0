"""The Kubernetes API as it is over HTTP: requests, resources, errors. Knows nothing of meshes."""
