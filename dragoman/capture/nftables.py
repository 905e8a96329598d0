"""Rules as a script of nft(8), which takes all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from dragoman.capture.rules import CHAINS, HOOKS, Family, Match, Not, Rule

TABLE: Final = "dragoman"
_FAMILIES: Final = {Family.V4: "ip", Family.V6: "ip6"}
_PRIORITIES: Final = {"PREROUTING": "dstnat", "OUTPUT": "-100"}


def replacement(rules: Mapping[Family, Iterable[Rule]]) -> str:
    """What makes the rules those in force, in place of what an earlier run left; without rules it removes that.

    A table of our own for each family: nothing else is touched.
    """
    return "".join(_table(family, list(rules.get(family, ()))) for family in Family)


def _table(family: Family, rules: list[Rule]) -> str:
    name = f"{_FAMILIES[family]} {TABLE}"
    # Only a table that is there can be deleted, and adding one that is there changes nothing.
    lines = [f"add table {name}", f"delete table {name}"]
    if rules:
        lines.append(f"table {name} {{")
        for chain in CHAINS:
            lines += [f"  chain {chain} {{", *(f"    {_line(r, family)}" for r in rules if r.chain == chain), "  }"]
        for hook, chain in HOOKS.items():
            lines += [
                f"  chain {hook} {{",
                f"    type nat hook {hook.lower()} priority {_PRIORITIES[hook]}; policy accept;",
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
    )
    words = [_match(key, match, quoted=quoted) for key, match, quoted in matches if match is not None]
    return " ".join(("meta l4proto tcp", *words, _action(rule.target)))


def _match(key: str, match: Match, *, quoted: bool) -> str:
    value = match.value if isinstance(match, Not) else str(match)
    written = f'"{value}"' if quoted else value
    return f"{key} != {written}" if isinstance(match, Not) else f"{key} {written}"


def _action(target: str | int) -> str:
    if isinstance(target, int):
        return f"redirect to :{target}"
    return "return" if target == "RETURN" else f"jump {target}"
