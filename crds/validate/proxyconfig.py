"""ProxyConfig (Istio: ValidateProxyConfig)."""

from collections.abc import Iterator

from crds.problem import Problem
from crds.proxyconfig import ProxyConfig
from crds.validate import attachment


def check(obj: ProxyConfig) -> Iterator[Problem]:
    yield from attachment.selector(obj.spec.selector)
