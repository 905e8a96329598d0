"""Which fields Dragoman honours today: one plain table per kind, and a warning for every other field that is set.

A line names a field, or a message with everything below it; it is added in the commit that makes the field work.

    http[].match[].uri                      everything below uri
    action = ALLOW | DENY                   these values only; a trailing * matches any rest
    http[].match[].headers{} without @      not for map keys that begin so
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from crds.codes import problem
from crds.consequences import consequences
from crds.fields import leaf_paths
from crds.leaves import Leaf, set_leaves
from crds.meta import IstioObject, Object
from crds.problem import Problem
from crds.registry import ISTIO_KINDS
from crds.shape import message_of


@dataclass(frozen=True)
class Entry:
    """One line of a table."""

    values: tuple[str, ...] = ()
    without: str = ""

    def admits(self, leaf: Leaf) -> bool:
        if self.without and any(key.startswith(self.without) for key in leaf.keys):
            return False
        if not self.values:
            return True
        held = leaf.value if isinstance(leaf.value, tuple) else (leaf.value,)
        return all(any(_matches(str(item), value) for value in self.values) for item in held)


def _matches(text: str, value: str) -> bool:
    return text.startswith(value[:-1]) if value.endswith("*") else text == value


@dataclass(frozen=True)
class Support:
    """The table of a kind."""

    table: str

    @cached_property
    def entries(self) -> Mapping[str, Entry]:
        entries = {}
        for line in filter(None, map(str.strip, self.table.splitlines())):
            field, _, rest = line.partition(" ")
            if rest.startswith("= "):
                entries[field] = Entry(values=tuple(value.strip() for value in rest[2:].split("|")))
            elif rest.startswith("without "):
                entries[field] = Entry(without=rest.removeprefix("without "))
            elif rest:
                raise ValueError(f"not a line of a support table: {line!r}")
            else:
                entries[field] = Entry()
        return entries

    def entry(self, field: str) -> Entry | None:
        """The line that holds for a field: its own, or that of the nearest message around it."""
        while field:
            if field in self.entries:
                return self.entries[field]
            field = field.rpartition(".")[0]
        return None

    def honours(self, leaf: Leaf) -> bool:
        entry = self.entry(leaf.field)
        return entry is not None and entry.admits(leaf)


_ROUTE = """
    name
    match[].name
    match[].uri
    match[].scheme
    match[].method
    match[].authority
    match[].headers{} without @
    match[].withoutHeaders{} without @
    match[].queryParams{}
    match[].ignoreUriCase
    match[].port
    match[].gateways
    match[].sourceLabels
    match[].sourceNamespace
    match[].statPrefix
    route[]
    redirect
    directResponse
    rewrite
    timeout
    retries
    fault.delay.fixedDelay
    fault.delay.percent
    fault.delay.percentage
    fault.abort.httpStatus
    fault.abort.grpcStatus
    fault.abort.percentage
    mirror
    mirrors[]
    mirrorPercent
    mirror_percent
    mirrorPercentage
    corsPolicy
    headers
"""

_PORT_POLICY = """
    connectionPool
    loadBalancer.simple
    loadBalancer.consistentHash
    loadBalancer.warmup
    loadBalancer.warmupDurationSecs
    outlierDetection.consecutive5xxErrors
    outlierDetection.consecutiveGatewayErrors
    outlierDetection.consecutiveLocalOriginFailures
    outlierDetection.splitExternalLocalOriginErrors
    outlierDetection.interval
    outlierDetection.baseEjectionTime
    outlierDetection.maxEjectionPercent
    outlierDetection.minHealthPercent
    tls.mode
    tls.sni
    tls.subjectAltNames
    tls.caCertificates
    tls.clientCertificate
    tls.privateKey
    tls.insecureSkipVerify
    tls.credentialName
    tls.caCrl
