"""Credentials on their way to proxies: what stays while a Secret is broken, and what is said of which object."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from crds.meta import ObjectKey
from dragoman.codec import SECRET, decode
from dragoman.engine import Transaction
from dragoman.mesh.credential_uses import CredentialsView, credentials_view
from dragoman.mesh.proxy_id import ProxyType
from dragoman.runtime.credential_problems import CredentialProblem
from dragoman.runtime.credentials import Credentials
from dragoman.runtime.secret_rights import Account
from tests.support.mesh_of_yaml import Mesh, istio, pod
from tests.translators.gateway_certificates import Authority, KeyPair
from xds import View

CA = Authority()
A, B = CA.issue("a.org"), CA.issue("a.org")
NAME = "kubernetes://a"
GATEWAY = ObjectKey("Gateway", "edge", "gw")
OF_SECRET = ObjectKey("Secret", "edge", "a")
FIELD = "spec.servers[0].tls.credentialName"


def gateway(tls: str = "{mode: SIMPLE, credentialName: a}", namespace: str = "edge", name: str = "gw") -> str:
    server = f"{{port: {{number: 443, name: {name}, protocol: HTTPS}}, hosts: [{name}.org], tls: {tls}}}"
    return istio("Gateway", name, f"{{selector: {{istio: gw}}, servers: [{server}]}}", namespace)


def secret(data: dict[str, bytes], name: str = "a", namespace: str = "edge") -> str:
    encoded = {key: b64encode(value).decode() for key, value in data.items()}
    metadata = {"name": name, "namespace": namespace}
    return "\n---\n" + yaml.safe_dump({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded})


def tls(pair: KeyPair, **more: bytes) -> dict[str, bytes]:
    return {"tls.crt": pair.certificate, "tls.key": pair.key, **more}


class Holding(Mesh):
    """A gateway's credentials in a mesh that changes; `now` is what time it is."""

    def __init__(self, text: str) -> None:
        self.told: list[CredentialProblem] = []
        self.now = datetime.now(UTC)
        self.credentials: Credentials | None = None
        self.parts = 0
        super().__init__(pod("gw-1", "10.1.0.9", "edge", "istio: gw") + text)
        self.kept_out: set[Account] = set()
        self.credentials = Credentials(self.world.objects, self.told.append, self, clock=lambda: self.now)
        self.view = self.hold()

    async def ask(self, account: Account) -> None:
        """The rights of accounts: all but those that are `kept_out` may read."""

    def asked(self, account: Account) -> bool:
        return True

    async def renew(self, accounts: Iterable[Account]) -> frozenset[Account]:
        return frozenset(accounts)

    def may_read(self, account: Account) -> bool:
        return account not in self.kept_out

    def keep_out(self, *names: str) -> None:
        """Accounts of the namespace that may not read from now on; all others may."""
        before, self.kept_out = self.kept_out, {("edge", name) for name in names}
        assert self.credentials is not None
        for _ in self.credentials.follow_rights(frozenset(before ^ self.kept_out)):
            pass

    def key(self, name: str = "gw-1", kind: ProxyType = ProxyType.ROUTER) -> CredentialsView:
        found = credentials_view(self.graph, kind, "edge", name)
        assert found is not None
        return found

    def hold(self, name: str = "gw-1", kind: ProxyType = ProxyType.ROUTER) -> View:
        assert self.credentials is not None
        tx = self.graph.transaction()
        view = self.credentials.acquire(self.key(name, kind), tx)
        self._finish(tx, frozenset())
        return view

    def _change(self, edits) -> None:  # type: ignore[no-untyped-def]
        listed = list(edits)
        tx = self.graph.transaction()
        for cell in self.world.apply(listed):
            tx.set(*cell)
        self._finish(tx, frozenset(edit.key for edit in listed))

    def _finish(self, tx: Transaction, keys: frozenset[ObjectKey]) -> None:
        for _ in tx.run(1.0):
            pass
        if self.credentials is not None:
            self.parts = sum(1 for _ in self.credentials.publish(tx.changed, keys))

    def wait(self) -> None:
        assert self.credentials is not None
        for _ in self.credentials.follow_time():
            pass

    def chain(self, view: View | None = None, name: str = NAME) -> bytes | None:
        """The certificate that is served."""
        found = (view or self.view).get((SECRET, name))
        return None if found is None else decode(SECRET, found.payload).tls_certificate.certificate_chain.inline_bytes

    def codes(self) -> list[str]:
        assert self.credentials is not None
        return [each.problem.code for each in self.credentials.problems]


