"""From facts to conditions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crds.codes import problem
from crds.meta import ObjectKey
from dragoman.mesh.conflicts import Conflict
from dragoman.mesh.credentials import CredentialUse
from dragoman.runtime.conditions import Condition, Facts, conditions, pooled
from dragoman.runtime.credential_problems import missing
from dragoman.runtime.programmed import Programmed, Rejection

WINNER = ObjectKey("VirtualService", "shop", "older")


def of(facts: Facts, type_: str) -> Condition | None:
    return next((condition for condition in conditions(facts) if condition.type == type_), None)


def said(facts: Facts, type_: str) -> tuple[str, str, str, int]:
    condition = of(facts, type_)
    assert condition is not None
    return condition.status, condition.reason, condition.message, condition.observed_generation


def programmed(facts: Facts) -> tuple[str, str, str, int]:
    return said(facts, "Programmed")


def test_a_good_object_at_all_its_proxies() -> None:
    facts = Facts(3, 3, programmed=Programmed(12, 12))
    assert said(facts, "Accepted") == ("True", "Accepted", "it is in force", 3)
    message = "12/12 proxies have accepted it; connections opened before follow within the drain time"
    assert programmed(facts) == ("True", "Programmed", message, 3)
    assert len(conditions(facts)) == 2


def test_a_broken_version_leaves_the_good_one_programmed() -> None:
    error = problem("DRG0101", "spec.http[0].rout", "unknown field 'rout'", "did you mean 'route'?")
    facts = Facts(4, 3, (error,), programmed=Programmed(2, 2))
    words = "DRG0101 spec.http[0].rout: unknown field 'rout' (did you mean 'route'?)"
    message = f"{words}; the last good version (generation 3) stays in force"
    assert said(facts, "Accepted") == ("False", "Invalid", message, 4)
    assert programmed(facts)[::3] == ("True", 3)


def test_what_never_was_good_is_nowhere() -> None:
    error = problem("DRG0103", "spec.host", "this field is required")
    facts = Facts(1, None, (error,))
    assert said(facts, "Accepted")[:3] == ("False", "Invalid", "DRG0103 spec.host: this field is required")
    assert programmed(facts) == ("False", "NotAccepted", "no version of it is in force", 1)


def test_what_is_on_its_way_names_who_has_yet_to_take_it() -> None:
    facts = Facts(2, 2, programmed=Programmed(12, 10, ("a.shop", "b.shop")))
    message = "10/12 proxies have accepted it; waiting for a.shop, b.shop"
    assert programmed(facts) == ("False", "Pending", message, 2)


def test_a_replica_that_has_not_seen_it_is_waited_for() -> None:
    facts = Facts(2, 2, programmed=Programmed(1, 1), behind=("two",))
    message = "1/1 proxies have accepted it; yet to take it in: replica two"
    assert programmed(facts) == ("False", "Pending", message, 2)


def test_what_nobody_uses_is_not_waited_for() -> None:
    assert programmed(Facts(1, 1)) == ("True", "NotUsed", "no connected proxy uses it", 1)


def test_envoys_own_words_are_on_the_culprit_and_others_know_that_they_wait() -> None:
    rejection = Rejection("cds", "outbound|80||web", "Invalid path:\n /etc/no.pem", (), at_fault=True)
    facts = Facts(1, 1, programmed=Programmed(2, 0, ("a.shop",), (rejection,)))
    message = "cds 'outbound|80||web' rejected: Invalid path: /etc/no.pem; 0/2 proxies have accepted it"
    assert programmed(facts) == ("False", "Rejected", message, 1)
    other = Rejection("rds", "80", "no such thing", ("a.shop",), at_fault=False)
    status, reason, message, _ = programmed(Facts(1, 1, programmed=Programmed(2, 1, ("a.shop",), (other,))))
    assert (status, reason) == ("False", "HeldBack")
    assert message.startswith("rds '80' held back for the sake of another object, rejected by a.shop: no such thing")


def test_a_fault_of_ours_is_not_the_authors() -> None:
    facts = Facts(1, 1, programmed=Programmed(2, 0, (), (), ("division by zero",)))
    assert programmed(facts)[:3] == ("False", "Failed", "it cannot be translated: division by zero")


def test_losers_are_told_who_wins() -> None:
    facts = Facts(1, 1, conflicts=(Conflict(WINNER, "host 'web'"),))
    message = "host 'web': VirtualService shop/older is older and wins"
    assert said(facts, "Conflicted") == ("True", "OlderWins", message, 1)
    assert of(Facts(1, 1), "Conflicted") is None


def test_credentials_that_do_not_work_are_told_of_at_who_names_them() -> None:
    gateway = ObjectKey("Gateway", "shop", "site")
    use = CredentialUse("kubernetes://site", gateway, "spec.servers[0].tls.credentialName")
    lacking = missing(("shop", "kubernetes://site"), (use,))
    status, reason, message, _ = said(Facts(1, 1, credentials=(lacking,)), "ResolvedRefs")
    assert (status, reason) == ("False", "CredentialNotFound")
    assert message.startswith("DRG0501 Gateway shop/site spec.servers[0].tls.credentialName: there is no Secret")
    assert of(Facts(1, 1), "ResolvedRefs") is None


def test_an_authorizer_that_cannot_be_asked_is_told_of() -> None:
    lacking = problem("DRG0413", "spec.provider.name", "the mesh has no extensionProvider 'guard'", "set it")
    assert said(Facts(1, 1, authorizer=lacking), "ResolvedRefs") == (
        "False",
        "AuthorizerNotFound",
        "DRG0413 spec.provider.name: the mesh has no extensionProvider 'guard' (set it)",
        1,
    )


def test_fields_without_effect_are_named_until_there_is_no_room() -> None:
    fields = tuple(problem("DRG0202", f"spec.http[{i}].mirrors", "this field has no effect yet") for i in range(40))
    status, reason, message, _ = said(Facts(1, 1, fields), "PartiallySupported")
    assert (status, reason) == ("True", "NoEffectYet")
    assert message.startswith("spec.http[0].mirrors: this field has no effect yet; spec.http[1].mirrors")
    assert message.endswith("more")
    assert of(Facts(1, 1, (problem("DRG0401", "spec.a", "old"),)), "PartiallySupported") is None


COUNTS = st.builds(
    lambda accepted, missing: Programmed(accepted + missing, accepted, ("p",) * min(missing, 3)),
    st.integers(0, 5),
    st.integers(0, 5),
)


@given(st.lists(COUNTS, max_size=4))
def test_replicas_add_up(parts: list[Programmed]) -> None:
    together = pooled(parts)
    assert together.proxies == sum(part.proxies for part in parts)
    assert together.complete == all(part.complete for part in parts)
    assert len(together.waiting) <= 3
    assert pooled([together]) == together


@given(st.text(), st.integers(0, 3), st.lists(st.text(min_size=1), max_size=3))
def test_messages_are_of_bounded_length(words: str, generation: int, names: list[str]) -> None:
    rejections = tuple(Rejection("cds", name, words * 50, (), at_fault=True) for name in names)
    for condition in conditions(Facts(generation, generation, programmed=Programmed(1, 0, (), rejections))):
        assert len(condition.message) <= 1024
