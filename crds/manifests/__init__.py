"""What an API server is told of our kinds, made from the models."""

from crds.manifests.definition import definition, definitions

__all__ = ["definition", "definitions"]
