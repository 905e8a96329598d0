"""Everything that one revision is made of, rendered from the charts."""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dragoman.charts import Chart, ChartError, Release, Values
from dragoman.charts.values import overlaid
from dragoman.installation.objects import Document, identity

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGER: Final = "dragoman"
"""Value of that label, and field manager of what is applied."""

_SHARED: Final = ("global", "revision")
"""Values that every chart that has them is given."""


class Component(enum.StrEnum):
    """The charts, in the order in which they are installed."""

    BASE = "base"
    CONTROL_PLANE = "control-plane"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Part:
    """An object, and the chart that it is of."""

    component: Component
    document: Document


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is applied for a revision; `revision` is "default" where none was named."""

    namespace: str
    revision: str
    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()
    """What to do next, of the control plane and of each gateway."""

    @property
    def documents(self) -> tuple[Document, ...]:
        """The objects, in the order in which they are applied."""
        return tuple(part.document for part in self.parts)


def charts_folder() -> Path:
    """Where the charts are: in the package, or in the source tree that the package runs from."""
    packaged = Path(__file__).with_name("charts")
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "deploy" / "charts"


def bundle(values: Values, *, namespace: str) -> Bundle:
    """Render the charts. Raises ChartError.

    `values` are those of the chart `control-plane`, and beside them `base`, values of that chart, and `gateways`,
    values of the chart `gateway` by name; a gateway's `namespace` is that of the control plane if it names none.
    """
    values = overlaid(values, {"global": {"istioNamespace": namespace}})
    own = {key: value for key, value in values.items() if key not in ("base", "gateways")}
    releases = [
        (Component.BASE, _shared(Component.BASE, own) | _mapping(values, "base"), Release("dragoman-base", namespace)),
        (Component.CONTROL_PLANE, own, Release("dragoman", namespace)),
    ]
    for name, given in sorted(_mapping(values, "gateways").items()):
        gateway = dict(_mapping({name: given}, name))
        where = gateway.pop("namespace", namespace)
        releases.append((Component.GATEWAY, _shared(Component.GATEWAY, own) | gateway, Release(name, where)))
    parts = [Part(Component.BASE, _namespace(namespace, privileged=_asks_for_cni(own)))]
    for release in releases:
        parts += _rendered(*release)
    notes = [_chart(chart).notes(given, release) for chart, given, release in releases if chart is not Component.BASE]
    revision = own.get("revision") or "default"
    order = list(Component)
    ranked = sorted(parts, key=lambda part: (order.index(part.component), identity(part.document).rank))
    return Bundle(namespace, revision, tuple(ranked), tuple(notes))


def _mapping(values: Values, key: str) -> Values:
    found = values.get(key) or {}
    if not isinstance(found, dict):
        raise ChartError(f"values: {key}: a map is expected")
    return found


def _shared(component: Component, values: Values) -> Values:
    chart = _chart(component)
    return {key: values[key] for key in _SHARED if key in values and chart.takes(key)}


def _rendered(component: Component, values: Values, release: Release) -> list[Part]:
    return [Part(component, _managed(each.document)) for each in _chart(component).render(values, release)]


@functools.cache
def _chart(component: Component) -> Chart:
    return Chart(charts_folder() / component)


def _managed(document: Document) -> Document:
    metadata = document["metadata"]
    return {**document, "metadata": {**metadata, "labels": {**metadata.get("labels", {}), MANAGED_BY: MANAGER}}}


def _asks_for_cni(values: Values) -> bool:
    cni: Any = values.get("cni")
    return isinstance(cni, dict) and cni.get("enabled") is True


def _namespace(name: str, *, privileged: bool) -> Document:
    """The control plane's namespace. Only the node agent, which enters other pods, needs more than `restricted`."""
    level = "privileged" if privileged else "restricted"
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {
                "pod-security.kubernetes.io/enforce": level,
                "pod-security.kubernetes.io/warn": level,
            },
        },
    }
