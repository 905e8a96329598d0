import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca import InvalidIdentityError, SpiffeId, WorkloadIdentity

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
SUBDOMAIN = st.lists(LABEL, min_size=1, max_size=3).map(".".join)
TRUST_DOMAIN = st.from_regex(r"[a-z0-9._-]{1,255}", fullmatch=True)
IDS = st.builds(SpiffeId, trust_domain=TRUST_DOMAIN, namespace=LABEL, service_account=SUBDOMAIN)


@given(IDS)
def test_an_id_reads_back_as_it_was_written(spiffe_id):
    assert SpiffeId.parse(str(spiffe_id)) == spiffe_id


@given(st.text(max_size=80) | st.from_regex(r"spiffe://[^/]*/ns/[^/]*/sa/[^/]*(/.*)?", fullmatch=True))
def test_whatever_is_accepted_is_one_id_only(text):
    """No two spellings of one identity: a policy compares text."""
    try:
        spiffe_id = SpiffeId.parse(text)
    except InvalidIdentityError:
        return
    assert str(spiffe_id) == text
    assert re.fullmatch(r"spiffe://[a-z0-9._-]+/ns/[a-z0-9-]+/sa/[a-z0-9.-]+", text)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe://",
        "spiffe://td",
        "spiffe://td/ns/a",
        "spiffe://td/ns/a/sa/",
        "spiffe://td/ns//sa/b",
        "spiffe:///ns/a/sa/b",
        "spiffe://td/ns/a/sa/b/",
        "spiffe://td/ns/a/sa/b/c",
        "spiffe://td/ns/a/sa/b\n",
        "spiffe://td/ns/a/sa/b?x",
        "spiffe://td/ns/a/sa/b%2fc",
        "spiffe://td/ns/../sa/b",
        "spiffe://TD/ns/a/sa/b",
        "spiffe://user@td/ns/a/sa/b",
        "spiffe://td:443/ns/a/sa/b",
        "SPIFFE://td/ns/a/sa/b",
        "https://td/ns/a/sa/b",
        "spiffe://td/ns/a.b/sa/c",
        "spiffe://td/ns/" + "a" * 64 + "/sa/c",
        "spiffe://td/ns/a/sa/" + "c" * 254,
        "spiffe://td/ns/a/sa/ünïcode",
    ],
)
def test_malformed_ids_are_refused(uri):
    with pytest.raises(InvalidIdentityError):
        SpiffeId.parse(uri)


def test_a_refusal_names_the_part():
    with pytest.raises(InvalidIdentityError, match="namespace 'A'"):
        SpiffeId("td", "A", "b")


def test_the_workload_is_described_by_one_name():
    account = SpiffeId("cluster.local", "shop", "reviews")
    assert WorkloadIdentity(account, "reviews-v1").dns_name == "~w.reviews-v1.~.wl.cluster.local"
    described = WorkloadIdentity(account, "a.b", "App_1", "1.2.3", "App_1", "r-7", "east")
    assert described.dns_name == "~w.a.b.~a.App_1.~v.1.2.3.~r.r-7.~c.east.~.wl.cluster.local"


def test_what_does_not_fit_is_left_out_from_the_end():
    account, long = SpiffeId("cluster.local", "shop", "reviews"), "x" * 63
    described = WorkloadIdentity(account, "w", long, long, "s" * 63, "r", "east")
    assert described.dns_name == f"~w.w.~a.{long}.~v.{long}.~s.{'s' * 63}.~r.r.~c.east.~.wl.cluster.local"
    longer = WorkloadIdentity(account, "w" * 63, long, long, "s" * 63, "r", "east")
    assert longer.dns_name == f"~w.{'w' * 63}.~a.{long}.~v.{long}.~.wl.cluster.local"


@pytest.mark.parametrize("label", ["a~s.b", "-a", "a;b", "a b", "a\n", "ä", "a" * 254])
def test_a_label_cannot_smuggle_anything_into_the_certificate(label):
    with pytest.raises(InvalidIdentityError, match="label 'a'"):
        WorkloadIdentity(SpiffeId("td", "a", "b"), "w", app=label)


@given(IDS, SUBDOMAIN)
def test_a_dns_name_is_never_too_long(spiffe_id, workload):
    name = WorkloadIdentity(spiffe_id, workload).dns_name
    assert name is None or len(name) <= 253


@pytest.mark.parametrize("workload", ["", "a/b", "-a", "a*", "a b", "*.evil", "A"])
def test_a_workload_name_cannot_smuggle_anything_into_the_certificate(workload):
    with pytest.raises(InvalidIdentityError, match="workload name"):
        WorkloadIdentity(SpiffeId("td", "a", "b"), workload)
