"""WorkloadGroup (Istio: ValidateWorkloadGroup)."""

from collections.abc import Iterator

from crds.codes import problem
from crds.problem import Problem
from crds.validate import bounds, names
from crds.workloadgroup import ReadinessProbe, WorkloadGroup


def check(obj: WorkloadGroup) -> Iterator[Problem]:
    spec = obj.spec
    if spec.template.address:
        yield problem("DRG0406", "spec.template.address", "each workload brings its own address", "remove it")
    yield from names.labels(spec.template.labels, "spec.template.labels")
    for name, number in spec.template.ports.items():
        yield from bounds.port(number, f"spec.template.ports[{name}]")
    if spec.metadata is not None:
        yield from names.labels(spec.metadata.labels, "spec.metadata.labels")
    if spec.probe is not None:
        yield from _probe(spec.probe)


def _probe(probe: ReadinessProbe) -> Iterator[Problem]:
    methods = (probe.http_get, probe.tcp_socket, probe.exec, probe.grpc)
    if sum(method is not None for method in methods) != 1:
        yield problem("DRG0307", "spec.probe", "a probe is one of httpGet, tcpSocket, exec and grpc")
    if probe.http_get is not None:
        yield from bounds.port(probe.http_get.port, "spec.probe.httpGet.port")
        if probe.http_get.scheme not in (None, "", "HTTP", "HTTPS"):
            yield problem("DRG0314", "spec.probe.httpGet.scheme", f"{probe.http_get.scheme!r} is not HTTP or HTTPS")
    if probe.tcp_socket is not None:
        yield from bounds.port(probe.tcp_socket.port, "spec.probe.tcpSocket.port")
    if probe.grpc is not None:
        yield from bounds.port(probe.grpc.port, "spec.probe.grpc.port")
    if probe.exec is not None and not probe.exec.command:
        yield problem("DRG0308", "spec.probe.exec.command", "there is no command")
