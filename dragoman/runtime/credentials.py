"""Secrets that gateways end TLS with, or clients show and verify by, on their way to the proxies that may have them.

A proxy gets what an object names for it, of the namespace of its verified identity and if that may read it, and nothing
else (Istio: pilot/pkg/xds/sds.go). Contents never enter the engine: only their names do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple

import structlog

from crds.meta import ObjectKey
from dragoman.codec import SECRET, Encoded
from dragoman.engine import Mount, Transaction, last_good
from dragoman.mesh.credential_uses import CredentialsView, credentials_of
from dragoman.mesh.credentials import PUBLIC_SCHEMES, CredentialUse, holders, may_read
from dragoman.runtime.credential_problems import (
    CredentialProblem,
    broken,
    forbidden,
    imperfect,
    missing,
    unreadable,
)
from dragoman.runtime.secret_rights import Account, EverySecret, SecretRights
from translators.credentials import Credential, CredentialError, credential
from xds import View

log = structlog.get_logger(__name__)

Name = tuple[str, str]
"""Namespace of the proxies, and SDS name."""

_PART = 20
"""Credentials that are looked at between two turns of the streams: about two milliseconds."""


class Served(NamedTuple):
    """A credential that proxies of a namespace get, and the fields that name it."""

    namespace: str
    name: str
    credential: Credential
    uses: tuple[CredentialUse, ...]


class _Held:
    """The credentials of one view. `holders` is how many sessions have it."""

    __slots__ = ("holders", "mount", "names_of", "uses", "view")

    def __init__(self, key: CredentialsView, mount: Mount) -> None:
        self.mount = mount
        self.view = View(f"credentials {key.namespace}", secret=True)
        self.uses: dict[str, tuple[CredentialUse, ...]] = {}
        self.names_of: defaultdict[ObjectKey, list[str]] = defaultdict(list)
        """The credentials that an object holds, or would hold if it were there."""
        self.holders = 0


class Credentials:
    """The credentials in use. `objects` are all objects in force, Secrets among them; `on_problem` is told of what is
    wrong with one, once."""

    def __init__(
        self,
        objects: Mapping[ObjectKey, Any],
        on_problem: Callable[[CredentialProblem], None] = lambda problem: None,
        rights: SecretRights = EverySecret(),  # noqa: B008 - has no state
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._objects = objects
        self._on_problem = on_problem
        self._rights = rights
        self._clock = clock
        self._looked_at = clock()
        self._held: dict[CredentialsView, _Held] = {}
        self._good: dict[Name, Credential] = {}
        """What is served, by all views of a namespace."""
        self._problems: dict[Name, CredentialProblem] = {}

    @property
    def problems(self) -> tuple[CredentialProblem, ...]:
        """What is wrong now, by namespace and name."""
        return tuple(self._problems[name] for name in sorted(self._problems))

    def served(self) -> Iterator[Served]:
        """What proxies get, by namespace and name."""
        for name, found in sorted(self._good.items(), key=lambda item: item[0]):
            yield Served(*name, found, self._uses(name))

    def unasked(self, key: CredentialsView) -> Account | None:
        """Whose rights are to be asked about before a view is acquired: a proxy must not be told that nothing is there
        while nobody knows."""
        account = _account(key)
        return None if self._rights.asked(account) else account

    def acquire(self, key: CredentialsView, tx: Transaction) -> View:
        """The credentials of a view for one more holder; filled when the transaction publishes."""
        held = self._held.get(key)
        if held is None:
            held = self._held[key] = _Held(key, tx.mount(credentials_of.call(key)))
        held.holders += 1
        return held.view

    def release(self, key: CredentialsView) -> None:
        held = self._held[key]
        held.holders -= 1
        if not held.holders:
            held.mount.close()
            del self._held[key]
            # What is said of credentials that others need, too, may have been about what named them for this one.
            known = self._good.keys() | self._problems.keys()
            touched = {name for name in known if name[0] == key.namespace and name[1] in held.uses}
            for _ in self._judge({name for name in touched if name in self._problems or not self._uses(name)}):
                pass

    def delivered(self, key: CredentialsView) -> tuple[str, ...]:
        """The names of the credentials that a proxy has."""
        return tuple(
            name
            for name in sorted(self._held[key].uses)
            if (key.namespace, name) in self._good and self._has_right(key, name)
        )

    def lacking(self, key: CredentialsView) -> dict[str, str]:
        """What proxies with this view do without, and why."""
        found = {}
        for name in sorted(self._held[key].uses):
            problem = self._problems.get((key.namespace, name))
            if problem is not None and (key.namespace, name) not in self._good:
                found[name] = str(problem.problem)
            elif not self._has_right(key, name):
                found[name] = (
                    f"service account {key.service_account} may not list the Secrets of namespace {key.namespace}"
                )
        return found

    def made_from(self, view: View, name: str) -> tuple[ObjectKey, ...]:
        """The object that a credential of a view was made from, then those that name it; none if the view is none of
        these."""
        for key, held in self._held.items():
            if held.view is view:
                found = (each for each in holders(name, key.namespace) if each in self._objects)
                return tuple(dict.fromkeys((*islice(found, 1), *(use.by for use in held.uses.get(name, ())))))
        return ()

    def publish(self, changed: tuple[Mount, ...], keys: frozenset[ObjectKey]) -> Iterator[None]:
        """Take over changed names and changed objects; yields now and then, and must be exhausted before the next
        transaction runs."""
        touched: set[Name] = set()
        for key, held in self._held.items():
            if held.mount in changed:
                before, held.uses = held.uses, _by_name(held.mount, held.uses)
                names = before.keys() | held.uses.keys()
                touched |= {(key.namespace, name) for name in names if before.get(name) != held.uses.get(name)}
                held.names_of.clear()
                for name in held.uses:
                    for each in holders(name, key.namespace):
                        held.names_of[each].append(name)
            touched |= {(key.namespace, name) for each in keys for name in held.names_of.get(each, ())}
        yield from self._judge(touched)

    def accounts(self) -> frozenset[Account]:
        """Those whose rights matter: of proxies that need what is not for everybody."""
        return frozenset(
            _account(key)
            for key, held in self._held.items()
            if not all(name.startswith(PUBLIC_SCHEMES) for name in held.uses)
        )

    def follow_rights(self, accounts: frozenset[Account]) -> Iterator[None]:
        """Take over what accounts may read now; to be exhausted as `publish`."""
        concerned = {key for key in self._held if _account(key) in accounts}
        yield from self._judge({(key.namespace, name) for key in concerned for name in self._held[key].uses})

    def follow_time(self) -> Iterator[None]:
        """Judge anew what time has made valid, or taken its validity from; to be exhausted as `publish`."""
        now = self._clock()
        due = {name for name, found in self._good.items() if found.changes_between(self._looked_at, now)}
        self._looked_at = now
        yield from self._judge(due)

    def _judge(self, touched: set[Name]) -> Iterator[None]:
        """Look at credentials again, and hand out what came of it."""
        listed = iter(sorted(touched))
        while part := tuple(islice(listed, _PART)):
            for name in part:
                self._note(name, self._take(name, self._uses(name)))
            for key, held in self._held.items():
                held.view.apply(
                    {
                        (SECRET, name): self._given(key, held, name)
                        for namespace, name in part
                        if namespace == key.namespace
                    }
                )
            yield

    def _given(self, key: CredentialsView, held: _Held, name: str) -> Encoded | None:
        """What proxies with a view get of a credential.

        Told that a secret does not exist, Envoy opens the listener and resets the connections that need it, so that
        only the servers of this certificate wait (Envoy: NotReadySslSocket).
        """
        good = self._good.get((key.namespace, name))
        admitted = any(may_read(use, key.namespace) for use in held.uses.get(name, ()))
        return good.secret if good is not None and admitted and self._has_right(key, name) else None

    def _has_right(self, key: CredentialsView, name: str) -> bool:
        """Whether proxies with a view could read themselves what they get."""
        return name.startswith(PUBLIC_SCHEMES) or self._rights.may_read(_account(key))

    def _take(self, name: Name, uses: tuple[CredentialUse, ...]) -> CredentialProblem | None:
        """Serve what an object holds for a name, and say what is wrong with it. What is broken displaces nothing good,
        nor does a certificate that is over one that is not; an object that is removed takes its credential along."""
        namespace, sds_name = name
        admitted = tuple(use for use in uses if may_read(use, namespace))
        good = self._good.pop(name, None)
        if not uses:
            return None
        if not admitted:
            return forbidden(name, uses)
        try:
            found = credential(sds_name, namespace, self._objects.get)
        except CredentialError as error:
            if good is not None:
                self._good[name] = good
            return broken(name, uses, error, kept=good is not None)
        if found is None:
            return missing(name, admitted)
        now = self._clock()
        if good is not None and good.valid_at(now) and not found.valid_at(now) and found.revocation is None:
            self._good[name] = good
            return imperfect(name, uses, found, now, kept=True)
        self._good[name] = found
        kept_out = {
            key.service_account
            for key, held in self._held.items()
            if key.namespace == namespace and sds_name in held.uses and not self._has_right(key, sds_name)
        }
        return unreadable(name, admitted, tuple(sorted(kept_out))) if kept_out else imperfect(name, uses, found, now)

    def _note(self, name: Name, problem: CredentialProblem | None) -> None:
        before = self._problems.pop(name, None)
        if problem is not None:
            self._problems[name] = problem
            if problem != before:
                self._on_problem(problem)
        elif before is not None and name in self._good:
            log.info("credential usable", namespace=name[0], credential=name[1])

    def _uses(self, name: Name) -> tuple[CredentialUse, ...]:
        """The fields that name a credential for proxies of a namespace."""
        namespace, sds_name = name
        found = {
            use for key, held in self._held.items() if key.namespace == namespace for use in held.uses.get(sds_name, ())
        }
        return tuple(sorted(found))


def _account(key: CredentialsView) -> Account:
    """Of the proxies with a view."""
    return key.namespace, key.service_account


def _by_name(mount: Mount, before: dict[str, tuple[CredentialUse, ...]]) -> dict[str, tuple[CredentialUse, ...]]:
    """Who names which credential now; while that cannot be computed, none is new and none goes."""
    for value in mount.leaves().values():
        found = last_good(value)
        if isinstance(found, tuple):
            by_name: defaultdict[str, list[CredentialUse]] = defaultdict(list)
            for use in found:
                by_name[use.name].append(use)
            return {name: tuple(uses) for name, uses in by_name.items()}
    return before
