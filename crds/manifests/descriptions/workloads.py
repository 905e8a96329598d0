"""ServiceEntry, Sidecar, WorkloadEntry, WorkloadGroup and ProxyConfig."""

TEXTS = """
ServiceEntrySpec
    hosts: The names of the service.
    addresses: Its virtual addresses, or CIDR blocks.
    ports: Its ports.
    location: Whether it is outside of the mesh, or part of it with mutual TLS.
    resolution: How its endpoints are found.
    endpoints: Its endpoints.
    workloadSelector: Its endpoints by their labels, instead: WorkloadEntries and Pods of the namespace.
    subjectAltNames: Names of which the certificates of endpoints must have one.
ServicePort
    number: The number of the port.
    name: Its name.
    protocol: One of HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, MYSQL, REDIS, TCP, TLS, UDP.
    targetPort: The port of the endpoints, unless it is the same.
WorkloadEntrySpec
    address: An IP address, a host name, or unix:///path.
    ports: Its ports by the names that they have in the service.
    labels: Its labels.
    network: The network that it is in; endpoints of another network are reached through a gateway.
    locality: Where it is, region/zone/sub-zone.
    weight: Its share of the requests, in proportion to that of the others.
    serviceAccount: The service account that it runs as.
WorkloadGroupSpec
    metadata: Labels and annotations of the WorkloadEntries that register themselves.
    template: What they have in common.
    probe: How their health is found out.
WorkloadGroupObjectMeta
    labels: Their labels.
    annotations: Their annotations.
ReadinessProbe
    initialDelaySeconds: How long to wait before the first probe.
    timeoutSeconds: How long a probe may take.
    periodSeconds: The time between probes.
    successThreshold: How many successes in a row make a workload ready.
    failureThreshold: How many failures in a row make it unready.
    httpGet: A request of HTTP that must succeed.
    tcpSocket: A connection that must succeed.
    exec: A command that must succeed.
    grpc: A health check of gRPC that must succeed.
HTTPHealthCheckConfig
    path: The path of the request.
    port: The port of the workload.
    host: The host that the request is for.
    scheme: HTTP or HTTPS.
    httpHeaders: Headers of the request.
HTTPHeader
    name: Its name.
    value: Its value.
TCPHealthCheckConfig
    host: The host to connect to.
    port: The port to connect to.
ExecHealthCheckConfig
    command: The command and its arguments.
GrpcHealthCheckConfig
    port: The port of the workload.
    service: The service that is asked about.
SidecarSpec
    ingress: What the proxy listens on for the workload; without any, the ports of its services.
    egress: Which services the workload reaches; without any, all that its namespace may see.
    inboundConnectionPool: Limits and timeouts of connections to the workload.
    outboundTrafficPolicy: What becomes of traffic for unknown destinations.
IstioIngressListener
    port: The port that is listened on.
    bind: The address that is listened on.
    captureMode: Whether traffic is captured, or sent to the proxy by those who know it.
    defaultEndpoint: Where traffic goes: 127.0.0.1:PORT, 0.0.0.0:PORT for the pod's own address, or unix:///path.
    tls: How TLS from outside of the mesh is terminated.
    connectionPool: Limits and timeouts of connections to this port.
SidecarPort
    number: The number of the port.
    protocol: One of HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP, TLS.
    name: Its name.
    targetPort: Deprecated, without effect.
IstioEgressListener
    hosts: Which services: namespace/dnsName, the namespace being a name, * for all, . for its own, ~ for none.
    port: The port that is listened on; without one, all ports of the services.
    bind: The address that is listened on.
    captureMode: Whether traffic is captured, or sent to the proxy by those who know it.
OutboundTrafficPolicy
    mode: ALLOW_ANY lets it pass, REGISTRY_ONLY does not.
    egressProxy: The service that it goes through.
ProxyConfigSpec
    concurrency: How many worker threads the proxy has; 0 for as many as there are cores.
    environmentVariables: Variables of its environment.
    image: The image that it runs.
ProxyImage
    imageType: The kind of image, such as debug or distroless.
"""
