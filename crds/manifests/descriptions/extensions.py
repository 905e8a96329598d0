"""EnvoyFilter, Telemetry, WasmPlugin, TrafficExtension."""

TEXTS = """
EnvoyFilterSpec
    configPatches: Changes of Envoy's configuration.
    priority: The order in which objects are applied; lower ones come first, 0 unless set.
EnvoyConfigObjectPatch
    applyTo: What kind of thing is changed.
    match: Which things of that kind; without one, all of them.
    patch: What is changed.
EnvoyConfigObjectMatch
    context: Where the thing is: inbound or outbound of sidecars, or at gateways.
    proxy: Which proxies.
    listener: Which listener.
    routeConfiguration: Which route configuration.
    cluster: Which cluster.
    waypoint: Which part of a waypoint.
ProxyMatch
    proxyVersion: An expression that the version of the proxy matches.
    metadata: Metadata that the proxy has.
ListenerMatch
    portNumber: The port that is listened on.
    portName: The name of the port.
    filterChain: Which of its filter chains.
    listenerFilter: Which of its listener filters.
    name: Its name.
FilterChainMatch
    name: Its name.
    sni: The server name that it matches.
    transportProtocol: The transport protocol that it matches.
    applicationProtocols: The application protocols that it matches, separated by commas.
    filter: Which of its filters.
    destinationPort: The destination port that it matches.
    transportSocket: The name of its transport socket.
FilterMatch
    name: Its name.
    subFilter: Which filter within it.
SubFilterMatch
    name: Its name.
RouteConfigurationMatch
    portNumber: The port of the service or gateway.
    portName: The name of the port.
    gateway: The Gateway, namespace/name.
    vhost: Which of its virtual hosts.
    name: Its name.
VirtualHostMatch
    name: Its name.
    domainName: One of its domains.
    route: Which of its routes.
RouteMatch
    name: Its name.
    action: What it does.
ClusterMatch
    portNumber: The port of the service.
    service: The host of the service.
    subset: The subset of the service.
    name: Its name.
WaypointMatch
    portNumber: The port of the service.
    filter: Which filter.
    route: Which route.
WaypointRouteMatch
    name: Its name.
Patch
    operation: What is done.
    value: Envoy's own configuration, as JSON.
    filterClass: Where among the filters a new one stands.
TelemetrySpec
    tracing: How requests are traced.
    metrics: Which metrics there are, and what they tell.
    accessLogging: Which requests are logged, and where.
Tracing
    match: Which side of connections.
    providers: Who gets the spans; one of the mesh's extensionProviders.
    randomSamplingPercentage: How many requests are traced, in per cent.
    disableSpanReporting: Whether no spans are reported; the context is passed on all the same.
    customTags: Tags of spans, by name.
    useRequestIdForTraceSampling: Whether the request id decides what is traced.
    enableIstioTags: Whether spans have Istio's own tags.
    disableContextPropagation: Whether the context is not passed on.
ProviderRef
    name: Its name.
ModeSelector
    mode: The client's side, the server's, or both.
CustomTag
    literal: A fixed value.
    environment: A variable of the proxy's environment.
    header: A header of the request.
    formatter: A format string of access logs.
Literal
    value: The value.
Environment
    name: The name of the variable.
    defaultValue: The value where there is none.
RequestHeader
    name: The name of the header.
    defaultValue: The value where there is none.
Formatter
    value: The format string.
Metrics
    providers: Who gets the metrics; some of the mesh's extensionProviders.
    overrides: What is different for some of them.
    reportingInterval: How often metrics of long connections are reported.
MetricsOverrides
    match: Which metrics.
    disabled: Whether they are off.
    tagOverrides: Their tags, by name.
MetricSelector
    metric: One of Istio's metrics, or all of them.
    customMetric: A metric by its name.
    mode: The client's side, the server's, or both.
TagOverride
    operation: Whether the tag is set or removed.
    value: Its value, a CEL expression.
AccessLogging
    match: Which side of connections.
    providers: Who gets the logs; some of the mesh's extensionProviders.
    disabled: Whether they are off.
    filter: Which requests are logged; without one, all.
AccessLogFilter
    expression: A CEL expression that is true for them.
WasmPluginSpec
    url: Where the module is: oci://, http(s):// or file://.
    sha256: The SHA-256 sum of the module, in hexadecimal digits.
    imagePullPolicy: Whether an image is pulled again that is there already.
    imagePullSecret: The Secret with credentials of the registry.
    verificationKey: A public key that the image is signed with.
    pluginConfig: What the module is configured with.
    pluginName: Its name in Envoy's configuration.
    phase: Where among the filters it stands.
    priority: Its order within the phase; higher ones come first.
    failStrategy: What happens to requests if it fails.
    vmConfig: The virtual machine that it runs in.
    match: Which traffic it sees; without any, all of it.
    type: Whether it is a filter of HTTP or of connections.
VmConfig
    env: Variables of its environment.
EnvVar
    name: Its name.
    valueFrom: Whether the value is here, or that of the proxy's own variable.
    value: Its value.
TrafficSelector
    mode: The client's side, the server's, or both.
    ports: Ports; without any, all of them.
TrafficPort
    number: The number of the port.
TrafficExtensionSpec
    phase: Where among the filters it stands.
    priority: Its order within the phase; higher ones come first.
    match: Which traffic it sees; without any, all of it.
    wasm: A WebAssembly module.
    lua: A Lua script.
WasmConfig
    url: Where the module is: oci://, http(s):// or file://.
    sha256: The SHA-256 sum of the module, in hexadecimal digits.
    imagePullPolicy: Whether an image is pulled again that is there already.
    imagePullSecret: The Secret with credentials of the registry.
    verificationKey: A public key that the image is signed with.
    pluginConfig: What the module is configured with.
    pluginName: Its name in Envoy's configuration.
    failStrategy: What happens to requests if it fails.
    vmConfig: The virtual machine that it runs in.
    type: Whether it is a filter of HTTP or of connections.
LuaConfig
    inlineCode: The script.
"""
