"""Who may do what: AuthorizationPolicies on requests, on connections, and attempts to get around them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

import grpc.aio
import pytest
import pytest_asyncio

from e2e.harness import EchoApp, Mesh, Pod, eventually, failing, mesh_settings

pytestmark = [
    pytest.mark.netns,
    pytest.mark.envoy,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("settled"),
]

APP = EchoApp(http=(8080, 8081, 8082), grpc=(9090,), tcp=(9000,), greeting=(9001, 9002))
PORTS = {"http": 8080, "http-more": 8081, "web": 8082, "grpc": 9090, "tcp-echo": 9000, "tcp-hello": 9001}
URL = "http://server.default:8080/"
GREETING = b"welcome to server v1\n"


@dataclass(frozen=True, slots=True)
class Cast:
    """A server, and the clients amina (of its namespace), babur (of the namespace team) and one without identity."""

    mesh: Mesh
    server: Pod
    amina: Pod
    babur: Pod
    stranger: Pod


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cast(shared_mesh: Mesh) -> AsyncIterator[Cast]:
    await shared_mesh.service("server", PORTS)
    async with (
        shared_mesh.pod("server", app=APP, sidecar=True) as server,
        shared_mesh.pod("amina", sidecar=True) as amina,
        shared_mesh.pod("babur", namespace="team", sidecar=True) as babur,
        shared_mesh.pod("stranger") as stranger,
    ):
        yield Cast(shared_mesh, server, amina, babur, stranger)


def policy(action: str, rules: str, name: str = "policy", namespace: str = "default") -> str:
    selector = "selector: {matchLabels: {app: server}}" if namespace == "default" else ""
    return f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  action: {action}
  {selector}
  rules: {rules}
"""


async def status(client: Pod, path: str = "", port: int = 8080, **request: object) -> int:
    return (await client.http(f"http://server.default:{port}/{path}", **request)).status  # type: ignore[arg-type]


# Requests.

DENIED_REQUESTS = {
    "principal": ("[{from: [{source: {principals: [cluster.local/ns/default/sa/amina]}}]}]", ("amina",)),
    "any principal": ("[{from: [{source: {principals: ['*']}}]}]", ("amina", "babur")),
    "no principal": ("[{from: [{source: {notPrincipals: ['*']}}]}]", ("stranger",)),
    "namespace": ("[{from: [{source: {namespaces: [team]}}]}]", ("babur",)),
    "another namespace": ("[{from: [{source: {notNamespaces: [team]}}]}]", ("amina", "stranger")),
    "service account": ("[{from: [{source: {serviceAccounts: [amina, team/babur]}}]}]", ("amina", "babur")),
    "another account": ("[{from: [{source: {notServiceAccounts: [team/babur]}}]}]", ("amina", "stranger")),
    "trust domain": ("[{from: [{source: {trustDomains: [cluster.local]}}]}]", ("amina", "babur")),
    "another trust domain": ("[{from: [{source: {notTrustDomains: ['cluster.*']}}]}]", ("stranger",)),
    "a part of a principal": ("[{from: [{source: {principals: ['*/sa/babur']}}]}]", ("babur",)),
    "condition on the principal": (
        "[{when: [{key: source.principal, values: [cluster.local/ns/*], notValues: ['*/babur']}]}]",
        ("amina",),
    ),
    "condition on the namespace": ("[{when: [{key: source.namespace, notValues: [default]}]}]", ("babur", "stranger")),
    "condition on the account": ("[{when: [{key: source.serviceAccount, values: [amina]}]}]", ("amina",)),
    "name of the server": ("[{when: [{key: connection.sni, values: ['*']}]}]", ("amina", "babur")),
    "port": ("[{when: [{key: destination.port, values: ['8080']}]}]", ("amina", "babur", "stranger")),
    "another port": ("[{when: [{key: destination.port, notValues: ['8080']}]}]", ()),
    "addresses": ("[{from: [{source: {ipBlocks: [STRANGER, 192.0.2.0/24]}}]}]", ("stranger",)),
    "other addresses": ("[{from: [{source: {notIpBlocks: [STRANGER]}}]}]", ("amina", "babur")),
    "remote addresses": ("[{from: [{source: {remoteIpBlocks: [STRANGER]}}]}]", ("stranger",)),
    "condition on the address": ("[{when: [{key: source.ip, values: [STRANGER]}]}]", ("stranger",)),
    "address of the server": ("[{when: [{key: destination.ip, values: [SERVER]}]}]", ("amina", "babur", "stranger")),
    "everything": ("[{}]", ("amina", "babur", "stranger")),
}


