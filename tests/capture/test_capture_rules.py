"""The rules of capture as text; that they capture what they should is shown with traffic (e2e/test_capture.py)."""

import re

import pytest

from dragoman.capture import Capture, CaptureError, Family, iptables, nftables, transparent
from dragoman.capture.rules import MANGLE, rules

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

# Istio: the same, TPROXY; what it has in the kernel's own chains stands in ours, what nobody takes is dropped, and
# the proxy has all of a connection from elsewhere, where Istio has `--ctstate RELATED,ESTABLISHED`.
TRANSPARENT = """\
-A ISTIO_DIVERT -p tcp -j MARK --set-mark 1337
-A ISTIO_DIVERT -p tcp -j ACCEPT
-A ISTIO_TPROXY -p tcp ! -d 127.0.0.1/32 -j TPROXY --tproxy-mark 1337/0xffffffff --on-port 15006
-A ISTIO_TPROXY -p tcp ! -d 127.0.0.1/32 -j DROP
-A ISTIO_INBOUND -p tcp -i not-istio-nic -j RETURN
-A ISTIO_INBOUND -p tcp -m mark --mark 1337 -j CONNMARK --save-mark
-A ISTIO_INBOUND -p tcp -m mark --mark 1337 -j RETURN
-A ISTIO_INBOUND -p tcp -i lo -s 127.0.0.6/32 -j RETURN
-A ISTIO_INBOUND -p tcp -i lo -m mark ! --mark 1338 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15020 -j RETURN
-A ISTIO_INBOUND -p tcp -m conntrack --ctdir reply -j ISTIO_DIVERT
-A ISTIO_INBOUND -p tcp -j ISTIO_TPROXY
-A ISTIO_OUTPUT -p tcp -o not-istio-nic -j RETURN
-A ISTIO_OUTPUT -p tcp -o lo -m mark --mark 1337 -j RETURN
-A ISTIO_OUTPUT -p tcp -o lo ! -d 127.0.0.1/32 -m owner --uid-owner 1337 -j MARK --set-mark 1338
-A ISTIO_OUTPUT -p tcp -o lo ! -d 127.0.0.1/32 -m owner --gid-owner 1337 -j MARK --set-mark 1338
-A ISTIO_OUTPUT -p tcp -m connmark --mark 1337 -j CONNMARK --restore-mark
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


def test_transparent_rules_are_istios() -> None:
    capture = Capture("TPROXY", exclude_inbound_ports=(15020,), exclude_interfaces=("not-istio-nic",))
    for family in Family:
        written = iptables.replacement("", transparent.rules(capture, family), MANGLE)
        assert written.startswith("*mangle\n:ISTIO_INBOUND - [0:0]\n")
        rest = "".join(f"{line}\n" for line in written.splitlines() if line.startswith("-"))
        six = TRANSPARENT.replace("127.0.0.6/32", "::6/128").replace("127.0.0.1/32", "::1/128")
        assert rest == (TRANSPARENT if family is Family.V4 else six)
    assert not transparent.rules(Capture(), Family.V4)
    # Outbound is that of REDIRECT, and inbound is not taken twice.
    assert {rule.chain for rule in rules(Capture(), Family.V4)} - {
        rule.chain for rule in rules(capture, Family.V4)
    } == set()
    assert [rule.in_interface for rule in rules(capture, Family.V4) if rule.chain == "ISTIO_INBOUND"] == [
        "not-istio-nic"
    ]


def test_transparent_capture_of_some_ports() -> None:
    capture = Capture("TPROXY", include_inbound_ports=(80, 81), exclude_inbound_ports=(81,))
    lines = iptables.replacement("", transparent.rules(capture, Family.V4), MANGLE).splitlines()
    assert [line for line in lines if "--dport" in line] == [
        "-A ISTIO_INBOUND -p tcp -m tcp --dport 80 -m conntrack --ctdir reply -j ISTIO_DIVERT",
        "-A ISTIO_INBOUND -p tcp -m tcp --dport 80 -j ISTIO_TPROXY",
    ]
    assert "-A ISTIO_INBOUND -p tcp -j ISTIO_TPROXY" not in lines


def test_routing_is_there_once_and_goes_again() -> None:
    default = "0:\tfrom all lookup local\n32766:\tfrom all lookup main\n"
    ours = f"{default}32765:\tfrom all fwmark 0x539 lookup 133 \n"
    (route, rule), (again,) = (tuple(transparent.routing(Family.V6, t, wanted=True)) for t in (default, ours))
    assert " ".join(rule) == "ip -6 rule add fwmark 1337 lookup 133"
    assert " ".join(route) == " ".join(again) == "ip -6 route replace local default dev lo table 133"
    assert not list(transparent.routing(Family.V4, default, wanted=False))
    assert [" ".join(each) for each in transparent.routing(Family.V4, ours, wanted=False)] == [
        "ip -4 rule delete fwmark 1337 lookup 133",
        "ip -4 route flush table 133",
    ]


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
    assert "table ip dragoman-mangle {" not in script
    of_mode = {family: transparent.rules(Capture("TPROXY"), family) for family in Family}
    transparently = nftables.replacement({}, of_mode)
    assert transparently.count("meta l4proto tcp") == sum(map(len, of_mode.values())) + 4
    assert "type route hook output priority mangle" in transparently  # a packet with another mark is routed anew
    assert "ip6 daddr fd00::/8 return" in script


def test_without_rules_the_tables_go() -> None:
    assert nftables.replacement({}).split("\n") == [
        "add table ip dragoman",
        "delete table ip dragoman",
        "add table ip6 dragoman",
        "delete table ip6 dragoman",
        "add table ip dragoman-mangle",
        "delete table ip dragoman-mangle",
        "add table ip6 dragoman-mangle",
        "delete table ip6 dragoman-mangle",
        "",
    ]


@pytest.mark.parametrize(
    "texts",
    [
        {"mode": "NONE"},
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
