"""Whether accounts may read Secrets, by a real API server."""

from pathlib import Path
from typing import Any

import pytest

from dragoman.kube import Cluster
from dragoman.operator.reviewed_rights import ReviewedRights
from tests.support.api_server import ApiServer
from tests.support.cut_connections import relay

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
    assert await rights.renew((gateway,)) == {gateway}
    assert not rights.may_read(gateway)


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
