"""Specs that have the shape of their kind: good ones, and those that validation finds fault with, and what it says."""


def route(text: str) -> str:
    return f"{{hosts: [a], http: [{{{text}}}]}}"


TO_A = "route: [{destination: {host: a}}]"

_SOURCE = "spec.rules[0].from[0].source"
_PATH = "spec.rules[0].to[0].operation.paths[0]"

BAD: list[tuple[str, str, list[tuple[str, str]]]] = [
    # VirtualService
    ("VirtualService", "{hosts: [a]}", [("DRG0308", "spec")]),
    ("VirtualService", "{hosts: ['*'], http: [{route: [{destination: {host: a}}]}]}", [("DRG0301", "spec.hosts[0]")]),
    ("VirtualService", f"{{hosts: [a_b..c], http: [{{{TO_A}}}]}}", [("DRG0301", "spec.hosts[0]")]),
    ("VirtualService", f"{{hosts: [a, a], http: [{{{TO_A}}}]}}", [("DRG0309", "spec.hosts[1]")]),
    ("VirtualService", f"{{gateways: [x], http: [{{{TO_A}}}]}}", [("DRG0311", "spec.gateways")]),
    ("VirtualService", f"{{hosts: [a], gateways: [a/b/c], http: [{{{TO_A}}}]}}", [("DRG0301", "spec.gateways[0]")]),
    ("VirtualService", f"{{hosts: [a], exportTo: ['*', b], http: [{{{TO_A}}}]}}", [("DRG0311", "spec.exportTo[0]")]),
    ("VirtualService", f"{{hosts: [a], exportTo: [B!], http: [{{{TO_A}}}]}}", [("DRG0301", "spec.exportTo[0]")]),
    ("VirtualService", route("name: nothing"), [("DRG0307", "spec.http[0]")]),
    ("VirtualService", route(f"{TO_A}, redirect: {{uri: /b}}"), [("DRG0307", "spec.http[0]")]),
    (
        "VirtualService",
        route("redirect: {uri: /b}, rewrite: {uri: /c}, fault: {abort: {httpStatus: 500}}"),
        [("DRG0311", "spec.http[0].fault"), ("DRG0311", "spec.http[0].rewrite")],
    ),
    (
        "VirtualService",
        route("route: [{destination: {host: a}, weight: 0}, {destination: {host: b}}]"),
        [("DRG0305", "spec.http[0].route")],
    ),
    (
        "VirtualService",
        route("route: [{destination: {host: a}, weight: -1}]"),
        [("DRG0315", "spec.http[0].route[0].weight")],
    ),
    (
        "VirtualService",
        route("route: [{destination: {host: '*', subset: v_1, port: {number: 70000}}}]"),
        [
            ("DRG0301", "spec.http[0].route[0].destination.host"),
            ("DRG0301", "spec.http[0].route[0].destination.subset"),
            ("DRG0302", "spec.http[0].route[0].destination.port.number"),
        ],
    ),
    ("VirtualService", route(f"{TO_A}, timeout: 0.5ms"), [("DRG0303", "spec.http[0].timeout")]),
    ("VirtualService", route(f"{TO_A}, timeout: 1500us"), [("DRG0303", "spec.http[0].timeout")]),
    (
        "VirtualService",
        route(f"{TO_A}, match: [{{uri: {{regex: '(a'}}}}]"),
        [("DRG0306", "spec.http[0].match[0].uri.regex")],
    ),
    (
        "VirtualService",
        route(f"{TO_A}, match: [{{uri: {{regex: '(?=a)b'}}}}]"),
        [("DRG0306", "spec.http[0].match[0].uri.regex")],
    ),
    (
        "VirtualService",
        route(f"{TO_A}, match: [{{uri: {{regex: '(a)\\1'}}}}]"),
        [("DRG0306", "spec.http[0].match[0].uri.regex")],
    ),
    (
        "VirtualService",
        route(f"{TO_A}, match: [{{uri: {{exact: /a, prefix: /b}}}}]"),
        [("DRG0307", "spec.http[0].match[0].uri")],
    ),
    (
        "VirtualService",
        route(f"{TO_A}, match: [{{uri: {{prefix: ''}}}}]"),
        [("DRG0308", "spec.http[0].match[0].uri.prefix")],
    ),
    (
        "VirtualService",
        route(f"{TO_A}, match: [{{headers: {{'x y': {{}}}}}}]"),
        [("DRG0313", "spec.http[0].match[0].headers[x y]")],
    ),
    ("VirtualService", route(f"{TO_A}, match: [{{port: 0}}]"), [("DRG0302", "spec.http[0].match[0].port")]),
    (
        "VirtualService",
        route(f"{TO_A}, match: [{{sourceLabels: {{app: 'a b'}}}}]"),
        [("DRG0312", "spec.http[0].match[0].sourceLabels[app]")],
    ),
    (
        "VirtualService",
        route("redirect: {redirectCode: 200, uri: /a}"),
        [("DRG0314", "spec.http[0].redirect.redirectCode")],
    ),
    ("VirtualService", route("redirect: {redirectCode: 301}"), [("DRG0308", "spec.http[0].redirect")]),
    ("VirtualService", route("redirect: {scheme: ftp}"), [("DRG0314", "spec.http[0].redirect.scheme")]),
    ("VirtualService", route("directResponse: {status: 99}"), [("DRG0314", "spec.http[0].directResponse.status")]),
    ("VirtualService", route(f"{TO_A}, rewrite: {{}}"), [("DRG0308", "spec.http[0].rewrite")]),
    (
        "VirtualService",
        route(f"{TO_A}, rewrite: {{uriRegexRewrite: {{match: '[', rewrite: a}}}}"),
        [("DRG0306", "spec.http[0].rewrite.uriRegexRewrite.match")],
    ),
    (
        "VirtualService",
        route(rf"{TO_A}, rewrite: {{uriRegexRewrite: {{match: '/(a)', rewrite: '/\1\2'}}}}"),
        [("DRG0314", "spec.http[0].rewrite.uriRegexRewrite.rewrite")],
    ),
    (
        "VirtualService",
        route(rf'{TO_A}, rewrite: {{uri: "/a\n", authority: "a\r"}}'),
        [("DRG0314", "spec.http[0].rewrite.uri"), ("DRG0314", "spec.http[0].rewrite.authority")],
    ),
    (
        "VirtualService",
        route(rf'{TO_A}, rewrite: {{uriRegexRewrite: {{match: a, rewrite: "b\0"}}}}'),
        [("DRG0314", "spec.http[0].rewrite.uriRegexRewrite.rewrite")],
    ),
    (
        "VirtualService",
        route(r'redirect: {uri: "/a\n", authority: "a\0"}'),
        [("DRG0314", "spec.http[0].redirect.uri"), ("DRG0314", "spec.http[0].redirect.authority")],
    ),
    (
        "VirtualService",
        route(r'redirect: {prefixRewrite: "/a\r\n"}'),
        [("DRG0314", "spec.http[0].redirect.prefixRewrite")],
    ),
    (
        "VirtualService",
        route(rf'{TO_A}, headers: {{request: {{set: {{x: "a\n"}}}}, response: {{add: {{y: "b\0"}}}}}}'),
        [
            ("DRG0314", "spec.http[0].headers.request.set[x]"),
            ("DRG0314", "spec.http[0].headers.response.add[y]"),
        ],
    ),
    (
        "VirtualService",
        route(r'route: [{destination: {host: a}, headers: {request: {add: {x: "a\rb"}}}}]'),
        [("DRG0314", "spec.http[0].route[0].headers.request.add[x]")],
    ),
    (
        "DestinationRule",
        (
            "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {httpCookie:"
            r' {name: "a\n", path: "/\n", attributes: [{name: "x\0", value: "y\r"}]}}}}}'
        ),
        [
            ("DRG0314", f"spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.{field}")
            for field in ("name", "path", "attributes[0].name", "attributes[0].value")
        ],
    ),
    (
        "VirtualService",
        route(f"{TO_A}, retries: {{attempts: 0, retryOn: 5xx}}"),
        [("DRG0316", "spec.http[0].retries.attempts")],
    ),
    (
        "VirtualService",
        route(f"{TO_A}, retries: {{attempts: 1, retryOn: '5xx,503,often'}}"),
        [("DRG0314", "spec.http[0].retries.retryOn")],
    ),
    ("VirtualService", route(f"{TO_A}, fault: {{}}"), [("DRG0308", "spec.http[0].fault")]),
    (
        "VirtualService",
        route(f"{TO_A}, fault: {{delay: {{percentage: {{value: 101}}}}, abort: {{httpStatus: 99}}}}"),
        [
            ("DRG0406", "spec.http[0].fault.delay"),
            ("DRG0304", "spec.http[0].fault.delay.percentage.value"),
            ("DRG0314", "spec.http[0].fault.abort.httpStatus"),
        ],
    ),
    (
        "VirtualService",
        route(f"{TO_A}, fault: {{abort: {{grpcStatus: NOPE}}}}"),
        [("DRG0314", "spec.http[0].fault.abort.grpcStatus")],
    ),
    (
        "VirtualService",
        route(f"{TO_A}, fault: {{abort: {{grpcStatus: not_found}}}}"),
        [("DRG0314", "spec.http[0].fault.abort.grpcStatus")],
    ),
    (
        "VirtualService",
        route(f"{TO_A}, corsPolicy: {{allowMethods: [FETCH]}}"),
        [("DRG0314", "spec.http[0].corsPolicy.allowMethods[0]")],
    ),
    (
        "VirtualService",
        route(f"{TO_A}, mirror: {{host: b}}, mirrors: [{{destination: {{host: c}}}}]"),
        [("DRG0307", "spec.http[0]")],
    ),
    (
        "VirtualService",
        route(f"{TO_A}, headers: {{response: {{set: {{':authority': a}}}}}}"),
        [("DRG0313", "spec.http[0].headers.response.set[:authority]")],
    ),
    ("VirtualService", "{hosts: [a], tls: [{route: [{destination: {host: a}}]}]}", [("DRG0308", "spec.tls[0].match")]),
    (
        "VirtualService",
        "{hosts: [a.b], tls: [{match: [{sniHosts: [c.d]}], route: [{destination: {host: a}}]}]}",
        [("DRG0311", "spec.tls[0].match[0].sniHosts[0]")],
    ),
    (
        "VirtualService",
        "{hosts: [a], tcp: [{match: [{destinationSubnets: [10.0.0.0/40]}]}]}",
        [("DRG0310", "spec.tcp[0].match[0].destinationSubnets[0]"), ("DRG0308", "spec.tcp[0].route")],
    ),
    ("VirtualService", f"{{hosts: [a], http: [{{{TO_A}}}, {{{TO_A}}}]}}", [("DRG0402", "spec.http[1]")]),
    (
        "VirtualService",
        (
            f"{{hosts: [a], http: [{{match: [{{uri: {{exact: /a}}}}], {TO_A}}}, {{match: [{{uri: {{exact: "
            f"/a}}}}], {TO_A}}}]}}"
        ),
        [("DRG0403", "spec.http[1].match[0]")],
    ),
    ("VirtualService", "{http: [{delegate: {name: b}}]}", [("DRG0311", "spec.http[0].delegate")]),
    (
        "VirtualService",
        f"{{hosts: [a.b.c, '*.b.c', '*.c'], http: [{{{TO_A}}}]}}",
        [("DRG0309", "spec.hosts[1]"), ("DRG0309", "spec.hosts[2]"), ("DRG0309", "spec.hosts[2]")],
    ),
    (
        "VirtualService",
        route(f"{TO_A}, match: [{{headers: {{'@request.auth.claims.sub': {{exact: a}}}}}}]"),
        [("DRG0311", "spec.http[0].match[0].headers[@request.auth.claims.sub]")],
    ),
    ("VirtualService", route(f"{TO_A}, corsPolicy: {{maxAge: 1.5s}}"), [("DRG0303", "spec.http[0].corsPolicy.maxAge")]),
    (
        "VirtualService",
        (
            f"{{hosts: [a], http: [{{match: [{{name: x, port: 80}}], {TO_A}}}, {{match: [{{name: y, port: "
            f"80}}], {TO_A}}}]}}"
        ),
        [("DRG0403", "spec.http[1].match[0]")],
    ),
    # DestinationRule
    ("DestinationRule", "{host: a b}", [("DRG0301", "spec.host")]),
    ("DestinationRule", "{host: a, trafficPolicy: {}}", [("DRG0308", "spec.trafficPolicy")]),
    ("DestinationRule", "{host: a, subsets: [{name: v1}, {name: v1}]}", [("DRG0309", "spec.subsets[1].name")]),
    (
        "DestinationRule",
        "{host: a, subsets: [{name: 'v 1', labels: {a: 'b c'}}]}",
        [("DRG0301", "spec.subsets[0].name"), ("DRG0312", "spec.subsets[0].labels[a]")],
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {connectionPool: {}}}",
        [("DRG0308", "spec.trafficPolicy.connectionPool")],
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {connectionPool: {tcp: {maxConnections: -1, connectTimeout: 0s}}}}",
        [
            ("DRG0315", "spec.trafficPolicy.connectionPool.tcp.maxConnections"),
            ("DRG0303", "spec.trafficPolicy.connectionPool.tcp.connectTimeout"),
        ],
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {connectionPool: {http: {useClientProtocol: true, h2UpgradePolicy: UPGRADE}}}}",
        [("DRG0311", "spec.trafficPolicy.connectionPool.http.useClientProtocol")],
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}}}",
        [("DRG0307", "spec.trafficPolicy.loadBalancer")],
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {}}}}",
        [("DRG0307", "spec.trafficPolicy.loadBalancer.consistentHash")],
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 100}}}}}",
        [("DRG0314", "spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize")],
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b: 50}}]}}}}",
        [("DRG0305", "spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to")],
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {failover: [{from: a, to: a}]}}}}",
        [("DRG0311", "spec.trafficPolicy.loadBalancer.localityLbSetting.failover[0]")],
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {outlierDetection: {interval: 0s, maxEjectionPercent: 101, consecutiveErrors: 1}}}",
        [
            ("DRG0303", "spec.trafficPolicy.outlierDetection.interval"),
            ("DRG0304", "spec.trafficPolicy.outlierDetection.maxEjectionPercent"),
            ("DRG0401", "spec.trafficPolicy.outlierDetection.consecutiveErrors"),
        ],
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {tls: {mode: MUTUAL}}}",
        [("DRG0316", "spec.trafficPolicy.tls.clientCertificate"), ("DRG0316", "spec.trafficPolicy.tls.privateKey")],
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {tls: {mode: ISTIO_MUTUAL, credentialName: b}}}",
        [("DRG0311", "spec.trafficPolicy.tls")],
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {tls: {mode: SIMPLE, insecureSkipVerify: true}}}",
        [("DRG0407", "spec.trafficPolicy.tls.insecureSkipVerify")],
    ),
    (
        "DestinationRule",
        (
            "{host: a, trafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {}}, {port: {number: "
            "80}, tls: {}}, {}]}}"
        ),
        [
            ("DRG0309", "spec.trafficPolicy.portLevelSettings[1].port.number"),
            ("DRG0308", "spec.trafficPolicy.portLevelSettings[2].port.number"),
            ("DRG0308", "spec.trafficPolicy.portLevelSettings[2]"),
        ],
    ),
    (
        "DestinationRule",
        "{host: a, subsets: [{name: v, trafficPolicy: {tunnel: {protocol: GET, targetHost: b, targetPort: 0}}}]}",
        [
            ("DRG0314", "spec.subsets[0].trafficPolicy.tunnel.protocol"),
            ("DRG0302", "spec.subsets[0].trafficPolicy.tunnel.targetPort"),
        ],
    ),
    # Gateway
    ("Gateway", "{}", [("DRG0308", "spec.servers")]),
    (
        "Gateway",
        "{servers: [{port: {number: 0, name: a, protocol: FOO}, hosts: []}]}",
        [
            ("DRG0302", "spec.servers[0].port.number"),
            ("DRG0314", "spec.servers[0].port.protocol"),
            ("DRG0308", "spec.servers[0].hosts"),
        ],
    ),
    (
        "Gateway",
        "{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*']}]}",
        [("DRG0316", "spec.servers[0].tls")],
    ),
    (
        "Gateway",
        "{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE}}]}",
        [("DRG0316", "spec.servers[0].tls.serverCertificate"), ("DRG0316", "spec.servers[0].tls.privateKey")],
    ),
    (
        "Gateway",
        (
            "{servers: [{port: {number: 443, name: a, protocol: TLS}, hosts: ['*'], tls: {mode: MUTUAL, "
            "serverCertificate: a, privateKey: b}}]}"
        ),
        [("DRG0316", "spec.servers[0].tls.caCertificates")],
    ),
    (
        "Gateway",
        (
            "{servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ['*'], tls: {mode: SIMPLE, "
            "credentialName: a}}]}"
        ),
        [("DRG0311", "spec.servers[0].tls")],
    ),
    (
        "Gateway",
        (
            "{servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: [a/b/c]}, {port: {number: 81, name: "
            "a, protocol: TCP}, hosts: ['n/*'], bind: here}]}"
        ),
        [
            ("DRG0301", "spec.servers[0].hosts[0]"),
            ("DRG0309", "spec.servers[1].port.name"),
            ("DRG0310", "spec.servers[1].bind"),
        ],
    ),
    (
        "Gateway",
        (
            "{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, "
            "credentialName: a, minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_2}}]}"
        ),
        [("DRG0311", "spec.servers[0].tls.minProtocolVersion")],
    ),
    # Sidecar
    ("Sidecar", "{}", [("DRG0308", "spec")]),
    ("Sidecar", "{egress: [{hosts: [a.b]}]}", [("DRG0301", "spec.egress[0].hosts[0]")]),
    ("Sidecar", "{egress: [{hosts: ['*/*']}, {hosts: ['./*']}]}", [("DRG0309", "spec.egress[1]")]),
    ("Sidecar", "{egress: [{hosts: ['*/*'], captureMode: NONE}]}", [("DRG0316", "spec.egress[0].port")]),
    ("Sidecar", "{egress: [{hosts: [], port: {number: 80, protocol: HTTP}}]}", [("DRG0308", "spec.egress[0].hosts")]),
    (
        "Sidecar",
        "{workloadSelector: {labels: {app: '*'}}, egress: [{hosts: ['~/*']}]}",
        [("DRG0312", "spec.workloadSelector.labels[app]")],
    ),
    (
        "Sidecar",
        (
            "{ingress: [{port: {number: 80, protocol: HTTP}, defaultEndpoint: '10.0.0.1:80'}, {port: {number: "
            "80, protocol: HTTP}, bind: a}]}"
        ),
        [
            ("DRG0314", "spec.ingress[0].defaultEndpoint"),
            ("DRG0309", "spec.ingress[1].port.number"),
            ("DRG0310", "spec.ingress[1].bind"),
        ],
    ),
    (
        "Sidecar",
        "{outboundTrafficPolicy: {egressProxy: {host: a}}}",
        [("DRG0316", "spec.outboundTrafficPolicy.egressProxy.port")],
    ),
    # PeerAuthentication
    ("PeerAuthentication", "{portLevelMtls: {80: {mode: STRICT}}}", [("DRG0316", "spec.selector")]),
    (
        "PeerAuthentication",
        "{selector: {matchLabels: {a: b}}, portLevelMtls: {0: {}}}",
        [("DRG0302", "spec.portLevelMtls[0]")],
    ),
    # AuthorizationPolicy
    (
        "AuthorizationPolicy",
        (
            "{action: CUSTOM, provider: {name: a}, rules: [{from: [{source: {principals: [a]}}],"
            " when: [{key: request.auth.audiences, values: [a]}]}]}"
        ),
        [("DRG0311", "spec.rules[0].from[0].source.principals"), ("DRG0311", "spec.rules[0].when[0].key")],
    ),
    ("AuthorizationPolicy", "{action: CUSTOM, rules: [{}]}", [("DRG0316", "spec.provider.name")]),
    ("AuthorizationPolicy", "{provider: {name: a}, rules: [{}]}", [("DRG0311", "spec.provider")]),
    ("AuthorizationPolicy", "{action: DENY}", [("DRG0308", "spec.rules")]),
    ("AuthorizationPolicy", "{action: AUDIT}", [("DRG0405", "spec.rules")]),
    ("AuthorizationPolicy", "{selector: {}, targetRefs: [{kind: Service, name: a}]}", [("DRG0307", "spec")]),
    ("AuthorizationPolicy", "{targetRef: {kind: Deployment, group: apps, name: a}}", [("DRG0314", "spec.targetRef")]),
    (
        "AuthorizationPolicy",
        "{rules: [{from: [{}], to: [{operation: {}}]}]}",
        [("DRG0308", "spec.rules[0].from[0].source"), ("DRG0308", "spec.rules[0].to[0].operation")],
    ),
    (
        "AuthorizationPolicy",
        "{rules: [{from: [{source: {principals: ['']}}]}]}",
        [("DRG0308", "spec.rules[0].from[0].source.principals[0]")],
    ),
    (
        "AuthorizationPolicy",
        "{rules: [{from: [{source: {ipBlocks: [10.0.0.0/33]}}]}]}",
        [("DRG0310", "spec.rules[0].from[0].source.ipBlocks[0]")],
    ),
    (
        "AuthorizationPolicy",
        "{rules: [{from: [{source: {serviceAccounts: [a], namespaces: [b]}}]}]}",
        [("DRG0311", "spec.rules[0].from[0].source")],
    ),
    (
        "AuthorizationPolicy",
        "{rules: [{to: [{operation: {ports: ['80*', '70000']}}]}]}",
        [("DRG0302", "spec.rules[0].to[0].operation.ports[0]"), ("DRG0302", "spec.rules[0].to[0].operation.ports[1]")],
    ),
    (
        "AuthorizationPolicy",
        "{rules: [{to: [{operation: {ports: ['80'], paths: ['/a{*}']}}]}]}",
        [("DRG0314", "spec.rules[0].to[0].operation.paths[0]")],
    ),
    (
        "AuthorizationPolicy",
        "{rules: [{when: [{key: source.nam, values: [a]}]}]}",
        [("DRG0314", "spec.rules[0].when[0].key")],
    ),
    ("AuthorizationPolicy", "{rules: [{when: [{key: source.namespace}]}]}", [("DRG0308", "spec.rules[0].when[0]")]),
    (
        "AuthorizationPolicy",
        "{rules: [{when: [{key: destination.port, values: [http]}, {key: source.ip, values: [a]}]}]}",
        [("DRG0302", "spec.rules[0].when[0].values[0]"), ("DRG0310", "spec.rules[0].when[1].values[0]")],
    ),
    (
        "AuthorizationPolicy",
        "{action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]}",
        [("DRG0404", "spec.rules[0]")],
    ),
    *(
        ("AuthorizationPolicy", f"{{rules: [{{to: [{{operation: {{paths: ['{template}']}}}}]}}]}}", [(code, _PATH)])
        for template, code in (
            ("/a{*}", "DRG0314"),
            ("/{**}/{*}", "DRG0314"),
            ("/{*}*", "DRG0314"),
            ("/a*/{*}", "DRG0311"),
            ("/a b/{*}", "DRG0314"),
            ("a/{*}", "DRG0314"),
            ("/{*}/{*}/{*}/{*}/{*}/{*}", "DRG0314"),
        )
    ),
    (
        "AuthorizationPolicy",
        "{rules: [{when: [{key: 'request.headers[a b]', values: [a]}]}]}",
        [("DRG0313", "spec.rules[0].when[0].key")],
    ),
    # What the handshake of a TCP port cannot decide
    *(
        ("AuthorizationPolicy", f"{{rules: [{{from: [{{source: {{{source}}}}}]}}]}}", [("DRG0410", f"{_SOURCE}.{at}")])
        for source, at in (
            ("principals: [a, '*/b']", "principals"),
            ("notNamespaces: [a, 'b*c']", "notNamespaces"),
            ("trustDomains: ['*.org']", "trustDomains"),
            ("namespaces: [a], ipBlocks: [10.0.0.1]", "ipBlocks"),
            ("notRemoteIpBlocks: [10.0.0.1]", "notRemoteIpBlocks"),
        )
    ),
    (
        "AuthorizationPolicy",
        "{action: DENY, rules: [{when: [{key: connection.sni, values: [a]}]}]}",
        [("DRG0410", "spec.rules[0].when[0]")],
    ),
    # ServiceEntry
    (
        "ServiceEntry",
        "{hosts: ['*'], ports: [{number: 80, name: http, protocol: HTTP}]}",
        [("DRG0301", "spec.hosts[0]")],
    ),
    (
        "ServiceEntry",
        "{hosts: ['*.a'], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}",
        [("DRG0311", "spec.hosts[0]")],
    ),
    (
        "ServiceEntry",
        "{hosts: [a.b], resolution: DYNAMIC_DNS, ports: [{number: 443, name: tls, protocol: TLS}]}",
        [("DRG0311", "spec.hosts[0]")],
    ),
    (
        "ServiceEntry",
        (
            "{hosts: [a.b], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}, {number: 80, "
            "name: http, protocol: FOO}], endpoints: [{address: c.d, ports: {other: 1}}]}"
        ),
        [
            ("DRG0314", "spec.ports[1].protocol"),
            ("DRG0309", "spec.ports[1].number"),
            ("DRG0309", "spec.ports[1].name"),
            ("DRG0310", "spec.endpoints[0].address"),
            ("DRG0314", "spec.endpoints[0].ports[other]"),
        ],
    ),
    ("ServiceEntry", "{hosts: [a.b], endpoints: [{address: 1.2.3.4}]}", [("DRG0311", "spec.endpoints")]),
    (
        "ServiceEntry",
        "{hosts: [a.b], resolution: STATIC, endpoints: [{address: 1.2.3.4}], workloadSelector: {labels: {a: b}}}",
        [("DRG0307", "spec")],
    ),
    ("ServiceEntry", "{hosts: [a.b], resolution: DNS, addresses: [10.0.0.0/8]}", [("DRG0311", "spec.addresses[0]")]),
    (
        "ServiceEntry",
        "{hosts: [a.b], ports: [{number: 5432, name: tcp, protocol: TCP}]}",
        [("DRG0408", "spec.addresses")],
    ),
    (
        "ServiceEntry",
        (
            "{hosts: [a.b, c.d], resolution: DNS, addresses: [240.0.0.1], ports: [{number: 5432, name: tcp, "
            "protocol: TCP}]}"
        ),
        [("DRG0311", "spec.ports[0].protocol")],
    ),
    # the others
    ("WorkloadEntry", "{}", [("DRG0308", "spec.address")]),
    (
        "WorkloadEntry",
        "{address: 'unix://a', ports: {http: 80}}",
        [("DRG0310", "spec.address"), ("DRG0311", "spec.ports")],
    ),
    (
        "WorkloadGroup",
        "{template: {address: 1.2.3.4}, probe: {}}",
        [("DRG0406", "spec.template.address"), ("DRG0307", "spec.probe")],
    ),
    (
        "RequestAuthentication",
        '{jwtRules: [{issuer: a, jwks: \'{"keys": [{"kty": "EC"}]}\'}]}',
        [("DRG0412", "spec.jwtRules[0].jwks.keys[0]"), ("DRG0412", "spec.jwtRules[0].jwks")],
    ),
    (
        "RequestAuthentication",
        "{jwtRules: [{issuer: a, jwksUri: 'https://me:secret@a/', fromHeaders: [{name: x, prefix: \"a\\nb\"}]}]}",
        [("DRG0314", "spec.jwtRules[0].jwksUri"), ("DRG0314", "spec.jwtRules[0].fromHeaders[0].prefix")],
    ),
    (
        "RequestAuthentication",
        "{jwtRules: [{issuer: a, jwks: '[]', jwksUri: 'ftp://a'}]}",
        [
            ("DRG0307", "spec.jwtRules[0]"),
            ("DRG0314", "spec.jwtRules[0].jwksUri"),
            ("DRG0314", "spec.jwtRules[0].jwks"),
        ],
    ),
    (
        "Telemetry",
        "{tracing: [{customTags: {a: {literal: {value: a}, header: {name: b}}}}]}",
        [("DRG0307", "spec.tracing[0].customTags[a]")],
    ),
    (
        "Telemetry",
        "{metrics: [{overrides: [{tagOverrides: {a: {operation: REMOVE, value: b}, c: {}}}]}]}",
        [
            ("DRG0311", "spec.metrics[0].overrides[0].tagOverrides[a].value"),
            ("DRG0316", "spec.metrics[0].overrides[0].tagOverrides[c].value"),
        ],
    ),
    (
        "WasmPlugin",
        "{url: 's3://a', vmConfig: {env: [{name: a}, {name: a}]}}",
        [("DRG0314", "spec.url"), ("DRG0309", "spec.vmConfig.env[1].name")],
    ),
    ("TrafficExtension", "{}", [("DRG0307", "spec")]),
    (
        "EnvoyFilter",
        "{configPatches: [{}]}",
        [("DRG0316", "spec.configPatches[0].applyTo"), ("DRG0316", "spec.configPatches[0].patch.operation")],
    ),
    (
        "EnvoyFilter",
        "{configPatches: [{applyTo: CLUSTER, match: {listener: {}}, patch: {operation: REMOVE}}]}",
        [("DRG0311", "spec.configPatches[0].match.listener")],
    ),
    # one at a time: what the cases above leave out
    ("VirtualService", route(f"{TO_A}, mirror: {{host: '*'}}"), [("DRG0301", "spec.http[0].mirror.host")]),
    (
        "VirtualService",
        route(f"{TO_A}, mirrors: [{{destination: {{host: b}}, percentage: {{value: 200}}}}]"),
        [("DRG0304", "spec.http[0].mirrors[0].percentage.value")],
    ),
    (
        "VirtualService",
        route(f"{TO_A}, mirrorPercentage: {{value: -1}}, mirror_percent: 101"),
        [
            ("DRG0401", "spec.http[0].mirror_percent"),
            ("DRG0304", "spec.http[0].mirror_percent"),
            ("DRG0304", "spec.http[0].mirrorPercentage.value"),
        ],
    ),
    (
        "VirtualService",
        route("redirect: {uri: /a, prefixRewrite: /b, port: 80, derivePort: FROM_REQUEST_PORT}"),
        [("DRG0307", "spec.http[0].redirect"), ("DRG0307", "spec.http[0].redirect")],
    ),
    (
        "VirtualService",
        route("directResponse: {status: 200, body: {}}"),
        [("DRG0307", "spec.http[0].directResponse.body")],
    ),
    (
        "VirtualService",
        route(f"{TO_A}, rewrite: {{uri: /a, uriRegexRewrite: {{}}}}"),
        [
            ("DRG0307", "spec.http[0].rewrite"),
            ("DRG0308", "spec.http[0].rewrite.uriRegexRewrite.match"),
            ("DRG0308", "spec.http[0].rewrite.uriRegexRewrite.rewrite"),
        ],
    ),
    (
        "VirtualService",
        route(f"{TO_A}, fault: {{delay: {{exponentialDelay: 1s, percent: 5}}, abort: {{http2Error: a}}}}"),
        [
            ("DRG0314", "spec.http[0].fault.delay.exponentialDelay"),
            ("DRG0401", "spec.http[0].fault.delay.percent"),
            ("DRG0314", "spec.http[0].fault.abort.http2Error"),
        ],
    ),
    ("VirtualService", route(f"{TO_A}, fault: {{abort: {{}}}}"), [("DRG0406", "spec.http[0].fault.abort")]),
    (
        "VirtualService",
        route(f"{TO_A}, fault: {{abort: {{httpStatus: 500, grpcStatus: OK}}}}"),
        [("DRG0307", "spec.http[0].fault.abort")],
    ),
    (
        "VirtualService",
        route(f"{TO_A}, corsPolicy: {{allowOrigin: [a], allowOrigins: [{{}}], exposeHeaders: ['a b']}}"),
        [
            ("DRG0308", "spec.http[0].corsPolicy.allowOrigins[0]"),
            ("DRG0401", "spec.http[0].corsPolicy.allowOrigin"),
            ("DRG0406", "spec.http[0].corsPolicy.allowOrigin"),
            ("DRG0313", "spec.http[0].corsPolicy.exposeHeaders[0]"),
        ],
    ),
    (
        "VirtualService",
        route(
            f"{TO_A}, match: [{{uri: {{regex: ''}}, ignoreUriCase: true, sourceNamespace: a.b, queryParams: "
            f"{{'': {{}}}}}}]"
        ),
        [
            ("DRG0308", "spec.http[0].match[0].uri.regex"),
            ("DRG0308", "spec.http[0].match[0].queryParams[]"),
            ("DRG0301", "spec.http[0].match[0].sourceNamespace"),
            ("DRG0406", "spec.http[0].match[0].ignoreUriCase"),
        ],
    ),
    ("VirtualService", "{tls: [], tcp: [{route: [{destination: {host: a}}]}]}", [("DRG0311", "spec.tcp")]),
    (
        "VirtualService",
        "{hosts: [a], tls: [{match: [{}], route: []}]}",
        [("DRG0308", "spec.tls[0].match[0].sniHosts"), ("DRG0308", "spec.tls[0].route")],
    ),
    (
        "DestinationRule",
        (
            "{host: a, trafficPolicy: {connectionPool: {tcp: {tcpKeepalive: {time: 0s}}, http: "
            "{http2KeepAlive: {timeout: 0s}}}}}"
        ),
        [
            ("DRG0303", "spec.trafficPolicy.connectionPool.tcp.tcpKeepalive.time"),
            ("DRG0303", "spec.trafficPolicy.connectionPool.http.http2KeepAlive.timeout"),
        ],
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {loadBalancer: {warmupDurationSecs: 1s, warmup: {duration: 0s, aggression: 0.5}}}}",
        [
            ("DRG0303", "spec.trafficPolicy.loadBalancer.warmup.duration"),
            ("DRG0314", "spec.trafficPolicy.loadBalancer.warmup.aggression"),
            ("DRG0401", "spec.trafficPolicy.loadBalancer.warmupDurationSecs"),
        ],
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {}, zoneAwareLbSetting: {}}}}",
        [("DRG0307", "spec.trafficPolicy.loadBalancer")],
    ),
    (
        "DestinationRule",
        (
            "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting:"
            " {distribute: [{from: a, to: {b: 100}}], failover: [{from: a/b, to: c}]}}}}"
        ),
        [
            ("DRG0307", "spec.trafficPolicy.loadBalancer.localityLbSetting"),
            ("DRG0314", "spec.trafficPolicy.loadBalancer.localityLbSetting.failover[0].from"),
        ],
    ),
    (
        "DestinationRule",
        (
            "{host: a, trafficPolicy: {loadBalancer: {consistentHash:"
            " {httpCookie: {name: '', ttl: -1s}, ringHash: {}, maglev: {}, minimumRingSize: 8}}}}"
        ),
        [
            ("DRG0307", "spec.trafficPolicy.loadBalancer.consistentHash"),
            ("DRG0308", "spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.name"),
            ("DRG0303", "spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.ttl"),
            ("DRG0401", "spec.trafficPolicy.loadBalancer.consistentHash.minimumRingSize"),
            ("DRG0307", "spec.trafficPolicy.loadBalancer.consistentHash"),
            ("DRG0314", "spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize"),
        ],
    ),
    (
        "DestinationRule",
        (
            "{host: a, trafficPolicy: {outlierDetection: {consecutiveLocalOriginFailures: 1, "
            "outlierDetectionHttpErrorCodes: [7]}}}"
        ),
        [
            ("DRG0406", "spec.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures"),
            ("DRG0314", "spec.trafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes[0]"),
        ],
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {tls: {mode: SIMPLE, credentialName: a, caCertificates: b}}}",
        [("DRG0307", "spec.trafficPolicy.tls")],
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {tls: {mode: SIMPLE, insecureSkipVerify: true, subjectAltNames: [a]}}}",
        [
            ("DRG0311", "spec.trafficPolicy.tls.subjectAltNames"),
            ("DRG0407", "spec.trafficPolicy.tls.insecureSkipVerify"),
        ],
    ),
    (
        "Gateway",
        (
            "{servers: [{port: {number: 443, name: '', protocol: HTTPS, targetPort: 1}, hosts: [a], tls: "
            "{httpsRedirect: true,"
            " mode: SIMPLE, credentialName: a, credentialNames: [a, b, c], insecureSkipVerify: true,"
            " cipherSuites: [AES128-SHA, AES128-SHA], subjectAltNames: ['a b']}}]}"
        ),
        [
            ("DRG0308", "spec.servers[0].port.name"),
            ("DRG0401", "spec.servers[0].port.targetPort"),
            ("DRG0311", "spec.servers[0].tls.httpsRedirect"),
            ("DRG0307", "spec.servers[0].tls"),
            ("DRG0314", "spec.servers[0].tls.credentialNames"),
            ("DRG0311", "spec.servers[0].tls.insecureSkipVerify"),
            ("DRG0309", "spec.servers[0].tls.cipherSuites[1]"),
            ("DRG0301", "spec.servers[0].tls.subjectAltNames[0]"),
        ],
    ),
    (
        "Gateway",
        (
            "{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: [a], tls: {mode: SIMPLE,"
            " credentialName: a, cipherSuites: [AES128-SHA, B], ecdhCurves: [P-256, P-1],"
            " verifyCertificateSpki: [a], verifyCertificateHash: [b]}}]}"
        ),
        [
            ("DRG0204", "spec.servers[0].tls.cipherSuites[1]"),
            ("DRG0204", "spec.servers[0].tls.ecdhCurves[1]"),
            ("DRG0314", "spec.servers[0].tls.verifyCertificateSpki[0]"),
            ("DRG0314", "spec.servers[0].tls.verifyCertificateHash[0]"),
        ],
    ),
    (
        "Gateway",
        "{servers: [{port: {number: 1, name: a, protocol: TCP}, hosts: [a], tls: {httpsRedirect: true}}]}",
        [("DRG0311", "spec.servers[0].tls.httpsRedirect")],
    ),
    (
        "Gateway",
        (
            "{servers: [{port: {number: 1, name: a, protocol: TLS}, hosts: [a], tls: {mode: ISTIO_MUTUAL, "
            "credentialName: a}}]}"
        ),
        [("DRG0311", "spec.servers[0].tls")],
    ),
    (
        "Sidecar",
        (
            "{inboundConnectionPool: {}, ingress: [{port: {number: 1, protocol: FOO, targetPort: 2}, bind: 'unix:///a',"
            " defaultEndpoint: '127.0.0.1:0', tls: {mode: SIMPLE, credentialName: a, credentialNames: [b]},"
            " connectionPool: {}}]}"
        ),
        [
            ("DRG0314", "spec.ingress[0].port.protocol"),
            ("DRG0401", "spec.ingress[0].port.targetPort"),
            ("DRG0314", "spec.ingress[0].bind"),
            ("DRG0302", "spec.ingress[0].defaultEndpoint"),
            ("DRG0307", "spec.ingress[0].tls"),
            ("DRG0308", "spec.ingress[0].connectionPool"),
            ("DRG0308", "spec.inboundConnectionPool"),
        ],
    ),
    (
        "Sidecar",
        (
            "{egress: [{port: {number: 1, protocol: TCP}, hosts: ['A B/*']}, {port: {number: 1, protocol: "
            "TCP}, hosts: ['*/*']},"
            " {bind: 127.0.0.1, hosts: ['*/*']}]}"
        ),
        [
            ("DRG0301", "spec.egress[0].hosts[0]"),
            ("DRG0309", "spec.egress[1].port.number"),
            ("DRG0316", "spec.egress[2].port"),
        ],
    ),
    ("AuthorizationPolicy", "{action: CUSTOM, provider: {name: a}}", [("DRG0308", "spec.rules")]),
    (
        "AuthorizationPolicy",
        "{targetRefs: [{kind: Service, name: a, namespace: b}]}",
        [("DRG0311", "spec.targetRefs[0].namespace")],
    ),
    (
        "AuthorizationPolicy",
        (
            "{rules: [{from: [{source: {serviceAccounts: ['a/b/c']}}], to: [{operation: {paths: "
            "['/{**}/{**}', '/{*}/a*']}}]}]}"
        ),
        [
            ("DRG0314", "spec.rules[0].from[0].source.serviceAccounts[0]"),
            ("DRG0314", "spec.rules[0].to[0].operation.paths[0]"),
            ("DRG0311", "spec.rules[0].to[0].operation.paths[1]"),
        ],
    ),
    (
        "AuthorizationPolicy",
        "{rules: [{when: [{key: source.principal, values: ['']}]}]}",
        [("DRG0308", "spec.rules[0].when[0].values[0]")],
    ),
    (
        "ServiceEntry",
        "{hosts: [a.b, a.b], workloadSelector: {labels: {a: b}}, ports: [{number: 80, name: 'A B', protocol: HTTP}]}",
        [
            ("DRG0309", "spec.hosts[1]"),
            ("DRG0301", "spec.ports[0].name"),
            ("DRG0406", "spec.workloadSelector"),
        ],
    ),
    (
        "ServiceEntry",
        "{hosts: [a.b], resolution: DNS_ROUND_ROBIN, endpoints: [{address: 'unix:///a'}, {address: b}]}",
        [("DRG0311", "spec.endpoints"), ("DRG0311", "spec.endpoints[0].address")],
    ),
    ("ServiceEntry", "{hosts: []}", [("DRG0308", "spec.hosts")]),
    (
        "WorkloadEntry",
        "{address: a b, ports: {'A B': 0}}",
        [
            ("DRG0301", "spec.address"),
            ("DRG0301", "spec.ports[A B]"),
            ("DRG0302", "spec.ports[A B]"),
        ],
    ),
    (
        "WorkloadGroup",
        (
            "{metadata: {labels: {a: 'b c'}}, template: {ports: {a: 0}}, probe: {httpGet: {port: 0, scheme: "
            "ftp}, exec: {}}}"
        ),
        [
            ("DRG0302", "spec.template.ports[a]"),
            ("DRG0312", "spec.metadata.labels[a]"),
            ("DRG0307", "spec.probe"),
            ("DRG0302", "spec.probe.httpGet.port"),
            ("DRG0314", "spec.probe.httpGet.scheme"),
            ("DRG0308", "spec.probe.exec.command"),
        ],
    ),
    (
        "RequestAuthentication",
        (
            "{jwtRules: [{issuer: a, audiences: [''], jwksUri: 'https://a:port', timeout: 0s,"
            " fromHeaders: [{name: 'a b'}], outputPayloadToHeader: 'a b'}]}"
        ),
        [
            ("DRG0314", "spec.jwtRules[0].jwksUri"),
            ("DRG0313", "spec.jwtRules[0].fromHeaders[0].name"),
            ("DRG0308", "spec.jwtRules[0].audiences[0]"),
            ("DRG0313", "spec.jwtRules[0].outputPayloadToHeader"),
            ("DRG0303", "spec.jwtRules[0].timeout"),
        ],
    ),
    (
        "Telemetry",
        (
            "{tracing: [{providers: [{name: a}, {name: b}]}], accessLogging: [{filter: {}}],"
            " metrics: [{overrides: [{match: {metric: REQUEST_COUNT, customMetric: a}}]}]}"
        ),
        [
            ("DRG0406", "spec.tracing[0].providers"),
            ("DRG0307", "spec.metrics[0].overrides[0].match"),
            ("DRG0308", "spec.accessLogging[0].filter.expression"),
        ],
    ),
    (
        "WasmPlugin",
        "{url: a, vmConfig: {env: [{name: a, valueFrom: HOST, value: b}]}}",
        [("DRG0311", "spec.vmConfig.env[0].value")],
    ),
    ("TrafficExtension", "{wasm: {url: 's3://a'}}", [("DRG0314", "spec.wasm.url")]),
    (
        "EnvoyFilter",
        (
            "{workloadSelector: {}, targetRefs: [{kind: Service, name: a}], configPatches:"
            " [{applyTo: CLUSTER, match: {proxy: {proxyVersion: '('}}, patch: {operation: MERGE}}]}"
        ),
        [
            ("DRG0307", "spec"),
            ("DRG0316", "spec.configPatches[0].patch.value"),
            ("DRG0306", "spec.configPatches[0].match.proxy.proxyVersion"),
        ],
    ),
    (
        "VirtualService",
        route("directResponse: {status: 200}, rewrite: {uri: /a}"),
        [("DRG0311", "spec.http[0].rewrite")],
    ),
    (
        "VirtualService",
        route(f"{TO_A}, rewrite: {{uri: /a, uriRegexRewrite: {{match: a, rewrite: b}}}}"),
        [("DRG0307", "spec.http[0].rewrite")],
    ),
    (
        "VirtualService",
        "{hosts: [a], tls: [{match: [{sniHosts: ['a b']}], route: [{destination: {host: a}}]}]}",
        [("DRG0301", "spec.tls[0].match[0].sniHosts[0]"), ("DRG0311", "spec.tls[0].match[0].sniHosts[0]")],
    ),
    (
        "VirtualService",
        route(f"{TO_A}, match: [{{headers: {{x: {{regex: '*', exact: a}}}}}}]"),
        [("DRG0307", "spec.http[0].match[0].headers[x]")],
    ),
    (
        "VirtualService",
        "{tls: [{match: [{sniHosts: [a]}], route: [{destination: {host: a}}]}]}",
        [("DRG0311", "spec.tls"), ("DRG0311", "spec.tls[0].match[0].sniHosts[0]")],
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {portLevelSettings: [{port: {number: 80}}]}}",
        [("DRG0308", "spec.trafficPolicy.portLevelSettings[0]")],
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {connectionPool: {tcp: {idleTimeout: -1s}}}}",
        [("DRG0303", "spec.trafficPolicy.connectionPool.tcp.idleTimeout")],
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {tunnel: {targetHost: 'a b', targetPort: 80}}}",
        [("DRG0301", "spec.trafficPolicy.tunnel.targetHost")],
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {retryBudget: {budgetInterval: 0s}}}",
        [("DRG0303", "spec.trafficPolicy.retryBudget.budgetInterval")],
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {loadBalancer: {backendUtilization: {weightUpdatePeriod: 0s}}}}",
        [("DRG0303", "spec.trafficPolicy.loadBalancer.backendUtilization.weightUpdatePeriod")],
    ),
    (
        "DestinationRule",
        """{host: a, trafficPolicy: {loadBalancer: {consistentHash:
        {useSourceIp: true, ringHash: {}, maglev: {tableSize: 7}}}}}""",
        [("DRG0307", "spec.trafficPolicy.loadBalancer.consistentHash")],
    ),
    (
        "DestinationRule",
        "{host: a, workloadSelector: {matchLabels: {'*': a}}, trafficPolicy: {tls: {}}}",
        [("DRG0312", "spec.workloadSelector.matchLabels[*]")],
    ),
    (
        "Gateway",
        """{servers: [{port: {number: 443, protocol: HTTPS, name: a}, hosts: [a],
        tls: {mode: SIMPLE, credentialName: a, insecureSkipVerify: true}}]}""",
        [("DRG0311", "spec.servers[0].tls.insecureSkipVerify")],
    ),
    (
        "ServiceEntry",
        """{hosts: ['*.a'], resolution: DYNAMIC_DNS, workloadSelector: {labels: {app: a}},
        ports: [{number: 80, name: http, protocol: HTTP}]}""",
        [("DRG0311", "spec.workloadSelector")],
    ),
    (
        "EnvoyFilter",
        "{configPatches: [{applyTo: LISTENER, match: {cluster: {name: a}}, patch: {operation: REMOVE}}]}",
        [("DRG0311", "spec.configPatches[0].match.cluster")],
    ),
    (
        "EnvoyFilter",
        "{configPatches: [{applyTo: CLUSTER, match: {routeConfiguration: {name: a}}, patch: {operation: REMOVE}}]}",
        [("DRG0311", "spec.configPatches[0].match.routeConfiguration")],
    ),
    ("ProxyConfig", "{selector: {matchLabels: {app: 'a*'}}}", [("DRG0312", "spec.selector.matchLabels[app]")]),
    (
        "AuthorizationPolicy",
        "{action: CUSTOM, provider: {name: a}, rules: [{from: [{source: {notPrincipals: [a]}}]}]}",
        [("DRG0311", "spec.rules[0].from[0].source.notPrincipals")],
    ),
    (
        "Telemetry",
        "{metrics: [{overrides: [{match: {metric: REQUEST_COUNT, customMetric: a}}]}]}",
        [("DRG0307", "spec.metrics[0].overrides[0].match")],
    ),
    ("WasmPlugin", "{url: a, match: [{ports: [{number: 80}, {number: 80}]}]}", [("DRG0309", "spec.match[0].ports[1]")]),
    (
        "TrafficExtension",
        "{lua: {inlineCode: a}, selector: {}, targetRefs: [{kind: Service, name: a}]}",
        [("DRG0307", "spec")],
    ),
    (
        "TrafficExtension",
        "{lua: {inlineCode: a}, match: [{ports: [{number: 80}, {number: 80}]}]}",
        [("DRG0309", "spec.match[0].ports[1]")],
    ),
    ("WorkloadEntry", "{address: 'unix:///folder/'}", [("DRG0310", "spec.address")]),
    ("WorkloadEntry", "{address: 10.0.0.1, ports: {'@': 80}}", [("DRG0301", "spec.ports[@]")]),
    (
        "RequestAuthentication",
        "{jwtRules: [{issuer: a, spaceDelimitedClaims: ['']}]}",
        [("DRG0308", "spec.jwtRules[0].spaceDelimitedClaims[0]")],
    ),
]


