"""TrafficExtension: a WebAssembly module or a Lua script."""

from collections.abc import Iterator

from crds.codes import problem
from crds.problem import Problem
from crds.trafficextension import TrafficExtension
from crds.validate import attachment
from crds.validate.wasmplugin import module, traffic


def check(obj: TrafficExtension) -> Iterator[Problem]:
    spec = obj.spec
    yield from attachment.policy(spec.selector, None, spec.target_refs)
    if (spec.wasm is None) == (spec.lua is None):
        yield problem("DRG0307", "spec", "an extension is one of wasm and lua")
    if spec.wasm is not None:
        yield from module(spec.wasm.url, spec.wasm.vm_config, "spec.wasm")
    yield from traffic(spec.match)