@pytest.mark.parametrize("kind", DENIED_REQUESTS)
async def test_requests_are_denied_by_who_sends_them(cast: Cast, kind: str) -> None:
    rules, denied = DENIED_REQUESTS[kind]
    rules = rules.replace("STRANGER", cast.stranger.address).replace("SERVER", cast.server.address)
    clients = {"amina": cast.amina, "babur": cast.babur, "stranger": cast.stranger}
    expected = {name: 403 if name in denied else 200 for name in clients}

    async def statuses() -> dict[str, int]:
        return {name: await status(client) for name, client in clients.items()}

    with cast.mesh.configuration.during(policy("DENY", rules)):
        await cast.mesh.settled()
        await eventually(statuses, lambda seen: seen == expected)
        if denied:
            assert (await clients[denied[0]].http(URL)).text == "RBAC: access denied"
    await eventually(statuses, lambda seen: set(seen.values()) == {200})


async def test_a_denied_request_never_reaches_the_application_and_its_removal_restores(cast: Cast) -> None:
    denied = policy("DENY", "[{from: [{source: {namespaces: [team]}}]}]")
    async with cast.amina.traffic(URL) as traffic:
        with cast.mesh.configuration.during(denied):
            await eventually(lambda: status(cast.babur), lambda seen: seen == 403)
            for port in (8081, 8082):
                assert await status(cast.babur, port=port) == 403
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await cast.babur.grpc_echo("server.default:9090")
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        await eventually(lambda: status(cast.babur), lambda seen: seen == 200)
    assert not traffic.errors
    assert traffic.statuses.keys() == {200}, "those whom the policy does not concern notice nothing of it"


async def test_requests_are_denied_by_what_they_are(cast: Cast) -> None:
    denied = policy(
        "DENY",
        """
  - to: [{operation: {methods: [DELETE]}}]
  - to: [{operation: {paths: [/admin, /private/*, "*.secret"]}}]
  - to: [{operation: {ports: ["8081"]}}]
  - to: [{operation: {hosts: [forbidden.example.com]}}]
  - when: [{key: "request.headers[x-role]", values: [thief]}]
  - {to: [{operation: {methods: [PUT], paths: [/both]}}]}
""",
    )
    forbidden = {
        "method": partial(status, cast.amina, method="DELETE"),
        "path": partial(status, cast.amina, "admin"),
        "path with a query": partial(status, cast.amina, "admin?a=b"),
        "prefix": partial(status, cast.amina, "private/x"),
        "suffix": partial(status, cast.amina, "some.secret"),
        "port": partial(status, cast.amina, port=8081),
        "host": partial(status, cast.stranger, headers={"host": "forbidden.example.com"}),
        "header": partial(status, cast.amina, headers={"x-role": "thief"}),
        "two conditions": partial(status, cast.amina, "both", method="PUT"),
    }
    permitted = {
        "nothing special": partial(status, cast.amina),
        "longer path": partial(status, cast.amina, "administrator"),
        "another role": partial(status, cast.amina, headers={"x-role": "cook"}),
        "one of two conditions": partial(status, cast.amina, "both"),
        "the other of two": partial(status, cast.amina, method="PUT"),
    }
    with cast.mesh.configuration.during(denied):
        await eventually(forbidden["path"], lambda seen: seen == 403)
        assert {name: await request() for name, request in forbidden.items()} == dict.fromkeys(forbidden, 403)
        assert {name: await request() for name, request in permitted.items()} == dict.fromkeys(permitted, 200)
    await eventually(forbidden["path"], lambda seen: seen == 200)


