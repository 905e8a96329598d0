"""Telemetry (Istio: ValidateTelemetry)."""

from collections.abc import Iterator

from crds.codes import problem
from crds.problem import Problem
from crds.telemetry import IstioMetric, Metrics, TagOperation, Telemetry, Tracing
from crds.validate import attachment, bounds


def check(obj: Telemetry) -> Iterator[Problem]:
    spec = obj.spec
    yield from attachment.policy(spec.selector, spec.target_ref, spec.target_refs)
    for index, tracing in enumerate(spec.tracing):
        yield from _tracing(tracing, f"spec.tracing[{index}]")
    for index, metrics in enumerate(spec.metrics):
        yield from _metrics(metrics, f"spec.metrics[{index}]")
    for index, log in enumerate(spec.access_logging):
        if log.filter is not None and not log.filter.expression:
            yield problem("DRG0308", f"spec.accessLogging[{index}].filter.expression", "the filter is empty")


def _tracing(tracing: Tracing, path: str) -> Iterator[Problem]:
    if len(tracing.providers) > 1:
        yield problem("DRG0406", f"{path}.providers", "one tracing provider at a time", "keep one")
    for name, tag in tracing.custom_tags.items():
        given = sum(held is not None for held in (tag.literal, tag.environment, tag.header, tag.formatter))
        if given > 1:
            message = "a tag is one of literal, environment, header and formatter"
            yield problem("DRG0307", f"{path}.customTags[{name}]", message)


def _metrics(metrics: Metrics, path: str) -> Iterator[Problem]:
    yield from bounds.duration(metrics.reporting_interval, f"{path}.reportingInterval")
    for index, override in enumerate(metrics.overrides):
        where = f"{path}.overrides[{index}]"
        match = override.match
        if (
            match is not None
            and match.custom_metric is not None
            and match.metric not in (None, IstioMetric.ALL_METRICS)
        ):
            yield problem("DRG0307", f"{where}.match", "metric and customMetric exclude each other")
        for name, tag in override.tag_overrides.items():
            tag_path = f"{where}.tagOverrides[{name}].value"
            if tag.operation is TagOperation.REMOVE and tag.value:
                yield problem("DRG0311", tag_path, "REMOVE takes no value", "remove it")
            elif tag.operation in (None, TagOperation.UPSERT) and not tag.value:
                yield problem("DRG0316", tag_path, "UPSERT needs a value", "a CEL expression")
