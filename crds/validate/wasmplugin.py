"""WasmPlugin, and the module of a TrafficExtension (Istio: ValidateWasmPlugin)."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from crds.codes import problem
from crds.problem import Problem
from crds.validate import attachment
from crds.wasm import EnvValueSource, TrafficSelector, VmConfig
from crds.wasmplugin import WasmPlugin

_SCHEMES = ("", "http", "https", "file", "oci")


def check(obj: WasmPlugin) -> Iterator[Problem]:
    spec = obj.spec
    yield from attachment.policy(spec.selector, spec.target_ref, spec.target_refs)
    yield from module(spec.url, spec.vm_config, "spec")
    yield from traffic(spec.match)


def traffic(selectors: tuple[TrafficSelector, ...]) -> Iterator[Problem]:
    """Where a module or script is active: the same port twice is refused by the schemas of Istio's kinds too."""
    for index, selector in enumerate(selectors):
        numbers = [port.number for port in selector.ports]
        for at, number in enumerate(numbers):
            if number in numbers[:at]:
                yield problem("DRG0309", f"spec.match[{index}].ports[{at}]", f"port {number} is listed twice")


def module(url: str, vm: VmConfig | None, path: str) -> Iterator[Problem]:
    scheme = urlsplit(url).scheme if "://" in url else ""
    if scheme not in _SCHEMES:
        yield problem("DRG0314", f"{path}.url", f"{scheme!r} is not a scheme of modules", "oci, http, https or file")
    seen: set[str] = set()
    for index, variable in enumerate(vm.env if vm is not None else ()):
        where = f"{path}.vmConfig.env[{index}]"
        if variable.name in seen:
            yield problem("DRG0309", f"{where}.name", f"{variable.name!r} is set twice")
        seen.add(variable.name)
        if variable.value_from is EnvValueSource.HOST and variable.value:
            yield problem("DRG0311", f"{where}.value", "HOST takes the proxy's own variable", "remove the value")
