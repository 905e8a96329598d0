"""Rules as input of iptables-restore(8), which takes all of a table or nothing."""

from __future__ import annotations

from collections.abc import Iterable

from dragoman.capture.rules import HOOKS, NAT, ConnectionMark, Mark, Match, Not, Rule, Table, Target, ToListener


def replacement(saved: str, rules: Iterable[Rule], table: Table = NAT) -> str:
    """What makes the rules those in force, in place of what an earlier run left; without rules it removes that.

    `saved` is what iptables-save(8) shows; what is not ours stays. For `iptables-restore --noflush`. Empty where there
    is nothing to do.
    """
    lines = _section(saved, table)
    present = {line[1:].split()[0] for line in lines if line.startswith(":")}
    new = list(rules)
    changes = [
        f"-D{line[2:]}"
        for line in lines
        if line.startswith("-A ") and line.split()[1] in HOOKS and _jump(line) in table.chains
    ]
    # Declaring a chain that is there empties it.
    chains = table.chains if new else tuple(chain for chain in table.chains if chain in present)
    declared = [f":{chain} - [0:0]" for chain in chains]
    if new:
        changes += [_line(rule) for rule in new]
        changes += [f"-A {hook} -p tcp -j {chain}" for hook, chain in HOOKS.items()]
    else:
        changes += [f"-X {chain}" for chain in chains]
    return "\n".join((f"*{table.name}", *declared, *changes, "COMMIT", "")) if changes else ""


def _section(saved: str, table: Table) -> list[str]:
    _, found, after = saved.partition(f"*{table.name}\n")
    return after.partition("\nCOMMIT")[0].splitlines() if found else []


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
    for module, option, match in (
        ("tcp", "--dport", rule.port),
        ("owner", "--uid-owner", rule.uid),
        ("owner", "--gid-owner", rule.gid),
        ("mark", "--mark", rule.mark),
        ("connmark", "--mark", rule.connection_mark),
        ("conntrack", "--ctdir", rule.direction),
    ):
        if match is not None:
            words += ["-m", module, *_option(option, match)]
    return " ".join((*words, "-j", *_target(rule.target)))


def _option(name: str, match: Match) -> list[str]:
    if match is None:
        return []
    return ["!", name, match.value] if isinstance(match, Not) else [name, match]


def _target(target: Target) -> tuple[str, ...]:
    match target:
        case int(port):
            return ("REDIRECT", "--to-ports", str(port))
        case Mark(value):
            return ("MARK", "--set-mark", str(value))
        case ToListener(port, mark):
            return ("TPROXY", "--tproxy-mark", f"{mark}/0xffffffff", "--on-port", str(port))
        case ConnectionMark():
            return ("CONNMARK", f"--{target.value}-mark")
    return (target,)
