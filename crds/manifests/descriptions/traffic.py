"""DestinationRule."""

TEXTS = """
DestinationRuleSpec
    host: The service that the rule is about; wildcards are allowed.
    trafficPolicy: How its endpoints are spoken to.
    subsets: Endpoints with certain labels, under names that routes can use.
Subset
    name: The name that routes use.
    labels: Labels that the endpoints have.
    trafficPolicy: What is different for these endpoints.
TrafficPolicy
    loadBalancer: How requests are spread over the endpoints.
    connectionPool: How many connections and requests there may be, and how long they last.
    outlierDetection: When an endpoint that fails is left alone for a while.
    tls: How connections are encrypted; unset, mutual TLS wherever the endpoint has it.
    portLevelSettings: What holds for single ports, instead of all the above.
    tunnel: Carries TCP through HTTP CONNECT.
    proxyProtocol: Announces the client's address with the PROXY protocol.
    retryBudget: How many retries there may be at a time, as a share of the requests.
PortTrafficPolicy
    port: The port of the service.
    loadBalancer: How requests are spread over the endpoints.
    connectionPool: How many connections and requests there may be, and how long they last.
    outlierDetection: When an endpoint that fails is left alone for a while.
    tls: How connections are encrypted; unset, mutual TLS wherever the endpoint has it.
TunnelSettings
    targetHost: The host that the tunnel leads to.
    targetPort: The port that the tunnel leads to.
    protocol: CONNECT, or POST.
ProxyProtocol
    version: The version of the protocol, V1 unless set.
RetryBudget
    percent: Concurrent retries in per cent of the active requests.
    minRetryConcurrency: Retries that there may be at a time in any case.
    budgetInterval: The time over which requests are counted.
LoadBalancerSettings
    simple: An algorithm without settings.
    consistentHash: Sends requests that are alike to the same endpoint.
    backendUtilization: Weighs endpoints by the load that they report.
    localityLbSetting: Prefers endpoints nearby, for this destination instead of the mesh's own setting.
    zoneAwareLbSetting: Keeps requests in their zone as far as its endpoints can bear it.
    warmupDurationSecs: Deprecated, use warmup.
    warmup: Lets the share of new endpoints grow slowly.
ConsistentHashLB
    httpHeaderName: Requests with the same value of this header are alike.
    httpCookie: Requests with the same value of this cookie are alike.
    useSourceIp: Requests from the same address are alike.
    httpQueryParameterName: Requests with the same value of this parameter are alike.
    ringHash: The algorithm of rings, which is the default.
    maglev: The Maglev algorithm.
    minimumRingSize: Deprecated, use ringHash.minimumRingSize.
HTTPCookie
    name: Its name.
    path: The path that a generated cookie is for.
    ttl: How long a generated cookie lives; 0s for the browser's session. Unset, none is generated.
    attributes: Further attributes of a generated cookie.
Attribute
    name: Its name.
    value: Its value; without one it is only named.
RingHash
    minimumRingSize: How many places the ring has at least; more spread the load more evenly.
MagLev
    tableSize: The size of the table, a prime number.
BackendUtilization
    metricNamesForComputingUtilization: Metrics of the reports that count.
    weightExpirationPeriod: How long a weight holds without a report.
    weightStabilizationPeriod: How long an endpoint reports before its weight counts.
    weightUpdatePeriod: How often weights are computed.
    errorUtilizationPenaltyPercent: How much errors lower a weight.
LocalityLoadBalancerSetting
    distribute: Shares of traffic for each locality.
    failover: Which region takes over when the endpoints of another fail.
    failoverPriority: Labels in the order in which endpoints that share them with the client are preferred.
    enabled: Whether this is in force; unset, as the mesh has it.
ZoneAwareLoadBalancerSetting
    enabled: Whether this is in force.
    minClusterSize: How many endpoints there must be for it to be in force.
    failover: Which region takes over when the endpoints of another fail.
    failoverPriority: Labels in the order in which endpoints that share them with the client are preferred.
Distribute
    from: The locality of clients, region/zone/sub-zone; the end may be *.
    to: Localities of endpoints, and their shares in per cent, which add up to 100.
Failover
    from: The region whose endpoints fail.
    to: The region that takes over.
WarmupConfiguration
    duration: How long it takes.
    minimumPercent: The share of a new endpoint at the beginning, in per cent.
    aggression: How fast it grows; 1 is evenly.
ConnectionPoolSettings
    tcp: What holds for all connections.
    http: What holds for HTTP.
TCPSettings
    maxConnections: How many connections there may be.
    connectTimeout: How long it may take to connect.
    tcpKeepalive: Keepalive of TCP.
    maxConnectionDuration: How long a connection may last.
    idleTimeout: How long a connection may be idle; 0s for as long as it likes.
TcpKeepalive
    probes: How many probes without an answer end a connection.
    time: How long a connection is idle before the first probe.
    interval: The time between probes.
HTTPSettings
    http1MaxPendingRequests: How many requests may wait for a connection.
    http2MaxRequests: How many requests there may be at a time, in any version of HTTP.
    maxRequestsPerConnection: How many requests a connection carries before it is closed.
    maxRetries: How many retries there may be at a time.
    idleTimeout: How long a connection without requests stays open.
    h2UpgradePolicy: Whether HTTP/1.1 is carried over HTTP/2.
    useClientProtocol: Whether the version of HTTP is that of the client.
    maxConcurrentStreams: How many requests a connection of HTTP/2 carries at a time.
    http2KeepAlive: Pings of HTTP/2.
HTTP2KeepAlive
    interval: The time between pings.
    timeout: How long an answer may take.
OutlierDetection
    consecutiveErrors: Deprecated, without effect.
    splitExternalLocalOriginErrors: Whether errors of the proxy's own, such as timeouts, are counted apart.
    consecutiveLocalOriginFailures: How many errors of the proxy's own in a row eject an endpoint.
    consecutiveGatewayErrors: How many responses of 502, 503 and 504 in a row eject an endpoint; 0 for never.
    consecutive5xxErrors: How many responses of 5xx in a row eject an endpoint; 0 for never.
    interval: The time between sweeps.
    baseEjectionTime: How long an endpoint is ejected the first time; later times are longer.
    maxEjectionPercent: How many of the endpoints may be ejected at a time.
    minHealthPercent: How many must be healthy for any to be ejected.
    outlierDetectionHttpErrorCodes: The statuses that count as errors.
ClientTLSSettings
    mode: Whether connections are plain, encrypted, or mutually authenticated, and with whose certificates.
    clientCertificate: A file with the client's certificate chain.
    privateKey: A file with the client's private key.
    caCertificates: A file with the CAs of servers.
    subjectAltNames: Names of which the server's certificate must have one.
    sni: The name that the client asks for.
    insecureSkipVerify: Whether any certificate of the server will do.
    caCrl: A file with the revoked certificates of servers.
"""