async def test_only_what_is_allowed_is_allowed(cast: Cast) -> None:
    allowed = policy(
        "ALLOW",
        """
  - from: [{source: {principals: [cluster.local/ns/default/sa/amina]}}]
    to: [{operation: {methods: [GET], paths: [/open/*]}}]
  - from: [{source: {namespaces: [team]}}]
""",
    )
    with cast.mesh.configuration.during(allowed):
        await eventually(lambda: status(cast.amina, "closed"), lambda seen: seen == 403)
        assert await status(cast.amina, "open/x") == 200
        assert await status(cast.amina, "open/x", method="POST") == 403
        assert await status(cast.babur, "closed") == 200
        assert await status(cast.stranger, "open/x") == 403
        with cast.mesh.configuration.during(policy("DENY", "[{to: [{operation: {paths: [/open/vault]}}]}]", "deny")):
            await eventually(lambda: status(cast.amina, "open/vault"), lambda seen: seen == 403)
            assert await status(cast.amina, "open/x") == 200
    await eventually(lambda: status(cast.amina, "closed"), lambda seen: seen == 200)


async def test_a_policy_that_allows_nothing_denies_everything(cast: Cast) -> None:
    with cast.mesh.configuration.during("""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: nothing, namespace: default}
spec: {}
"""):
        await eventually(lambda: status(cast.amina), lambda seen: seen == 403)
        with cast.mesh.configuration.during(policy("ALLOW", "[{}]")):
            await eventually(lambda: status(cast.amina), lambda seen: seen == 200)
        await eventually(lambda: status(cast.amina), lambda seen: seen == 403)
    await eventually(lambda: status(cast.amina), lambda seen: seen == 200)


async def test_policies_of_the_root_namespace_hold_everywhere_and_those_of_others_nowhere_else(cast: Cast) -> None:
    everywhere = policy("DENY", "[{to: [{operation: {paths: [/root]}}]}]", namespace="istio-system")
    elsewhere = policy("DENY", "[{to: [{operation: {paths: [/team]}}]}]", namespace="team")
    with cast.mesh.configuration.during(elsewhere, everywhere):
        await eventually(lambda: status(cast.amina, "root"), lambda seen: seen == 403)
        assert await status(cast.amina, "team") == 200
    await eventually(lambda: status(cast.amina, "root"), lambda seen: seen == 200)


# Getting around a policy.