def test_a_missing_secret_is_a_problem_of_the_gateway_that_names_it() -> None:
    mesh = Holding(gateway())
    (problem,) = mesh.told
    assert (problem.problem.code, problem.subject, problem.problem.path) == ("DRG0501", GATEWAY, FIELD)
    assert "no Secret edge/a" in problem.problem.message
    assert "create it in namespace edge" in problem.problem.remedy
    mesh.apply(secret(tls(A)))
    assert mesh.chain() == A.certificate
    assert mesh.codes() == []


@pytest.mark.parametrize(
    ("bad", "path"),
    [
        ({"tls.crt": A.certificate, "tls.key": B.key}, "data[tls.key]"),
        ({"tls.crt": b"x", "tls.key": B.key}, "data[tls.crt]"),
        ({"tls.crt": A.certificate}, "data"),
    ],
)
def test_a_broken_secret_is_a_problem_of_its_own_and_the_last_good_stays(bad: dict[str, bytes], path: str) -> None:
    mesh = Holding(gateway() + secret(tls(A)))
    assert mesh.told == []
    mesh.apply(secret(bad))
    (problem,) = mesh.told
    assert (problem.problem.code, problem.subject, problem.problem.path) == ("DRG0502", OF_SECRET, path)
    assert problem.objects == (OF_SECRET, GATEWAY)
    assert problem.kept_last_good
    assert mesh.chain() == A.certificate
    mesh.apply(secret(bad) + "\n# again")
    assert len(mesh.told) == 1, "it is said once"
    mesh.apply(secret(tls(B)))
    assert mesh.chain() == B.certificate
    assert mesh.codes() == []


def test_proxies_that_come_later_get_the_last_good_too_until_the_secret_is_removed() -> None:
    mesh = Holding(gateway() + secret(tls(A)) + pod("gw-2", "10.1.0.8", "edge", "istio: gw, extra: x"))
    mesh.apply(istio("AuthorizationPolicy", "x", "{selector: {matchLabels: {extra: x}}, action: DENY}", "edge"))
    mesh.apply(secret({"tls.crt": b"broken"}))
    assert mesh.key("gw-2") != mesh.key("gw-1")
    assert mesh.chain(mesh.hold("gw-2")) == A.certificate
    mesh.remove("Secret", "edge", "a")
    assert mesh.chain() is None
    assert mesh.codes() == ["DRG0501"]


def test_a_broken_secret_without_a_good_one_before_says_that_connections_are_refused() -> None:
    mesh = Holding(gateway() + secret({"tls.crt": A.certificate, "tls.key": b"x"}))
    (problem,) = mesh.told
    assert "connections that need it are refused" in problem.problem.message
    assert not problem.kept_last_good
    assert mesh.chain() is None
    assert mesh.credentials is not None
    assert "DRG0502" in mesh.credentials.lacking(mesh.key())[NAME]


def test_what_is_over_does_not_displace_what_is_valid_and_is_served_if_there_is_nothing_else() -> None:
    over = CA.issue("a.org", ends=timedelta(minutes=-1))
    mesh = Holding(gateway() + secret(tls(over)))
    assert mesh.chain() == over.certificate, "clients are told what is wrong by their own TLS"
    assert mesh.codes() == ["DRG0503"]
    mesh.apply(secret(tls(A)))
    assert mesh.codes() == []
    mesh.apply(secret(tls(over)))
    assert mesh.chain() == A.certificate
    (problem,) = mesh.credentials.problems if mesh.credentials else ()
    assert (problem.problem.code, problem.problem.path, problem.kept_last_good) == ("DRG0503", "data[tls.crt]", True)


