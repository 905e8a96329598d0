"""Rules as input of iptables-restore(8), which takes all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dragoman.capture.rules import CHAINS, HOOKS, Match, Not, Rule

TABLE: Final = "nat"


def replacement(saved: str, rules: Iterable[Rule]) -> str:
    """What makes the rules those in force, in place of what an earlier run left; without rules it removes that.

    `saved` is what iptables-save(8) shows of the table `nat`; what is not ours stays. For `iptables-restore --noflush`.
    """
    lines = saved.splitlines()
    present = {line[1:].split()[0] for line in lines if line.startswith(":")}
    new = list(rules)
    changes = [
        f"-D{line[2:]}"
        for line in lines
        if line.startswith("-A ") and line.split()[1] in HOOKS and _jump(line) in CHAINS
    ]
    # Declaring a chain that is there empties it.
    chains = CHAINS if new else tuple(chain for chain in CHAINS if chain in present)
    declared = [f":{chain} - [0:0]" for chain in chains]
    if new:
        changes += [_line(rule) for rule in new]
        changes += [f"-A {hook} -p tcp -j {chain}" for hook, chain in HOOKS.items()]
    else:
        changes += [f"-X {chain}" for chain in chains]
    return "\n".join((f"*{TABLE}", *declared, *changes, "COMMIT", ""))


def _jump(line: str) -> str:
    words = line.split()
    return words[words.index("-j") + 1] if "-j" in words[:-1] else ""


def _line(rule: Rule) -> str:
    words = ["-A", rule.chain, "-p", "tcp"]
    for option, match in (
        ("-i", rule.in_interface),
        ("-o", rule.out_interface),
        ("-s", rule.source),
        ("-d", rule.destination),
    ):
        words += _option(option, match)
    if rule.port is not None:
        words += ["-m", "tcp", *_option("--dport", rule.port)]
    for option, match in (("--uid-owner", rule.uid), ("--gid-owner", rule.gid)):
        if match is not None:
            words += ["-m", "owner", *_option(option, match)]
    words += ["-j", "REDIRECT", "--to-ports", str(rule.target)] if isinstance(rule.target, int) else ["-j", rule.target]
    return " ".join(words)


def _option(name: str, match: Match) -> list[str]:
    if match is None:
        return []
    return ["!", name, match.value] if isinstance(match, Not) else [name, match]
