"""How much of a kind is followed for the sake of some of its objects."""

from crds.meta import ObjectKey
from dragoman.kube.resources import CLUSTER_TRUST_BUNDLES, SECRETS
from dragoman.sources.kubernetes.scopes import Scope, narrowest


def secrets(*names: str) -> list[ObjectKey]:
    return [ObjectKey("Secret", *name.split("/")) for name in names]


def test_few_objects_are_followed_one_by_one() -> None:
    found = set(narrowest(SECRETS, secrets("a/x", "a/y", "b/x"), at_most=3))
    assert found == {Scope(SECRETS, "a", "x"), Scope(SECRETS, "a", "y"), Scope(SECRETS, "b", "x")}


def test_more_are_followed_by_namespace_and_many_namespaces_as_a_whole() -> None:
    assert set(narrowest(SECRETS, secrets("a/x", "a/y", "b/x"), at_most=2)) == {
        Scope(SECRETS, "a"),
        Scope(SECRETS, "b"),
    }
    assert list(narrowest(SECRETS, secrets("a/x", "b/x", "c/x"), at_most=2)) == [Scope(SECRETS)]


def test_what_has_no_namespace_is_followed_by_name_or_as_a_whole() -> None:
    keys = [ObjectKey("ClusterTrustBundle", "", name) for name in "abc"]
    assert len(list(narrowest(CLUSTER_TRUST_BUNDLES, keys, at_most=3))) == 3
    assert list(narrowest(CLUSTER_TRUST_BUNDLES, keys, at_most=2)) == [Scope(CLUSTER_TRUST_BUNDLES)]


def test_a_scope_covers_what_is_in_it() -> None:
    assert Scope(SECRETS).covers(("a", "x"))
    assert Scope(SECRETS, "a").covers(("a", "x"))
    assert not Scope(SECRETS, "a").covers(("b", "x"))
    assert not Scope(SECRETS, "a", "x").covers(("a", "y"))
    assert Scope(SECRETS, "a", "x").path == "/api/v1/namespaces/a/secrets"
    assert Scope(SECRETS, "a", "x").selector == "metadata.name=x"
