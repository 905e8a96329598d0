"""AuthorizationPolicy, PeerAuthentication, RequestAuthentication."""

TEXTS = """
AuthorizationPolicySpec
    rules: What the action is about; one of them must match. None match nothing.
    action: What happens to requests that match: they are allowed (the default), denied, noted, or a provider is asked.
    provider: Who is asked, with action CUSTOM.
AuthorizationProvider
    name: The name of one of the mesh's extensionProviders.
Rule
    from: Who sends the request; one of them must match.
    to: What the request is for; one of them must match.
    when: Further conditions; all of them must hold.
From
    source: Who sends the request.
To
    operation: What the request is for.
Source
    principals: Identities of peers, trust-domain/ns/NAMESPACE/sa/ACCOUNT; * may stand at either end.
    notPrincipals: Identities of peers that must not match.
    requestPrincipals: Identities in tokens, issuer/subject; * may stand at either end.
    notRequestPrincipals: Identities in tokens that must not match.
    namespaces: Namespaces of peers; * may stand at either end.
    notNamespaces: Namespaces of peers that must not match.
    serviceAccounts: Service accounts of peers, ACCOUNT or NAMESPACE/ACCOUNT.
    notServiceAccounts: Service accounts of peers that must not match.
    trustDomains: Trust domains of peers.
    notTrustDomains: Trust domains of peers that must not match.
    ipBlocks: Addresses or CIDR blocks that the connection comes from.
    notIpBlocks: Addresses or CIDR blocks that it must not come from.
    remoteIpBlocks: Addresses or CIDR blocks of the client, as X-Forwarded-For or the PROXY protocol say.
    notRemoteIpBlocks: Addresses or CIDR blocks that the client must not have.
Operation
    hosts: Hosts of requests, in any case; * may stand at either end.
    notHosts: Hosts that must not match.
    ports: Ports of the workload.
    notPorts: Ports that must not match.
    methods: Methods of requests.
    notMethods: Methods that must not match.
    paths: Paths of requests; * may stand at either end, {*} for one segment and {**} for any number.
    notPaths: Paths that must not match.
Condition
    key: What is compared, such as request.headers[name], source.ip, request.auth.claims[name].
    values: Values of which it must have one.
    notValues: Values of which it must have none.
PeerAuthenticationSpec
    mtls: Whether mutual TLS is required, accepted or refused.
    portLevelMtls: The same for single ports of the workload, by their numbers.
MutualTLS
    mode: UNSET to inherit, DISABLE, PERMISSIVE for both, STRICT for mutual TLS only.
RequestAuthenticationSpec
    jwtRules: Whose tokens are valid; a request with an invalid one is refused, one without any is not.
JWTRule
    issuer: The issuer, as the token's claim iss has it.
    audiences: Of which the token must name one; unset, the name of the service will do.
    jwksUri: Where the issuer's keys are; unset, they are found by OpenID discovery.
    jwks_uri: The same as jwksUri.
    jwks: The issuer's keys themselves, as a JSON Web Key Set.
    fromHeaders: Headers that may have the token; unset, Authorization with Bearer.
    fromParams: Parameters of the query that may have the token.
    fromCookies: Cookies that may have the token.
    outputPayloadToHeader: A header that gets the claims of the token, in base64.
    forwardOriginalToken: Whether the token is sent on.
    outputClaimToHeaders: Headers that get single claims.
    timeout: How long it may take to fetch the keys.
    spaceDelimitedClaims: Claims that are lists separated by spaces, beside scope.
    presence: Whether a request must have a token of this issuer.
JWTHeader
    name: Its name.
    prefix: What stands before the token, such as Bearer and a space.
ClaimToHeader
    header: The name of the header.
    claim: The name of the claim; parts of it are separated by dots.
"""
