"""Rules as a script of nft(8), which takes all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from dragoman.capture.rules import (
    HOOKS,
    MANGLE,
    NAT,
    ConnectionMark,
    Family,
    Mark,
    Match,
    Not,
    Rule,
    Table,
    Target,
    ToListener,
)

NAMES: Final = {NAT: "dragoman", MANGLE: "dragoman-mangle"}
_FAMILIES: Final = {Family.V4: "ip", Family.V6: "ip6"}
# A packet with another mark is to be routed anew, for which there is a type of its own.
_TYPES: Final = {
    (NAT, "PREROUTING"): "nat hook prerouting priority dstnat",
    (NAT, "OUTPUT"): "nat hook output priority -100",
    (MANGLE, "PREROUTING"): "filter hook prerouting priority mangle",
    (MANGLE, "OUTPUT"): "route hook output priority mangle",
}

Rules = Mapping[Family, Iterable[Rule]]


def replacement(rules: Rules, mangle: Rules | None = None) -> str:
    """What makes the rules those in force, in place of what an earlier run left; without rules it removes that.

    Tables of our own for each family: nothing else is touched.
    """
    return "".join(
        _table(table, family, list(of_table.get(family, ())))
        for table, of_table in ((NAT, rules), (MANGLE, mangle or {}))
        for family in Family
    )


def _table(table: Table, family: Family, rules: list[Rule]) -> str:
    name = f"{_FAMILIES[family]} {NAMES[table]}"
    # Only a table that is there can be deleted, and adding one that is there changes nothing.
    lines = [f"add table {name}", f"delete table {name}"]
    if rules:
        lines.append(f"table {name} {{")
        for chain in table.chains:
            lines += [f"  chain {chain} {{", *(f"    {_line(r, family)}" for r in rules if r.chain == chain), "  }"]
        for hook, chain in HOOKS.items():
            lines += [
                f"  chain {hook} {{",
                f"    type {_TYPES[table, hook]}; policy accept;",
                f"    meta l4proto tcp jump {chain}",
                "  }",
            ]
        lines.append("}")
    return "\n".join(lines) + "\n"


def _line(rule: Rule, family: Family) -> str:
    protocol = _FAMILIES[family]
    matches = (
        ("iifname", rule.in_interface, True),
        ("oifname", rule.out_interface, True),
        (f"{protocol} saddr", rule.source, False),
        (f"{protocol} daddr", rule.destination, False),
        ("tcp dport", rule.port, False),
        ("meta skuid", rule.uid, False),
        ("meta skgid", rule.gid, False),
        ("meta mark", rule.mark, False),
        ("ct mark", rule.connection_mark, False),
        ("ct direction", rule.direction, False),
    )
    words = [_match(key, match, quoted=quoted) for key, match, quoted in matches if match is not None]
    return " ".join(("meta l4proto tcp", *words, _action(rule.target)))


def _match(key: str, match: Match, *, quoted: bool) -> str:
    value = match.value if isinstance(match, Not) else str(match)
    written = f'"{value}"' if quoted else value
    return f"{key} != {written}" if isinstance(match, Not) else f"{key} {written}"


def _action(target: Target) -> str:
    match target:
        case int(port):
            return f"redirect to :{port}"
        case Mark(value):
            return f"meta mark set {value}"
        case ToListener(port, mark):
            return f"tproxy to :{port} meta mark set {mark} accept"
        case ConnectionMark.SAVE:
            return "ct mark set meta mark"
        case ConnectionMark.RESTORE:
            return "meta mark set ct mark"
    return target.lower() if target in ("RETURN", "ACCEPT", "DROP") else f"jump {target}"
