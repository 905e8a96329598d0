"""Whether accounts may read Secrets, by a real API server."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ca.authority import new_root
from dragoman.codec import SECRET
from dragoman.kube import Cluster
from dragoman.kube.resources import SUBJECT_ACCESS_REVIEWS
from dragoman.operator.reviewed_rights import ReviewedRights
from dragoman.runtime import ControlPlane
from dragoman.runtime.sessions import ProxySession
from tests.runtime.test_runtime_control_plane import Documents
from tests.runtime.test_runtime_credentials import CA, NAME, A, rule, secret, tls
from tests.support.api_server import ApiServer
from tests.support.cut_connections import relay
from tests.support.mesh_of_yaml import pod
from tests.support.until import until
from xds import Node, Peer

pytestmark = pytest.mark.real_api

RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces"


async def allow(cluster: Cluster, namespace: str, account: str) -> None:
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": account}}
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]}]
    await cluster.request("POST", f"{RBAC}/{namespace}/roles", body=kind | {"kind": "Role", "rules": rules})
    binding: dict[str, Any] = kind | {
        "kind": "RoleBinding",
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }
    await cluster.request("POST", f"{RBAC}/{namespace}/rolebindings", body=binding)
    await is_known(cluster, namespace, account, allowed=True)


async def is_known(cluster: Cluster, namespace: str, account: str, *, allowed: bool) -> None:
    """Wait until the API server judges by what was stored, which takes it a moment."""
    asked = {"namespace": namespace, "verb": "list", "resource": "secrets"}
    review = {"spec": {"user": f"system:serviceaccount:{namespace}:{account}", "resourceAttributes": asked}}

    async def so() -> bool:
        return bool((await cluster.create(SUBJECT_ACCESS_REVIEWS, review))["status"]["allowed"] is allowed)

    await until(so)


async def test_an_account_may_what_a_role_lets_it(cluster: Cluster, namespace: str) -> None:
    rights = ReviewedRights(cluster)
    gateway, other = (namespace, "gateway"), (namespace, "other")
    assert not rights.may_read(gateway)
    await rights.ask(gateway)
    assert not rights.may_read(gateway)
    await allow(cluster, namespace, "gateway")
    assert await rights.renew((gateway, other)) == {gateway, other}
    assert rights.may_read(gateway)
    assert not rights.may_read(other)
    assert await rights.renew((gateway, other)) == frozenset()
    await cluster.request("DELETE", f"{RBAC}/{namespace}/rolebindings/gateway")
    await is_known(cluster, namespace, "gateway", allowed=False)
    assert await rights.renew((gateway,)) == {gateway}
    assert not rights.may_read(gateway)


async def test_a_sidecar_gets_the_secret_of_a_rule_once_its_account_may_read_it(
    cluster: Cluster, namespace: str
) -> None:
    rights = ReviewedRights(cluster)
    pods = pod("pay-1", "10.1.0.1", namespace, account="pay") + pod("pay-2", "10.1.0.2", namespace, account="other")
    held = secret(tls(A, **{"ca.crt": CA.pem}), namespace=namespace)
    text = pods + rule(namespace=namespace) + held
    plane = ControlPlane(Documents(text), new_root("cluster.local", now=datetime.now(UTC)), rights=rights)
    await plane.load()
    nodes = (f"sidecar~10.1.0.{n}~pay-{n}.{namespace}~{namespace}.svc.cluster.local" for n in (1, 2))
    payer, other = [await plane.connect(Node(node), Peer("unix:", True, {})) for node in nodes]

    def has(session: ProxySession) -> bool:
        return any(view.get((SECRET, NAME)) is not None for view in session.views)

    assert not has(payer)
    (said,) = {each.problem.message for each in plane.credentials.problems if each.name == NAME}
    assert "service accounts other, pay may not list" in said
    await allow(cluster, namespace, "pay")
    changed = await rights.renew(plane.credentials.accounts())
    assert changed == {(namespace, "pay")}
    for _ in plane.credentials.follow_rights(changed):
        pass
    assert has(payer)
    assert not has(other), "the right is its neighbour's"
    payer.close()
    other.close()


async def test_what_was_said_last_holds_while_nobody_can_be_asked(
    api_server: ApiServer, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    await allow(cluster, namespace, "gateway")
    account = (namespace, "gateway")
    config = tmp_path / "config"
    async with relay(api_server.server) as way:
        config.write_text(api_server.kubeconfig.read_text().replace(api_server.server, way.address))
        async with await Cluster.connect(config) as shaky:
            rights = ReviewedRights(shaky)
            await rights.ask(account)
            way.close()
            assert await rights.renew((account,)) == frozenset()
            assert rights.may_read(account)


async def test_who_may_not_ask_knows_of_no_right(api_server: ApiServer, cluster: Cluster, namespace: str) -> None:
    await allow(cluster, namespace, "gateway")
    async with await Cluster.connect(api_server.user("somebody")) as nobody:
        rights = ReviewedRights(nobody)
        await rights.ask((namespace, "gateway"))
        assert not rights.may_read((namespace, "gateway"))