GOOD: list[tuple[str, str]] = [
    (
        "VirtualService",
        (
            "{hosts: [a], gateways: [g], http: [{match: [{headers: {'@request.auth.claims.group': {exact: a}}}],"
            " route: [{destination: {host: a}}]}]}"
        ),
    ),
    ("VirtualService", route(f"{TO_A}, match: [{{uri: {{regex: '/[a*+]+[]x(?=]*\\++'}}}}]")),
    ("AuthorizationPolicy", "{rules: [{to: [{operation: {methods: [GET]}}]}]}"),
    ("AuthorizationPolicy", "{rules: [{to: [{operation: {paths: ['/{*}/b%20/{*}/{**}', '/{**}/a', '/a*', '*']}}]}]}"),
    ("AuthorizationPolicy", "{rules: [{from: [{source: {principals: ['*', 'a*', a], namespaces: [a, 'a*']}}]}]}"),
    ("AuthorizationPolicy", "{rules: [{from: [{source: {ipBlocks: [10.0.0.1]}}], to: [{operation: {methods: [a]}}]}]}"),
    ("AuthorizationPolicy", "{action: AUDIT, rules: [{from: [{source: {ipBlocks: [10.0.0.1]}}]}]}"),
    ("AuthorizationPolicy", "{rules: [{when: [{key: 'request.headers[:method]', values: [GET]}]}]}"),
    ("VirtualService", "{hosts: ['*'], gateways: [shop/gate], http: [{route: [{destination: {host: a}}]}]}"),
    (
        "VirtualService",
        "{hosts: ['*.example.com', 10.0.0.1, reviews], exportTo: [., other], http: [{redirect: {scheme: https}}]}",
    ),
    ("VirtualService", "{http: [{route: [{destination: {host: a}, weight: 100}]}]}"),
    (
        "VirtualService",
        route(
            f"{TO_A}, match: [{{uri: {{regex: '(?i)/\\pL+/\\d{{2,5}}[^/]*'}}, headers: {{':method': {{exact: "
            f"GET}}, x: {{regex: '*'}}}}}}]"
        ),
    ),
    ("VirtualService", route(f"{TO_A}, retries: {{attempts: 0}}")),
    (
        "VirtualService",
        route(
            f"{TO_A}, retries: {{attempts: 3, retryOn: 'gateway-error, connect-failure,503', perTryTimeout: 2s}}, "
            f"fault: {{delay: {{fixedDelay: 2s, percentage: {{value: 0.1}}}}}}"
        ),
    ),
    (
        "VirtualService",
        route(
            "directResponse: {status: 200, body: {string: hello}}, fault: {abort: {httpStatus: 500, percentage: "
            "{value: 50}}}"
        ),
    ),
    (
        "VirtualService",
        route(
            f"{TO_A}, headers: {{request: {{set: {{':authority': b, Host: c}}, remove: [x]}}}}, rewrite: "
            f"{{authority: b}}, mirrors: [{{destination: {{host: b}}, percentage: {{value: 1}}}}]"
        ),
    ),
    (
        "VirtualService",
        (
            "{hosts: ['*.b.c'], tls: [{match: [{port: 443, sniHosts: [a.b.c]}], route: [{destination: {host: "
            "a}}]}], tcp: [{route: [{destination: {host: a}}]}]}"
        ),
    ),
    (
        "DestinationRule",
        (
            "{host: '*.local', exportTo: ['*'], trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: "
            "{name: a, ttl: 0s}}, warmup: {duration: 30s, aggression: 1.5}}, connectionPool: {tcp: {idleTimeout: "
            "0s}}, tls: {mode: SIMPLE}}}"
        ),
    ),
    (
        "DestinationRule",
        (
            "{host: a, subsets: [{name: v1, labels: {version: v1}}, {name: all}], trafficPolicy: "
            "{outlierDetection: {consecutive5xxErrors: 5}, portLevelSettings: [{port: {number: 80}, "
            "loadBalancer: {simple: ROUND_ROBIN}}]}}"
        ),
    ),
    (
        "Gateway",
        (
            "{selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: http}, "
            "hosts: ['*/*', ./a.b], tls: {httpsRedirect: true}}, {port: {number: 443, name: https, protocol: "
            "HTTPS}, hosts: ['*.a.b'], tls: {mode: SIMPLE, credentialName: a}}]}"
        ),
    ),
    ("Gateway", "{servers: [{port: {number: 443, name: tls, protocol: TLS}, hosts: ['*'], tls: {mode: PASSTHROUGH}}]}"),
    ("Sidecar", "{egress: [{hosts: ['./*', istio-system/*, ~other/a.b]}]}"),
    (
        "Sidecar",
        (
            "{ingress: [{port: {number: 9080, protocol: HTTP, name: http}, bind: 127.10.0.2, captureMode: NONE, "
            "defaultEndpoint: '127.10.0.2:8080'}], egress: [{port: {number: 80, protocol: HTTP}, bind: "
            "127.0.0.1, captureMode: NONE, hosts: ['*/*']}]}"
        ),
    ),
    ("PeerAuthentication", "{mtls: {mode: STRICT}}"),
    ("AuthorizationPolicy", "{}"),
    ("AuthorizationPolicy", "{action: DENY, rules: [{}]}"),
    (
        "AuthorizationPolicy",
        "{action: CUSTOM, provider: {name: a}, rules: [{to: [{operation: {paths: ['/admin/{*}/x/{**}']}}]}]}",
    ),
    (
        "AuthorizationPolicy",
        (
            "{rules: [{from: [{source: {principals: [cluster.local/ns/a/sa/b], notNamespaces: [c]}}], to: "
            "[{operation: {methods: [GET], ports: ['80']}}], when: [{key: 'request.auth.claims[a][b]', "
            "notValues: [c]}]}]}"
        ),
    ),
    (
        "ServiceEntry",
        "{hosts: [a.b], location: MESH_EXTERNAL, resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]}",
    ),
    ("ServiceEntry", "{hosts: ['*.a.b'], resolution: DYNAMIC_DNS, ports: [{number: 443, name: tls, protocol: TLS}]}"),
    (
        "ServiceEntry",
        (
            "{hosts: [db], addresses: [240.0.0.1], resolution: STATIC, ports: [{number: 5432, name: tcp, "
            "protocol: TCP}], endpoints: [{address: 10.0.0.1, ports: {tcp: 5433}}, {address: 'unix:///run/db'}]}"
        ),
    ),
    (
        "RequestAuthentication",
        (
            "{jwtRules: [{issuer: 'https://a', jwksUri: 'https://a/keys', fromHeaders: [{name: x-jwt, prefix: "
            "'Bearer '}]}]}"
        ),
    ),
    (
        "EnvoyFilter",
        (
            "{configPatches: [{applyTo: HTTP_FILTER, match: {context: ANY, listener: {}}, patch: {operation: "
            "INSERT_BEFORE, value: {name: a}}}]}"
        ),
    ),
    ("WasmPlugin", "{url: 'oci://a/b:1'}"),
    ("TrafficExtension", "{lua: {inlineCode: 'x = 1'}}"),
    ("WorkloadGroup", "{template: {ports: {http: 80}}, probe: {httpGet: {port: 80}}}"),
    ("ProxyConfig", "{concurrency: 2}"),
]
