"""ConfigMaps and Secrets, as containers use them: bytes by key."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from e2e.harness.kubelet.watching import Object, Watched


@dataclass(frozen=True, slots=True)
class ConfigurationObjects:
    """Those of a cluster."""

    config_maps: Watched
    secrets: Watched

    @property
    def version(self) -> tuple[int, int]:
        """Another as soon as any of them has changed."""
        return self.config_maps.version, self.secrets.version

    def config_map(self, namespace: str, name: str, *, optional: bool = False) -> Mapping[str, bytes]:
        """The data of a ConfigMap. Raises LookupError, but for an optional one that is not there."""
        found = _found(self.config_maps, "configmap", namespace, name, optional)
        text = {key: value.encode() for key, value in found.get("data", {}).items()}
        return text | {key: base64.b64decode(value) for key, value in found.get("binaryData", {}).items()}

    def secret(self, namespace: str, name: str, *, optional: bool = False) -> Mapping[str, bytes]:
        """The data of a Secret. Raises LookupError, but for an optional one that is not there."""
        found = _found(self.secrets, "secret", namespace, name, optional)
        return {key: base64.b64decode(value) for key, value in found.get("data", {}).items()}

    def of_reference(self, kind: str, namespace: str, reference: Object) -> Mapping[str, bytes]:
        """The data behind `configMapRef`, `configMapKeyRef`, `secretRef` or `secretKeyRef`. Raises LookupError."""
        find = self.config_map if kind.startswith("configMap") else self.secret
        return find(namespace, reference["name"], optional=reference.get("optional", False))


def _found(watched: Watched, kind: str, namespace: str, name: str, optional: bool) -> Object:
    found = watched.get(namespace, name)
    if found is None and not optional:
        raise LookupError(f'{kind} "{name}" not found')
    return found or {}