async def raw_status(client: Pod, target: str, host: str = "server.default:8080") -> int:
    """The status of a request whose target and host are sent as they are, which no HTTP library would do."""
    async with client.tcp("server.default", 8080) as connection:
        await connection.send(f"GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
        answer = await connection.receive()
    return int(answer.split()[1])


DISGUISES = ["/admin", "/./admin", "/x/../admin", "/%61dmin", "/x/%2e%2e/admin", "/admin?", "/admin?x", "\\admin"]


@pytest.mark.parametrize("who", ["amina", "stranger"])
async def test_a_denied_path_in_disguise_is_denied(cast: Cast, who: str) -> None:
    client = cast.amina if who == "amina" else cast.stranger
    with cast.mesh.configuration.during(policy("DENY", "[{to: [{operation: {paths: [/admin]}}]}]")):
        await eventually(lambda: raw_status(client, "/admin"), lambda seen: seen == 403)
        seen = {path: await raw_status(client, path) for path in DISGUISES}
        assert {path: got for path, got in seen.items() if got not in (403, 400)} == {}
        assert await raw_status(client, "/admin/below") == 200
        # A fragment belongs to no request: what is before it decides, or the request is refused.
        assert await raw_status(client, "/admin#x") in (403, 400)
    await eventually(lambda: raw_status(client, "/admin"), lambda seen: seen == 200)


async def test_slashes_are_merged_where_the_mesh_says_so(cast: Cast) -> None:
    merging = mesh_settings("pathNormalization: {normalization: DECODE_AND_MERGE_SLASHES}")
    with cast.mesh.configuration.during(policy("DENY", "[{to: [{operation: {paths: [/a/admin]}}]}]")):
        await eventually(lambda: raw_status(cast.stranger, "/a/admin"), lambda seen: seen == 403)
        assert await raw_status(cast.stranger, "/a//admin") == 200, "Istio's default: another path"
        with cast.mesh.configuration.during(merging):
            for path in ("/a//admin", "//a/admin", "/a%2Fadmin", "/a/x%2F..%2Fadmin"):
                await eventually(partial(raw_status, cast.stranger, path), lambda seen: seen == 403)


async def test_a_denied_host_in_disguise_is_denied(cast: Cast) -> None:
    hosts = "[server.default, 'server.default:*']"
    with cast.mesh.configuration.during(policy("DENY", f"[{{to: [{{operation: {{hosts: {hosts}}}}}]}}]")):
        await eventually(lambda: raw_status(cast.stranger, "/"), lambda seen: seen == 403)
        for host in ("server.default", "SERVER.default", "server.DEFAULT:8080", "server.default:80"):
            assert await raw_status(cast.stranger, "/", host) == 403, host
        assert await raw_status(cast.stranger, "/", "another.example.com") == 200


async def test_a_method_in_other_letters_is_another_method(cast: Cast) -> None:
    """Methods are case-sensitive (RFC 9110, 9.1): an ALLOW of GET is no ALLOW of get."""
    with cast.mesh.configuration.during(policy("ALLOW", "[{to: [{operation: {methods: [GET]}}]}]")):
        await eventually(lambda: status(cast.stranger, method="POST"), lambda seen: seen == 403)
        async with cast.stranger.tcp("server.default", 8080) as connection:
            await connection.send(b"get / HTTP/1.1\r\nhost: server.default\r\nconnection: close\r\n\r\n")
            answer = await connection.receive()
        assert answer.split()[1] in (b"403", b"400")
    await eventually(lambda: status(cast.stranger, method="POST"), lambda seen: seen == 200)


# Connections: who is denied hears nothing, not even a greeting.


async def heard(client: Pod, port: int = 9001, say: bytes = b"", *, seconds: float = 10) -> bytes:
    async with client.tcp("server.default", port) as connection:
        try:
            if say:
                await connection.send(say)
            return await connection.receive(seconds=seconds)
        except ConnectionError:
            return b""


CONNECTIONS = {
    "deny a principal": ("DENY", "[{from: [{source: {principals: [cluster.local/ns/team/sa/babur]}}]}]"),
    "deny a namespace": ("DENY", "[{from: [{source: {namespaces: [team]}}]}]"),
    "deny a namespace on a port": (
        "DENY",
        "[{from: [{source: {namespaces: [team]}}], to: [{operation: {ports: ['9001', '9000']}}]}]",
    ),
    "allow a principal": ("ALLOW", "[{from: [{source: {principals: [cluster.local/ns/default/sa/amina]}}]}]"),
    "allow a namespace": ("ALLOW", "[{from: [{source: {namespaces: [default]}}]}]"),
    "deny all but a namespace": ("DENY", "[{from: [{source: {notNamespaces: [default]}}]}]"),
    "deny all but a principal": ("DENY", "[{from: [{source: {notPrincipals: [cluster.local/ns/default/sa/amina]}}]}]"),
    "allow all but a namespace": ("ALLOW", "[{from: [{source: {notNamespaces: [team]}}]}]"),
}


@pytest.mark.parametrize("kind", CONNECTIONS)
async def test_a_denied_peer_hears_no_byte_of_a_greeting(cast: Cast, kind: str) -> None:
    strict = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: server, namespace: default}
spec:
  selector: {matchLabels: {app: server}}
  mtls: {mode: STRICT}
