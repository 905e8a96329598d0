"""Which pods get a sidecar, in Istio's order: each row differs in one thing from one that decides otherwise."""

from typing import Any

import msgspec
import pytest
from injected_proxy import SETTINGS, pod_of

from crds.labelselector import LabelSelector
from dragoman.sidecar.injection import Injected, InjectionSettings, NamespaceFacts, NotInjected, inject

SHOP = NamespaceFacts("shop")
NEVER = (LabelSelector(match_labels={"team": "batch"}),)
ALWAYS = (msgspec.convert({"matchExpressions": [{"key": "meshed", "operator": "Exists"}]}, LabelSelector),)


def decision(
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    *,
    namespace: NamespaceFacts = SHOP,
    spec: dict[str, Any] | None = None,
    **settings: Any,
) -> str | None:
    """Why there is no sidecar, None if there is one."""
    pod = pod_of(annotations=annotations, **(spec or {}))
    pod["metadata"]["labels"] |= labels or {}
    made = inject(pod, namespace=namespace, settings=InjectionSettings(drain_secret=b"x", **settings))
    return made.reason if isinstance(made, NotInjected) else None


INJECT = "sidecar.istio.io/inject"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({}, None),
        ({"policy": "disabled"}, "policy"),
        ({"labels": {INJECT: "true"}, "policy": "disabled"}, None),
        ({"annotations": {INJECT: "true"}, "policy": "disabled"}, None),
        ({"labels": {INJECT: "false"}}, INJECT),
        ({"annotations": {INJECT: "false"}}, INJECT),
        ({"labels": {INJECT: "true"}, "annotations": {INJECT: "false"}}, None),  # the label is the newer API
        ({"labels": {INJECT: "yes"}, "policy": "disabled"}, "policy"),  # not understood is not written
        ({"labels": {INJECT: "true"}, "spec": {"hostNetwork": True}}, "hostNetwork"),
        ({"labels": {INJECT: "true"}, "namespace": NamespaceFacts("kube-system")}, "kube-system"),
        ({"labels": {"team": "batch"}, "never_inject": NEVER}, "neverInjectSelector"),
        ({"labels": {"team": "batch", INJECT: "true"}, "never_inject": NEVER}, None),
        ({"labels": {"team": "batch", "meshed": ""}, "never_inject": NEVER, "always_inject": ALWAYS}, "neverInject"),
        ({"labels": {"meshed": ""}, "always_inject": ALWAYS, "policy": "disabled"}, None),
        ({"never_inject": (LabelSelector(),)}, None),  # an empty selector selects nothing here
    ],
)
def test_the_order_of_istios_injector(arguments: dict[str, Any], reason: str | None) -> None:
    found = decision(**arguments)
    assert (found is None) if reason is None else (reason in (found or ""))


@pytest.mark.parametrize(
    ("expression", "chosen"),
    [
        ({"operator": "In", "values": ["web"]}, True),
        ({"operator": "In", "values": ["api"]}, False),
        ({"operator": "NotIn", "values": ["web"]}, False),
        ({"operator": "NotIn", "values": ["api"]}, True),
        ({"operator": "NotIn", "values": ["api"], "key": "absent"}, True),
        ({"operator": "DoesNotExist"}, False),
    ],
)
def test_selectors_are_kubernetes(expression: dict[str, Any], chosen: bool) -> None:
    never = msgspec.convert({"matchExpressions": [{"key": "app", **expression}]}, LabelSelector)
    assert (decision(never_inject=(never,)) is not None) is chosen


@pytest.mark.parametrize(
    ("of_namespace", "labels", "tags", "revision", "injected"),
    [
        ({"istio-injection": "enabled"}, {}, (), "default", True),
        ({"istio-injection": "disabled"}, {INJECT: "true"}, (), "default", False),
        ({"istio-injection": "enabled"}, {}, (), "canary", False),
        ({"istio-injection": "enabled"}, {}, ("default",), "canary", True),
        ({"istio-injection": "enabled", "istio.io/rev": "canary"}, {}, (), "default", True),
        ({"istio.io/rev": "canary"}, {}, (), "canary", True),
        ({"istio.io/rev": "canary"}, {}, (), "default", False),
        ({"istio.io/rev": "stable"}, {}, ("stable",), "canary", True),
        ({"istio.io/rev": "canary"}, {"istio.io/rev": "other"}, (), "canary", True),  # the namespace's goes first
        ({"istio.io/rev": "canary"}, {INJECT: "false"}, (), "canary", False),
        ({}, {"istio.io/rev": "canary"}, (), "canary", True),
        ({}, {"istio.io/rev": "canary", INJECT: "true"}, (), "default", False),
        ({}, {INJECT: "true"}, (), "default", True),
        ({}, {INJECT: "true"}, (), "canary", False),
        ({}, {}, (), "default", False),
    ],
)
def test_labels_of_the_namespace_are_as_the_webhooks_selectors(
    of_namespace: dict[str, str], labels: dict[str, str], tags: tuple[str, ...], revision: str, injected: bool
) -> None:
    found = decision(labels, namespace=NamespaceFacts("shop", of_namespace), tags=frozenset(tags), revision=revision)
    assert (found is None) is injected, found


def test_the_pod_is_not_changed_in_place() -> None:
    pod = pod_of()
    before = repr(pod)
    assert isinstance(inject(pod, namespace=NamespaceFacts("shop"), settings=SETTINGS), Injected)
    assert repr(pod) == before
