"""What there is to say on an object, as conditions (Kubernetes API conventions, "typical status properties"). Pure.

`Accepted` and `Programmed` are always there; `Conflicted` and `PartiallySupported` only where they hold, `ResolvedRefs`
only where it does not. Each says of which generation of the object it speaks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from crds.meta import ObjectKey
from crds.problem import Problem, Severity
from dragoman.mesh.conflicts import Conflict
from dragoman.runtime.credential_problems import CredentialProblem
from dragoman.runtime.programmed import NAMED, Programmed, Rejection

ACCEPTED: Final = "Accepted"
PROGRAMMED: Final = "Programmed"
RESOLVED_REFS: Final = "ResolvedRefs"
CONFLICTED: Final = "Conflicted"
PARTIALLY_SUPPORTED: Final = "PartiallySupported"

_NO_EFFECT: Final = "DRG02"
"""How codes begin of what Dragoman does not do (`crds.codes`)."""

_LONGEST: Final = 1024
"""Characters of a message: more is for `dragoman validate`."""

_REASONS: Final = {
    "DRG0501": "CredentialNotFound",
    "DRG0502": "InvalidCredential",
    "DRG0503": "DoubtfulCredential",
    "DRG0504": "CredentialNotPermitted",
    "DRG0413": "AuthorizerNotFound",
    "DRG0414": "SeveralAuthorizers",
}

_DRAIN: Final = "connections opened before follow within the drain time"


@dataclass(frozen=True, slots=True)
class Condition:
    """One question and its answer: `status` is "True", "False" or "Unknown"."""

    type: str
    status: str
    reason: str
    message: str
    observed_generation: int

    @property
    def holds(self) -> bool:
        return self.status == "True"


@dataclass(frozen=True, slots=True)
class Facts:
    """All that conditions follow from."""

    generation: int
    """Of the newest version; 0 where objects have none (files)."""
    in_force: int | None
    """The generation in force: an older one where the newest is broken, None where none ever was good."""
    problems: tuple[Problem, ...] = ()
    """Of the newest version."""
    conflicts: tuple[Conflict, ...] = ()
    credentials: tuple[CredentialProblem, ...] = ()
    """What is wrong with credentials that it names and connected proxies need."""
    authorizer: Problem | None = None
    """That the external authorizer that it names cannot be asked."""
    programmed: Programmed = field(default_factory=Programmed)
    behind: tuple[str, ...] = ()
    """Replicas that have not taken this generation in."""


def conditions(facts: Facts) -> tuple[Condition, ...]:
    """The conditions of an object, in the order in which its author asks."""
    found = [_accepted(facts), _programmed(facts)]
    in_force = facts.in_force or 0
    unresolved = [(each.problem, _told(each.problem, about=each.subject)) for each in facts.credentials]
    if facts.authorizer is not None:
        unresolved.append((facts.authorizer, _told(facts.authorizer)))
    if unresolved:
        reason = _REASONS.get(unresolved[0][0].code, "InvalidCredential")
        said = (words for _, words in unresolved)
        found.append(Condition(RESOLVED_REFS, "False", reason, _listed(said), in_force))
    if facts.in_force is not None and facts.conflicts:
        said = (f"{conflict.what}: {conflict.winner} is older and wins" for conflict in facts.conflicts)
        found.append(Condition(CONFLICTED, "True", "OlderWins", _listed(said), in_force))
    without_effect = [problem for problem in facts.problems if problem.code.startswith(_NO_EFFECT)]
    if without_effect:
        said = (f"{problem.path}: {problem.message}" for problem in without_effect)
        found.append(Condition(PARTIALLY_SUPPORTED, "True", "NoEffectYet", _listed(said), facts.generation))
    return tuple(found)


def pooled(parts: Iterable[Programmed]) -> Programmed:
    """What several replicas, each with proxies of its own, say together."""
    proxies = accepted = 0
    waiting: list[str] = []
    rejections: dict[Rejection, None] = {}
    failures: set[str] = set()
    translating = False
    for part in parts:
        translating |= part.translating
        proxies += part.proxies
        accepted += part.accepted
        waiting += part.waiting
        rejections |= dict.fromkeys(part.rejections)
        failures.update(part.failures)
    return Programmed(
        proxies, accepted, tuple(sorted(waiting)[:NAMED]), tuple(rejections), tuple(sorted(failures)), translating
    )


def _accepted(facts: Facts) -> Condition:
    errors = [problem for problem in facts.problems if problem.severity is Severity.ERROR]
    if errors:
        message = _listed(map(_told, errors))
        if facts.in_force is not None:
            good = f" (generation {facts.in_force})" if facts.in_force else ""
            message = _cut(f"{message}; the last good version{good} stays in force")
        return Condition(ACCEPTED, "False", "Invalid", message, facts.generation)
    if facts.in_force != facts.generation:
        return Condition(ACCEPTED, "Unknown", "Pending", "it has yet to be taken in", facts.generation)
    return Condition(ACCEPTED, "True", "Accepted", "it is in force", facts.generation)


def _programmed(facts: Facts) -> Condition:
    def condition(status: str, reason: str, message: str) -> Condition:
        return Condition(PROGRAMMED, status, reason, _cut(message), facts.in_force or 0)

    if facts.in_force is None:
        return Condition(PROGRAMMED, "False", "NotAccepted", "no version of it is in force", facts.generation)
    found = facts.programmed
    counts = f"{found.accepted}/{found.proxies} proxies have accepted it"
    if found.failures:
        return condition("False", "Failed", f"it cannot be translated: {'; '.join(found.failures)}")
    at_fault = [rejection for rejection in found.rejections if rejection.at_fault]
    if at_fault:
        return condition("False", "Rejected", f"{_listed(map(_words, at_fault))}; {counts}")
    if found.rejections:
        return condition("False", "HeldBack", f"{_listed(map(_words, found.rejections))}; {counts}")
    if facts.behind:
        return condition("False", "Pending", f"{counts}; yet to take it in: replica {_names(facts.behind)}")
    if found.translating:
        return condition("False", "Pending", "it is being translated")
    if not found.complete:
        return condition("False", "Pending", f"{counts}; waiting for {_names(found.waiting)}")
    if not found.proxies:
        return condition("True", "NotUsed", "no connected proxy uses it")
    return condition("True", "Programmed", f"{counts}; {_DRAIN}")


def _told(problem: Problem, about: ObjectKey | None = None) -> str:
    place = " ".join(str(part) for part in (about, problem.path) if part)
    where = f"{place}: " if place else ""
    return f"{problem.code} {where}{problem.message}" + (f" ({problem.remedy})" if problem.remedy else "")


def _words(rejection: Rejection) -> str:
    who = f" by {_names(rejection.proxies)}" if rejection.proxies else ""
    whose = "rejected" if rejection.at_fault else "held back for the sake of another object, rejected"
    return f"{rejection.type} {rejection.name!r} {whose}{who}: {' '.join(rejection.message.split())}"


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _listed(said: Iterable[str]) -> str:
    """As many as there is room for; the last says how many are left out."""
    listed = list(said)
    shown: list[str] = []
    for index, text in enumerate(listed):
        if shown and len("; ".join((*shown, text))) > _LONGEST // 2:
            shown.append(f"and {len(listed) - index} more")
            break
        shown.append(_cut(text, _LONGEST // 2))
    return "; ".join(shown)


def _cut(text: str, longest: int = _LONGEST) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
