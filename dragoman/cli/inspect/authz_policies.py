"""The authorization policies in a proxy's configuration, by the names that its RBAC filters have for their rules.

What decides is what the proxy has, not what was written: so this also shows it of Envoy's own dump.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from dragoman.cli.inspect.config_tables import Content

COLUMNS: Final = ("action", "authorizationpolicy", "rules")

NOTHING: Final = "(matches nothing)"
"""Stands for policies none of whose rules can match: an ALLOW of that kind lets nothing through."""

_RULE: Final = re.compile(
    r"(?:istio-ext-authz-(?P<provider>.*)-)?ns\[(?P<namespace>[^\]]*)\]-policy\[(?P<name>[^\]]*)\]-rule\[\d+\]"
)
"""Names of rules (Istio: pilot/pkg/security/authz/builder)."""

_ORDER: Final = ("CUSTOM", "AUDIT", "DENY", "ALLOW")
_ACTIONS: Final = {"ALLOW": "ALLOW", "DENY": "DENY", "LOG": "AUDIT"}


class Policy(NamedTuple):
    """A policy and how many of its rules the proxy has; `namespace` and `name` are "" for `NOTHING`."""

    action: str
    namespace: str
    name: str
    dry_run: bool
    rules: int

    def row(self) -> tuple[str, str, str]:
        """A line of the table, as istioctl's `authz check` prints it."""
        name = f"{self.name}.{self.namespace}" if self.name else NOTHING
        return self.action, name + (" (dry run)" if self.dry_run else ""), str(self.rules)

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "action": self.action,
            "namespace": self.namespace,
            "name": self.name,
            "dryRun": self.dry_run,
            "rules": self.rules,
        }


def policies(listeners: Iterable[Content]) -> list[Policy]:
    """The policies of all listeners, in the order in which they decide, each once."""
    told = [each for listener in listeners for filter_ in _rbac_filters(listener) for each in _told(filter_)]
    found: dict[tuple[str, str, str, bool], set[str]] = {}
    for action, names, dry_run in told:
        for name in names:
            key, rule = _key(action, name, dry_run)
            found.setdefault(key, set()).add(rule)
    # On ports that pass connections on, rules about requests have no part: such a filter alone means nothing.
    enforced = {action for action, _, dry_run in told if not dry_run}
    if "ALLOW" in enforced and not any(action == "ALLOW" and not dry_run for action, _, _, dry_run in found):
        found["ALLOW", "", "", False] = set()
    listed = (Policy(*key, len(rules)) for key, rules in found.items())
    return sorted(listed, key=lambda each: (_ORDER.index(each.action), each.dry_run, each.namespace, each.name))


def _key(action: str, name: str, dry_run: bool) -> tuple[tuple[str, str, str, bool], str]:
    parts = _RULE.match(name)
    if parts is None:
        return (action, "", name, dry_run), name
    custom = parts["provider"] is not None
    return ("CUSTOM" if custom else action, parts["namespace"], parts["name"], dry_run and not custom), parts[0]


def _rbac_filters(value: Any) -> Iterator[Content]:
    """The RBAC filters anywhere in a listener: of connections, and of requests within connection managers."""
    if isinstance(value, Mapping):
        if str(value.get("@type", "")).endswith(".rbac.v3.RBAC"):
            yield value
            return
        for each in value.values():
            yield from _rbac_filters(each)
    elif isinstance(value, list):
        for each in value:
            yield from _rbac_filters(each)


def _told(filter_: Content) -> Iterator[tuple[str, list[str], bool]]:
    """Action, names of rules, and whether they only note what they would have decided."""
    for field, dry_run in (("rules", False), ("shadowRules", True)):
        if field in filter_:
            rules = filter_[field]
            yield _ACTIONS[rules.get("action", "ALLOW")], list(rules.get("policies", ())), dry_run
