"""Secret (v1): certificates of gateways. Its values never reach a log."""

from typing import ClassVar

from msgspec import field

from crds.meta import KubernetesObject, Resource


class Secret(KubernetesObject, frozen=True, kw_only=True):
    """`repr` and `str` show the names of the keys only."""

    resource: ClassVar = Resource("", "secrets", ("v1",), "v1")
    type: str = "Opaque"
    data: dict[str, bytes] = field(default_factory=dict)
    string_data: dict[str, str] = field(default_factory=dict)

    def value(self, name: str) -> bytes | None:
        """The value of a key; what `stringData` says wins, as when the API server writes it into `data`."""
        if name in self.string_data:
            return self.string_data[name].encode()
        return self.data.get(name)

    def __repr__(self) -> str:
        names = ", ".join(sorted({*self.data, *self.string_data}))
        return f"<Secret {self.namespace}/{self.name} type={self.type} keys=[{names}] values redacted>"