"""


def _under(prefix: str, table: str) -> str:
    return "\n".join(f"{prefix}.{line.strip()}" for line in table.splitlines() if line.strip())


_TRAFFIC_POLICY = "\n".join(
    (
        _under("trafficPolicy", _PORT_POLICY),
        "trafficPolicy.retryBudget.percent",
        "trafficPolicy.retryBudget.minRetryConcurrency",
        "trafficPolicy.portLevelSettings[].port",
        _under("trafficPolicy.portLevelSettings[]", _PORT_POLICY),
    )
)

_TARGETS = "\n".join(
    f"{reference}.{field}"
    for reference in ("targetRef", "targetRefs[]")
    for field in ("group", "kind = Gateway", "name", "namespace")
)

SUPPORTED: Mapping[str, Support] = {
    "VirtualService": Support(
        f"""
        hosts
        gateways
        exportTo
        {_under("http[]", _ROUTE)}
        tls[].match[].sniHosts
        tls[].match[].port
        tls[].match[].gateways
        tls[].route[]
        tcp[].match[].port
        tcp[].match[].gateways
        tcp[].route[]
        """
    ),
    "DestinationRule": Support(
        f"""
        host
        exportTo
        workloadSelector
        subsets[].name
        subsets[].labels
        {_TRAFFIC_POLICY}
        {_under("subsets[]", _TRAFFIC_POLICY)}
        """
    ),
    "Gateway": Support(
        """
        selector
        servers[].name
        servers[].bind
        servers[].hosts
        servers[].port.name
        servers[].port.number
        servers[].port.protocol = HTTP | HTTPS | HTTP2 | GRPC | GRPC-WEB | TCP | TLS | MONGO
        servers[].tls.httpsRedirect
        servers[].tls.serverCertificate
        servers[].tls.privateKey
        servers[].tls.caCertificates
        servers[].tls.caCrl
        servers[].tls.tlsCertificates[].serverCertificate
        servers[].tls.tlsCertificates[].privateKey
        servers[].tls.credentialName
        servers[].tls.credentialNames
        servers[].tls.caCertCredentialName
        servers[].tls.subjectAltNames
        servers[].tls.verifyCertificateSpki
        servers[].tls.verifyCertificateHash
        servers[].tls.minProtocolVersion
        servers[].tls.maxProtocolVersion
        servers[].tls.cipherSuites
        servers[].tls.ecdhCurves
        servers[].tls.insecureSkipVerify
        servers[].tls.mode = PASSTHROUGH | SIMPLE | MUTUAL | OPTIONAL_MUTUAL | ISTIO_MUTUAL
        """
    ),
    "Sidecar": Support(
        """
        workloadSelector
        ingress[].port.name
        ingress[].port.number
        ingress[].port.protocol
        ingress[].bind
        ingress[].captureMode
        ingress[].defaultEndpoint
        egress[].hosts
        outboundTrafficPolicy.mode
        """
    ),
    "PeerAuthentication": Support(
        """
        selector
        mtls
        portLevelMtls{}
        """
    ),
    "ProxyConfig": Support(
        """
        selector
        concurrency
        environmentVariables
        image.imageType
        """
    ),
    "RequestAuthentication": Support(
        f"""
        selector
        {_TARGETS}
        jwtRules[].issuer
        jwtRules[].audiences
        jwtRules[].jwksUri
        jwtRules[].jwks_uri
        jwtRules[].jwks
        jwtRules[].fromHeaders[]
        jwtRules[].fromParams
        jwtRules[].fromCookies
        jwtRules[].outputPayloadToHeader
        jwtRules[].forwardOriginalToken
        jwtRules[].outputClaimToHeaders[]
        jwtRules[].timeout
        jwtRules[].spaceDelimitedClaims
        jwtRules[].presence
        """
    ),
    "AuthorizationPolicy": Support(
        f"""
        selector
        {_TARGETS}
        action
        provider
        rules[].from[].source.principals
        rules[].from[].source.notPrincipals
        rules[].from[].source.namespaces
        rules[].from[].source.notNamespaces
        rules[].from[].source.serviceAccounts
        rules[].from[].source.notServiceAccounts
        rules[].from[].source.trustDomains
        rules[].from[].source.notTrustDomains
        rules[].from[].source.ipBlocks
        rules[].from[].source.notIpBlocks
        rules[].from[].source.requestPrincipals
        rules[].from[].source.notRequestPrincipals
        rules[].from[].source.remoteIpBlocks
        rules[].from[].source.notRemoteIpBlocks
        rules[].to[].operation.hosts
        rules[].to[].operation.notHosts
        rules[].to[].operation.ports
        rules[].to[].operation.notPorts
        rules[].to[].operation.methods
        rules[].to[].operation.notMethods
        rules[].to[].operation.paths
        rules[].to[].operation.notPaths
        rules[].when[].key
        rules[].when[].values
        rules[].when[].notValues
        """
    ),
}
"""Kinds that are not named here have no effect at all."""

MESH_CONFIG = Support(
    """
    accessLogEncoding
    accessLogFile
    accessLogFormat
    caCertificates[].pem
    caCertificates[].spiffeBundleUrl
    caCertificates[].trustDomains
    connectTimeout
    defaultConfig.concurrency
    defaultConfig.discoveryAddress
    defaultConfig.drainDuration
    defaultConfig.gatewayTopology
    defaultConfig.holdApplicationUntilProxyStarts
    defaultConfig.image
    defaultConfig.interceptionMode
    defaultConfig.meshId
    defaultConfig.proxyAdminPort
    defaultConfig.proxyMetadata
    defaultConfig.proxyStatsMatcher
    defaultConfig.runtimeValues
    defaultConfig.statusPort
    defaultConfig.terminationDrainDuration
    defaultDestinationRuleExportTo
    defaultHttpRetryPolicy
    defaultServiceExportTo
    defaultVirtualServiceExportTo
    disableEnvoyListenerLog
    discoverySelectors[]
    enableAutoMtls
    enablePrometheusMerge
    extensionProviders[]
    inboundTrafficPolicy
    ingressClass
    ingressControllerMode
    ingressSelector
    ingressService
    outboundTrafficPolicy.mode = REGISTRY_ONLY | ALLOW_ANY
    pathNormalization
    protocolDetectionTimeout
    proxyHttpPort
    proxyInboundListenPort
    proxyListenPort
    rootNamespace
    tlsDefaults
    trustDomain
    trustDomainAliases
    """
)


def unsupported(obj: Object) -> tuple[Problem, ...]:
    """A warning for each field this object sets in vain."""
    if not isinstance(obj, IstioObject):
        return ()
    support = SUPPORTED.get(obj.kind)
    if support is None:
        return (problem("DRG0201", "kind", f"{obj.kind} has no effect yet"),)
    shape = message_of(type(obj)).fields["spec"].shape
    found = list(consequences(obj))
    told = tuple(each.path for each in found)
    for leaf in set_leaves(obj.spec, shape):
        entry = support.entry(leaf.field)
        if told and is_below(f"spec.{leaf.path}", told):
            continue
        if entry is None:
            found.append(problem("DRG0202", f"spec.{leaf.path}", "this field has no effect yet", "remove it"))
        elif not entry.admits(leaf):
            remedy = f"works with: {', '.join(entry.values)}" if entry.values else ""
            found.append(problem("DRG0204", f"spec.{leaf.path}", "this value has no effect yet", remedy))
    return tuple(found)


def is_below(path: str, fields: tuple[str, ...]) -> bool:
    """Whether a path is that of one of the fields, or of something in it."""
    return any(path == field or path.startswith((f"{field}.", f"{field}[")) for field in fields)


def gaps() -> dict[str, tuple[str, ...]]:
    """The leaf fields of each kind that have no effect yet: what the documentation lists."""
    return {
        kind: tuple(path for path in leaf_paths(kind) if kind not in SUPPORTED or SUPPORTED[kind].entry(path) is None)
        for kind in ISTIO_KINDS
    }
