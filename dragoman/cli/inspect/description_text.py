"""What `/debug/describe` says of a pod or a service as lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Document = Mapping[str, Any]


def pod_lines(pod: Document) -> Iterator[str]:
    """A pod, its policies, and then each of its services."""
    yield f"Pod {pod['pod']}"
    facts = [f"workload {pod['workload']}", f"service account {pod['serviceAccount']}"]
    facts += [f"node {pod['node']}"] if pod.get("node") else []
    facts += [f"revision {pod['revision']}"] if pod.get("revision") else []
    yield f"  {', '.join(facts)}, {'ready' if pod.get('ready') else 'not ready'}, {', '.join(pod['addresses'])}"
    yield from _proxy(pod)
    for port in pod.get("ports", ()):
        yield (
            f"  port {port['port']} {port['protocol']}: service {port['service']} port {port['servicePort']}, "
            f"mutual TLS {port['mutualTLS']}"
        )
    tls = pod["mutualTLS"]
    of_ports = "".join(f", port {port} {mode}" for port, mode in tls.get("ports", {}).items())
    yield f"  mutual TLS: {tls['mode']}{of_ports}{_from(tls.get('from', ()))}"
    policies = pod.get("authorization", ())
    yield f"  authorization: {'' if policies else 'no policy, so everybody may do everything'}".rstrip()
    for policy in policies:
        yield f"    {policy['action']:<5} {_object(policy)}, {_count(policy['rules'], 'rule')}"
    for rule in pod.get("requestAuthentications", ()):
        audiences = f" for {', '.join(rule['audiences'])}" if rule.get("audiences") else ""
        yield f"  tokens of {rule['issuer']}{audiences}"
    for each in pod.get("tokensFrom", ()):
        yield f"    from {_object(each)}"
    if "sidecar" in pod:
        yield f"  scope: {_object(pod['sidecar'])}"
    for gateway in pod.get("gateways", ()):
        yield f"  {_object(gateway)}"
        for server in gateway["servers"]:
            yield f"    port {server['port']} {server['protocol']}: {', '.join(server['hosts'])}"
    yield from _findings(pod)
    for service in pod.get("services", ()):
        yield ""
        yield from service_lines(service)


def _proxy(pod: Document) -> Iterator[str]:
    proxy = pod.get("proxy")
    if proxy is None:
        yield "  no proxy is connected"
        return
    at = f", connected to {pod['istiod']}" if "istiod" in pod else ""
    yield f"  {proxy['type']}{at}{', ' + proxy['identity'] if proxy.get('identity') else ''}"
    for each in proxy.get("heldBack", ()):
        yield f"    held back: {each}"


def service_lines(service: Document) -> Iterator[str]:
    """A service as the clients of one namespace see it."""
    yield f"Service {service['service']}, as clients in namespace {service.get('seenFrom', '')} see it"
    if "aliasOf" in service:
        yield f"  an alias of {service['aliasOf']}"
    for port in service.get("ports", ()):
        yield f"  port {port['port']} {port['protocol']} to {port['targetPort']}: {_endpoints(port['endpoints'])}"
    tls = service.get("mutualTLS")
    if tls:
        yield f"  mutual TLS: servers {tls['servers']}{_from(tls.get('from', ()))}; clients {tls['clients']}"
    routed = service.get("virtualService")
    if routed:
        yield f"  {_object(routed)} for {', '.join(routed['hosts'])}"
        yield from (f"    {line}" for line in routed["routes"])
    for rule in service.get("destinationRules", ()):
        settings = f": {', '.join(service['trafficPolicy'])}" if service.get("trafficPolicy") else ""
        yield f"  {_object(rule)}{settings}"
    matching = service.get("matchingSubsets")
    for subset in service.get("subsets", ()):
        labels = ",".join(f"{key}={value}" for key, value in subset["labels"].items())
        here = " (this pod)" if matching and subset["name"] in matching else ""
        yield f"    subset {subset['name']} ({labels}): {_count(subset['endpoints'], 'endpoint')}{here}"
    for exposure in service.get("gateways", ()):
        tls_mode = f" {exposure['tls']}" if exposure.get("tls") else ""
        selector = ",".join(f"{key}={value}" for key, value in exposure["selector"].items())
        yield (
            f"  exposed by {_object(exposure['gateway'])} at pods {selector}: port {exposure['port']} "
            f"{exposure['protocol']}{tls_mode}, {', '.join(exposure['hosts'])}"
        )
        yield f"    {_object(exposure['virtualService'])}"
        yield from (f"      {line}" for line in exposure["routes"])
    yield from _findings(service)


def pooled(described: Any, all_: Iterable[Document]) -> Any:
    """A description with the counts of proxies of all replicas: each knows how far an object has come at its own."""
    counts: dict[str, tuple[int, int]] = {}
    for document in all_:
        for name, proxies in set(_proxies(document)):
            accepted, _, using = proxies.partition("/")
            before = counts.get(name, (0, 0))
            counts[name] = before[0] + int(accepted), before[1] + int(using)
    return _with_counts(described, counts)


def _proxies(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        if "object" in value and "proxies" in value:
            yield value["object"], value["proxies"]
        for each in value.values():
            yield from _proxies(each)
    elif isinstance(value, list):
        for each in value:
            yield from _proxies(each)


def _with_counts(value: Any, counts: Mapping[str, tuple[int, int]]) -> Any:
    if isinstance(value, Mapping):
        found = {key: _with_counts(each, counts) for key, each in value.items()}
        if found.get("object") in counts and "proxies" in found:
            accepted, using = counts[found["object"]]
            found["proxies"] = f"{accepted}/{using}"
        return found
    return [_with_counts(each, counts) for each in value] if isinstance(value, list) else value


def _findings(described: Document) -> Iterator[str]:
    yield from (f"  warning: {line}" for line in described.get("warnings", ()))
    yield from (f"  {line}" for line in described.get("problems", ()))


def _endpoints(counts: Mapping[str, int]) -> str:
    total = sum(count for name, count in counts.items() if name != "mutualTLS")
    if not total:
        return "no endpoints"
    healths = ", ".join(f"{count} {name.lower()}" for name, count in counts.items() if name != "mutualTLS")
    return f"{_count(total, 'endpoint')} ({healths}; {counts.get('mutualTLS', 0)} speak mutual TLS)"


def _from(objects: Iterable[Document]) -> str:
    listed = ", ".join(map(_object, objects))
    return f" by {listed}" if listed else ""


def _object(described: Document) -> str:
    """An object, where it is, and how many of the proxies that use it have accepted it."""
    at = f" ({described['at']})" if described.get("at") else ""
    accepted, _, using = described.get("proxies", "0/0").partition("/")
    behind = f" [{accepted} of {using} proxies have it]" if accepted != using else ""
    said = "".join(f" [rejected: {each}]" for each in described.get("rejections", ()))
    said += "".join(f" [cannot be made: {each}]" for each in described.get("failures", ()))
    said += "".join(f" [conflict: {each}]" for each in described.get("conflicts", ()))
    return f"{described['object']}{at}{behind}{said}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
