"""The rules of capture as text; that they capture what they should is shown with traffic (e2e/test_capture.py)."""

import re

import pytest

from dragoman.capture import Capture, CaptureError, Family, iptables, nftables
from dragoman.capture.rules import rules

# Istio: tools/istio-iptables/pkg/capture, REDIRECT with everything included, the ports of Istio's injector excluded.
DEFAULT = """\
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A ISTIO_INBOUND -p tcp -m tcp --dport 15008 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15090 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15021 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15020 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -p tcp -o lo -s 127.0.0.6/32 -j RETURN
-A ISTIO_OUTPUT -p tcp -o lo ! -d 127.0.0.1/32 -m tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -p tcp -o lo -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -p tcp -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -p tcp -o lo ! -d 127.0.0.1/32 -m tcp ! --dport 15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -p tcp -o lo -m owner ! --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -p tcp -m owner --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -p tcp -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -p tcp -j ISTIO_REDIRECT
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A OUTPUT -p tcp -j ISTIO_OUTPUT
"""


def text(capture: Capture, family: Family = Family.V4, saved: str = "") -> str:
    return iptables.replacement(saved, rules(capture, family))


def test_the_rules_are_istios() -> None:
    written = text(Capture(exclude_inbound_ports=(15090, 15021, 15020)))
    assert "".join(f"{line}\n" for line in written.splitlines() if line.startswith("-")) == DEFAULT
    assert written.startswith("*nat\n:ISTIO_INBOUND - [0:0]\n")
    assert written.endswith("COMMIT\n")


def test_ipv6_has_the_same_rules_with_its_own_addresses() -> None:
    four, six = text(Capture()), text(Capture(), Family.V6)
    assert four.replace("127.0.0.6/32", "::6/128").replace("127.0.0.1/32", "::1/128") == six


def test_what_was_there_before_is_replaced_and_what_is_not_ours_stays() -> None:
    saved = (
        "*nat\n:OUTPUT ACCEPT [0:0]\n:ISTIO_OUTPUT - [0:0]\n:ISTIO_REDIRECT - [0:0]\n:KUBE-MARK - [0:0]\n"
        "-A OUTPUT -p tcp -j ISTIO_OUTPUT\n-A OUTPUT -j KUBE-MARK\n-A ISTIO_OUTPUT -j ISTIO_REDIRECT\nCOMMIT\n"
    )
    lines = text(Capture(), saved=saved).splitlines()
    assert lines.count("-D OUTPUT -p tcp -j ISTIO_OUTPUT") == lines.count("-A OUTPUT -p tcp -j ISTIO_OUTPUT") == 1
    assert not [line for line in lines if "KUBE" in line]
    removal = iptables.replacement(saved, ()).splitlines()
    assert removal == [
        "*nat",
        ":ISTIO_REDIRECT - [0:0]",
        ":ISTIO_OUTPUT - [0:0]",
        "-D OUTPUT -p tcp -j ISTIO_OUTPUT",
        "-X ISTIO_REDIRECT",
        "-X ISTIO_OUTPUT",
        "COMMIT",
    ]


def test_nftables_has_a_rule_for_each_of_iptables() -> None:
    capture = Capture.of_texts({"exclude-inbound-ports": "1,2", "exclude-outbound-ranges": "10.0.0.0/8,fd00::/8"})
    script = nftables.replacement({family: rules(capture, family) for family in Family})
    for family, name in ((Family.V4, "ip"), (Family.V6, "ip6")):
        table = re.search(rf"^table {name} dragoman \{{\n(.*?)^\}}", script, re.DOTALL | re.MULTILINE)
        assert table is not None
        assert table[1].count("meta l4proto tcp") == len(rules(capture, family)) + 2
    assert "ip daddr 10.0.0.0/8 return" in script
    assert "ip6 daddr fd00::/8 return" in script


def test_without_rules_the_tables_go() -> None:
    assert nftables.replacement({}).split("\n") == [
        "add table ip dragoman",
        "delete table ip dragoman",
        "add table ip6 dragoman",
        "delete table ip6 dragoman",
        "",
    ]


@pytest.mark.parametrize(
    "texts",
    [
        {"mode": "TPROXY"},
        {"mode": "redirect"},
        {"inbound-port": "65536"},
        {"proxy-uid": "-1"},
        {"include-inbound-ports": "80,*"},
        {"exclude-outbound-ports": "٨٠"},
        {"exclude-outbound-ranges": "*"},
        {"include-outbound-ranges": "10.0.0.0/8 -j ACCEPT"},
        {"exclude-interfaces": 'a";flush ruleset'},
        {"reroute-interfaces": "a\nb"},
    ],
)
def test_nothing_but_what_is_meant_gets_into_a_rule(texts: dict[str, str]) -> None:
    with pytest.raises(CaptureError):
        Capture.of_texts(texts)


def test_nothing_is_not_everything() -> None:
    capture = Capture.of_texts({"include-inbound-ports": "", "include-outbound-ranges": " "})
    written = text(capture)
    assert "-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT" not in written
    assert "-A ISTIO_OUTPUT -p tcp -j ISTIO_REDIRECT" not in written


def test_lists_may_have_blanks_and_repetitions() -> None:
    capture = Capture.of_texts({"exclude-inbound-ports": " 80, 81 ,80,", "exclude-outbound-ranges": "10.1.2.3/8"})
    assert capture.exclude_inbound_ports == (80, 81)
    assert [str(each) for each in capture.exclude_outbound_ranges] == ["10.0.0.0/8"]
