"""VirtualService and Gateway."""

TEXTS = """
VirtualServiceSpec
    hosts: Services, domain names or wildcards that requests are for. Without any, others delegate to this object.
    http: Routes of HTTP requests; the first whose match holds decides.
    tls: Routes of TLS that passes through unopened, by the name that the client asks for.
    tcp: Routes of TCP connections.
HTTPRoute
    name: A name for access logs and metrics.
    match: One of these must hold for the route to be taken; without any it takes every request.
    route: Where requests go, with weights if there are several destinations.
    redirect: Answers with a redirect instead.
    directResponse: Answers with a fixed response instead.
    delegate: The VirtualService that has the routes for these requests.
    rewrite: Changes path and authority before the request is sent on.
    timeout: How long a request may take, with its retries; unset, as long as it takes.
    retries: When and how often a failed request is tried again.
    fault: Delays and errors for some requests, to test how clients bear them.
    mirror: Where copies of the requests go, whose responses nobody gets. Older form of mirrors.
    mirrors: Where copies of the requests go, whose responses nobody gets.
    mirrorPercentage: How many of the requests are mirrored; unset, all.
    mirrorPercent: Deprecated, use mirrorPercentage.
    mirror_percent: Deprecated, use mirrorPercentage.
    corsPolicy: What browsers may do from pages of other origins.
    headers: Headers that are set, added and removed.
HTTPMatchRequest
    name: A name for access logs; it follows the name of the route.
    uri: The path of the request, without its query.
    scheme: http or https.
    method: The method of the request.
    authority: The host that the request is for, with a port if the client gave one.
    headers: Headers by their names in lower case; one without a condition must be present.
    port: The port of the service or gateway that the request came in by.
    sourceLabels: Labels of the workload that sends the request; at sidecars only.
    queryParams: Parameters of the query by their names; one without a condition must be present.
    ignoreUriCase: Whether upper and lower case are the same in uri, where it is exact or a prefix.
    withoutHeaders: Headers that must not be there or not match.
    sourceNamespace: The namespace of the workload that sends the request; at sidecars only.
    statPrefix: A prefix of metrics for these requests alone.
StringMatch
    exact: The whole text.
    prefix: What the text begins with.
    regex: An expression in RE2's syntax that the whole text matches.
HTTPRouteDestination
    destination: The service that gets the requests.
    weight: Its share of the requests, in proportion to the sum of all weights.
    headers: Headers that are set, added and removed for this destination.
RouteDestination
    destination: The service that gets the connections.
    weight: Its share of the connections, in proportion to the sum of all weights.
Destination
    subset: A subset that the service's DestinationRule has.
    port: The port of the service; needed where it has several.
PortSelector
    number: The number of the port.
Headers
    request: Those of the request, before it is sent on.
    response: Those of the response, before the client gets it.
HeaderOperations
    set: Headers that replace what is there.
    add: Headers in addition to what is there.
    remove: Names of headers to take away.
HTTPRedirect
    uri: The new path.
    prefixRewrite: What replaces the beginning of the path that matched.
    authority: The new host.
    port: The new port.
    derivePort: Where the new port comes from instead: the scheme's own, or that of the request.
    scheme: The new scheme, http or https.
    redirectCode: The status, 301 unless set.
HTTPDirectResponse
    status: The status of the response.
    body: Its body; without one it is empty.
HTTPBody
    string: As text.
    bytes: As base64.
Delegate
    name: Its name.
    namespace: Its namespace, unless that is the one of the object that delegates.
HTTPRewrite
    uri: The new path, or what replaces the prefix that matched.
    authority: The new host.
    uriRegexRewrite: Replaces what an expression finds in the path.
RegexRewrite
    match: An expression in RE2's syntax.
    rewrite: What replaces it; \\\\1 to \\\\9 are its groups.
HTTPRetry
    attempts: How often a request is tried again; 0 for never.
    perTryTimeout: How long each try may take; unset, as long as the whole request.
    retryOn: What counts as failed: Envoy's conditions and status codes, separated by commas.
    retryRemoteLocalities: Whether retries may go to other localities.
    retryIgnorePreviousHosts: Whether retries may go to endpoints that have failed already.
    backoff: How long to wait before the first retry; later ones wait longer.
HTTPFaultInjection
    delay: Makes requests wait.
    abort: Makes requests fail.
Delay
    percent: Deprecated, use percentage.
    percentage: How many of the requests wait; unset, all.
    fixedDelay: How long they wait.
    exponentialDelay: Not supported.
Percent
    value: Per cent, 0 to 100; four decimal digits count.
Abort
    percentage: How many of the requests fail; unset, all.
    httpStatus: With which HTTP status.
    grpcStatus: With which gRPC status, by its name.
    http2Error: Not supported.
HTTPMirrorPolicy
    destination: The service that gets the copies.
    percentage: How many of the requests are mirrored; unset, all.
CorsPolicy
    allowOrigin: Deprecated, use allowOrigins.
    allowOrigins: The origins whose pages may make requests.
    allowMethods: The methods that they may use.
    allowHeaders: The headers that they may send.
    exposeHeaders: The headers of responses that they may read.
    maxAge: How long a browser may remember this, in whole seconds.
    allowCredentials: Whether requests may carry credentials, such as cookies.
    unmatchedPreflights: What becomes of preflight requests of other origins: they are sent on, or ignored.
TLSRoute
    match: One of these must hold for the route to be taken.
    route: Where connections go, with weights if there are several destinations.
TLSMatchAttributes
    sniHosts: Names that the client asks for; wildcards are allowed.
    destinationSubnets: Addresses or CIDR blocks that the connection is made to.
    port: The port of the service or gateway that the connection came in by.
    sourceLabels: Labels of the workload that connects; at sidecars only.
    sourceNamespace: The namespace of the workload that connects; at sidecars only.
TCPRoute
    match: One of these must hold for the route to be taken; without any it takes every connection.
    route: Where connections go, with weights if there are several destinations.
L4MatchAttributes
    destinationSubnets: Addresses or CIDR blocks that the connection is made to.
    port: The port of the service or gateway that the connection came in by.
    sourceSubnet: In Istio's API, read by nobody.
    sourceLabels: Labels of the workload that connects; at sidecars only.
    sourceNamespace: The namespace of the workload that connects; at sidecars only.
GatewaySpec
    servers: The ports that are served, with their hosts and certificates.
    selector: Which gateway workloads serve them, by their labels; without one, every gateway.
Server
    port: The port that is listened on.
    hosts: Which hosts are served: dnsName or namespace/dnsName, the namespace being that of VirtualServices.
    bind: The address that is listened on; unset, all of them.
    tls: How TLS is terminated, and whether plain HTTP is redirected to it.
    defaultEndpoint: In Istio's API, read by nobody.
    name: A name for the server; it must be unique among all servers of the workload.
Port
    number: The number of the port.
    protocol: One of HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP, TLS.
    name: A name for the port, unique in this object.
    targetPort: Deprecated, without effect.
ServerTLSSettings
    httpsRedirect: Whether plain HTTP is answered with a redirect to HTTPS.
    mode: What becomes of TLS: it passes through, or is terminated with or without a certificate of the client's.
    serverCertificate: A file with the certificate chain.
    privateKey: A file with the private key.
    caCertificates: A file with the CAs of clients.
    caCrl: A file with the revoked certificates of clients.
    tlsCertificates: Files of two certificates, one of RSA and one of ECDSA.
    credentialNames: The names of two Secrets, one with an RSA and one with an ECDSA certificate.
    caCertCredentialName: The name of the Secret or ConfigMap with the CAs of clients.
    subjectAltNames: Names of which a client's certificate must have one.
    verifyCertificateSpki: SHA-256 sums of public keys, in base64, of which a client must have one.
    verifyCertificateHash: SHA-256 sums of certificates, in hexadecimal digits, of which a client must have one.
    minProtocolVersion: The oldest version of TLS; unset, 1.2.
    maxProtocolVersion: The newest version of TLS; unset, 1.3.
    cipherSuites: The cipher suites up to TLS 1.2; unset, Envoy's own.
    ecdhCurves: The curves of the key exchange, in this order; unset, Envoy's own.
    insecureSkipVerify: Whether any certificate of a client will do, in mode MUTUAL.
TLSCertificate
    serverCertificate: A file with the certificate chain.
    privateKey: A file with the private key.
    caCertificates: A file with the CAs of clients.
"""
