"""What an API server is told of our kinds, made from the models."""

from crds.manifests.definition import definition, definitions
from crds.manifests.policies import admission_policies

__all__ = ["admission_policies", "definition", "definitions"]