def test_time_makes_problems_and_solves_them() -> None:
    mesh = Holding(
        gateway("{mode: MUTUAL, credentialName: a}") + secret(tls(A, **{"ca.crt": CA.pem, "ca.crl": CA.revoke()}))
    )
    assert mesh.credentials is not None
    mesh.wait()
    assert mesh.codes() == []
    mesh.now += timedelta(hours=2)
    mesh.wait()
    assert mesh.codes() == ["DRG0503", "DRG0503"]
    mesh.wait()
    assert len(mesh.told) == 2
    mesh.apply(
        secret(tls(CA.issue("a.org", ends=timedelta(days=9)), **{"ca.crt": Authority(ends=timedelta(days=9)).pem}))
    )
    assert mesh.codes() == []


def test_revocations_apply_whatever_is_wrong_with_the_list() -> None:
    """What is new is used: the last good list does not know who was revoked since."""
    mutual = gateway("{mode: MUTUAL, credentialName: a}")
    mesh = Holding(mutual + secret(tls(A, **{"ca.crt": CA.pem, "ca.crl": CA.revoke()})))
    late = CA.revoke(7, days=-1)
    mesh.apply(secret(tls(A, **{"ca.crt": CA.pem, "ca.crl": late})))
    served = mesh.view.get((SECRET, f"{NAME}-cacert"))
    assert served is not None
    assert decode(SECRET, served.payload).validation_context.crl.inline_bytes == late
    (problem,) = mesh.told
    assert (problem.problem.code, problem.problem.path) == ("DRG0503", "data[ca.crl]")


def test_secrets_of_other_namespaces_are_refused_whoever_names_them() -> None:
    mesh = Holding(
        gateway("{mode: SIMPLE, credentialName: 'kubernetes://shop/b'}")
        + secret(tls(B), "b", "shop")
        + gateway("{mode: SIMPLE, credentialName: 'kubernetes-gateway://edge/a'}", "shop", "foreign")
        + secret(tls(A))
    )
    assert mesh.chain(name="kubernetes://shop/b") is None
    assert mesh.chain(name="kubernetes-gateway://edge/a") is None
    assert [(each.problem.code, each.subject.name) for each in mesh.told] == [("DRG0504", "foreign"), ("DRG0504", "gw")]
    # What a Gateway of the namespace itself names is given.
    mesh.apply(gateway("{mode: SIMPLE, credentialName: 'kubernetes-gateway://edge/a'}", "edge", "own"))
    assert mesh.chain(name="kubernetes-gateway://edge/a") == A.certificate


def test_what_nobody_names_any_more_goes() -> None:
    mesh = Holding(gateway() + secret(tls(A)))
    mesh.apply(gateway("{mode: SIMPLE, credentialName: other}"))
    assert mesh.chain() is None
    assert mesh.codes() == ["DRG0501"]
    mesh.remove("Gateway", "edge", "gw")
    assert mesh.codes() == []
    assert mesh.credentials is not None
    assert list(mesh.credentials.served()) == []


def test_the_last_holder_takes_everything_along() -> None:
    mesh = Holding(gateway() + secret({"tls.crt": b"x"}))
    assert mesh.credentials is not None
    mesh.credentials.release(mesh.key())
    assert mesh.credentials.problems == ()


def test_many_are_looked_at_in_parts_and_a_change_of_one_costs_one() -> None:
    names = [f"n{number}" for number in range(100)]
    port, mode = "{number: 443, name: %s, protocol: HTTPS}", "{mode: SIMPLE, credentialName: %s}"
    servers = ", ".join(f"{{port: {port % name}, hosts: [{name}.org], tls: {mode % name}}}" for name in names)
    many = istio("Gateway", "gw", f"{{selector: {{istio: gw}}, servers: [{servers}]}}", "edge")
    mesh = Holding(many + "".join(secret(tls(A), name) for name in names))
    assert mesh.parts == 5
    assert mesh.told == []
    mesh.apply(secret(tls(B), "n7"))
    assert mesh.parts == 1
    assert mesh.chain(name="kubernetes://n7") == B.certificate
    assert mesh.chain(name="kubernetes://n8") == A.certificate