"""
    action, rules = CONNECTIONS[kind]
    assert await heard(cast.babur) == GREETING
    with cast.mesh.configuration.during(strict, policy(action, rules)):
        # From the first connection that is denied no later one hears anything, in any timing of the client.
        await eventually(lambda: heard(cast.babur), lambda bytes_: bytes_ == b"", steady=20)
        assert await heard(cast.babur, say=b"salaam\n") == b""
        assert await heard(cast.babur, 9000, b"salaam\n") == b""
        assert await heard(cast.amina) == GREETING
        assert await heard(cast.amina, 9000, b"salaam\n") == b"salaam\n"
    await eventually(lambda: heard(cast.babur), lambda bytes_: bytes_ == GREETING)
    assert await heard(cast.babur, 9000, b"salaam\n") == b"salaam\n"


async def test_a_policy_on_one_port_leaves_the_others_alone(cast: Cast) -> None:
    denied = policy("DENY", "[{to: [{operation: {ports: ['9001']}}]}]")
    with cast.mesh.configuration.during(denied):
        await eventually(lambda: heard(cast.babur), lambda bytes_: bytes_ == b"")
        assert await heard(cast.babur, 9000, b"salaam\n") == b"salaam\n"
        assert await status(cast.babur) == 200
    await eventually(lambda: heard(cast.babur), lambda bytes_: bytes_ == GREETING)


async def test_an_allowed_path_allows_no_connection(cast: Cast) -> None:
    """What only a request can meet, no connection meets (Istio: an ALLOW rule with HTTP conditions on a TCP port)."""
    with cast.mesh.configuration.during(policy("ALLOW", "[{to: [{operation: {paths: [/open]}}]}]")):
        await eventually(lambda: heard(cast.amina), lambda bytes_: bytes_ == b"")
        assert await status(cast.amina, "open") == 200
    await eventually(lambda: heard(cast.amina), lambda bytes_: bytes_ == GREETING)


async def test_a_denied_method_denies_connections_of_which_no_method_is_known(cast: Cast) -> None:
    """As in Istio: of a DENY rule the rest holds on TCP ports, here all of them; `to.operation.ports` spares them."""
    methods = "operation: {methods: [DELETE]"
    with cast.mesh.configuration.during(policy("DENY", f"[{{to: [{{{methods}}}}}]}}]")):
        await eventually(lambda: heard(cast.amina), lambda bytes_: bytes_ == b"")
        assert await status(cast.amina) == 200
        assert await status(cast.amina, method="DELETE") == 403
    await eventually(lambda: heard(cast.amina), lambda bytes_: bytes_ == GREETING)
    await eventually(lambda: status(cast.amina, method="DELETE"), lambda seen: seen == 200)
    with cast.mesh.configuration.during(policy("DENY", f"[{{to: [{{{methods}, ports: ['8080']}}}}]}}]")):
        await eventually(lambda: status(cast.amina, method="DELETE"), lambda seen: seen == 403)
        assert await heard(cast.amina) == GREETING
    await eventually(lambda: status(cast.amina, method="DELETE"), lambda seen: seen == 200)


async def test_addresses_decide_connections_at_their_first_byte(cast: Cast) -> None:
    rules = (
        f"[{{from: [{{source: {{ipBlocks: [{cast.stranger.address}]}}}}], to: [{{operation: {{ports: ['9000']}}}}]}}]"
    )
    with cast.mesh.configuration.during(policy("DENY", rules)):
        await eventually(lambda: heard(cast.stranger, 9000, b"salaam\n"), lambda bytes_: bytes_ == b"")
        assert await heard(cast.amina, 9000, b"salaam\n") == b"salaam\n"
        assert await status(cast.stranger) == 200
    await eventually(lambda: heard(cast.stranger, 9000, b"salaam\n"), lambda bytes_: bytes_ == b"salaam\n")


@pytest.mark.parametrize("rules", ["ALLOW [amina]", "DENY all but [amina]"])
@pytest.mark.parametrize("mode", ["DISABLE", "PERMISSIVE"])
async def test_a_client_without_identity_hears_no_byte_either(cast: Cast, mode: str, rules: str) -> None:
    plaintext = f"""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: server, namespace: default}}
spec:
  selector: {{matchLabels: {{app: server}}}}
  mtls: {{mode: {mode}}}
"""
    amina = "[cluster.local/ns/default/sa/amina]"
    written = {
        "ALLOW [amina]": policy("ALLOW", f"[{{from: [{{source: {{principals: {amina}}}}}]}}]"),
        "DENY all but [amina]": policy("DENY", f"[{{from: [{{source: {{notPrincipals: {amina}}}}}]}}]"),
    }[rules]
    with cast.mesh.configuration.during(plaintext, mesh_settings("protocolDetectionTimeout: 0.1s")):
        await cast.mesh.settled()
        await eventually(lambda: heard(cast.stranger), lambda bytes_: bytes_ == GREETING)
        with cast.mesh.configuration.during(written):
            await eventually(lambda: heard(cast.stranger), lambda bytes_: bytes_ == b"")
            assert await heard(cast.stranger, say=b"salaam\n") == b""
        await eventually(lambda: heard(cast.stranger), lambda bytes_: bytes_ == GREETING)

    async def identities() -> set[bool]:
        return {"x-forwarded-client-cert" in (await cast.amina.http(URL)).text for _ in range(10)}

    # Connections of before may be used once more; and from DISABLE to mutual TLS client and server do not change at one
    # moment: a request in between may fail.
    await eventually(identities, lambda seen: seen == {True}, steady=1)
    # And the detection timeout is gone: a plaintext client waits for ever again.
    await eventually(
        lambda: failing(heard(cast.stranger, seconds=0.5)), lambda error: isinstance(error, TimeoutError), steady=1
    )
