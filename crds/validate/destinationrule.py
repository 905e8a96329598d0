"""DestinationRule (Istio: ValidateDestinationRule)."""

from collections.abc import Iterator

from crds.codes import problem
from crds.destinationrule import DestinationRule
from crds.problem import Problem
from crds.validate import attachment, names
from crds.validate.trafficpolicy import traffic_policy


def check(obj: DestinationRule) -> Iterator[Problem]:
    spec = obj.spec
    yield from names.host(spec.host, "spec.host", ip=True)
    yield from names.visibility(spec.export_to, "spec.exportTo")
    yield from attachment.selector(spec.workload_selector, "spec.workloadSelector")
    if spec.traffic_policy is not None:
        yield from traffic_policy(spec.traffic_policy, "spec.trafficPolicy")
    seen: set[str] = set()
    for index, subset in enumerate(spec.subsets):
        path = f"spec.subsets[{index}]"
        if not names.is_dns_label(subset.name):
            yield problem("DRG0301", f"{path}.name", f"{subset.name!r} is not a name", "letters, digits and -")
        if subset.name in seen:
            yield problem("DRG0309", f"{path}.name", f"there is a subset {subset.name!r} already")
        seen.add(subset.name)
        yield from names.labels(subset.labels, f"{path}.labels")
        if subset.traffic_policy is not None:
            yield from traffic_policy(subset.traffic_policy, f"{path}.trafficPolicy")