def test_no_problem_shows_what_is_secret() -> None:
    mesh = Holding(gateway() + secret({"tls.crt": A.certificate, "tls.key": B.key}))
    assert "PRIVATE" not in repr(mesh.told)
    assert A.key.decode().splitlines()[1] not in repr(mesh.told)


def test_a_gateway_gets_no_secret_that_its_account_may_not_read() -> None:
    mesh = Holding(gateway() + secret(tls(A)))
    assert mesh.credentials is not None
    assert mesh.credentials.accounts() == {("edge", "default")}
    assert mesh.credentials.delivered(mesh.key()) == (NAME,)
    for allowed, chain in ((False, None), (True, A.certificate)):
        mesh.keep_out(*(() if allowed else ("default",)))
        assert mesh.chain() == chain
        assert (mesh.credentials.delivered(mesh.key()) == (NAME,)) is allowed
        assert (mesh.credentials.lacking(mesh.key()) == {}) is allowed
    # Whatever happens meanwhile to the Secret.
    mesh.keep_out("default")
    mesh.apply(secret(tls(B)))
    assert mesh.chain() is None
    assert mesh.credentials.lacking(mesh.key()) == {
        NAME: "service account default may not list the Secrets of namespace edge"
    }


def rule(name: str = "a", namespace: str = "edge") -> str:
    """A rule for the sidecars that it selects, by which they show and verify certificates."""
    settings = f"{{mode: MUTUAL, credentialName: '{name}'}}"
    spec = f"{{host: x.org, workloadSelector: {{matchLabels: {{app: pay}}}}, trafficPolicy: {{tls: {settings}}}}}"
    return istio("DestinationRule", "out", spec, namespace)


def test_a_sidecar_gets_no_secret_that_its_account_may_not_read_and_the_rule_says_whose() -> None:
    pods = pod("pay-1", "10.1.0.1", "edge", account="pay") + pod("pay-2", "10.1.0.2", "edge", account="other")
    mesh = Holding(rule() + secret(tls(A, **{"ca.crt": CA.pem})) + pods)
    views = {name: mesh.hold(name, ProxyType.SIDECAR) for name in ("pay-1", "pay-2")}
    assert mesh.credentials is not None
    assert mesh.credentials.accounts() == {("edge", "pay"), ("edge", "other")}, "the gateway needs none"
    assert [mesh.chain(view) for view in views.values()] == [A.certificate, A.certificate]
    mesh.keep_out("pay")
    assert [mesh.chain(view) for view in views.values()] == [None, A.certificate], "accounts are told apart"
    assert views["pay-1"].get((SECRET, NAME + "-cacert")) is None
    problem = next(each for each in mesh.credentials.problems if each.name == NAME)
    field = "spec.trafficPolicy.tls.credentialName"
    assert (problem.problem.code, str(problem.subject), problem.problem.path) == (
        "DRG0504",
        "DestinationRule edge/out",
        field,
    )
    assert "service account pay may not list the Secrets of namespace edge" in problem.problem.message
    assert list(mesh.credentials.lacking(mesh.key("pay-1", ProxyType.SIDECAR))) == [NAME, NAME + "-cacert"]
    mesh.keep_out()
    assert mesh.codes() == []
    assert mesh.chain(views["pay-1"]) == A.certificate


def test_who_needs_only_what_is_for_everybody_is_not_asked_about_again() -> None:
    roots = "\n---\n" + yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "roots", "namespace": "all"},
            "data": {"ca.crt": CA.pem.decode()},
        }
    )
    mesh = Holding(
        rule("configmap://all/roots").replace("MUTUAL", "SIMPLE")
        + roots
        + pod("pay-1", "10.1.0.1", "edge", account="p")
    )
    mesh.keep_out("p")
    view = mesh.hold("pay-1", ProxyType.SIDECAR)
    assert view.get((SECRET, "configmap://all/roots-cacert")) is not None
    assert mesh.credentials is not None
    assert ("edge", "p") not in mesh.credentials.accounts()
