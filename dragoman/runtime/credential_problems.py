"""What can be wrong with a credential that proxies need, as problems of the objects that name it and that hold it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from crds.codes import problem
from crds.meta import ObjectKey
from crds.problem import Problem
from dragoman.mesh.credentials import CONFIG_MAP_SCHEME, CredentialUse, holders
from translators.credentials import Credential, CredentialError


@dataclass(frozen=True, slots=True)
class CredentialProblem:
    """A problem of `subject`, at which the path of `problem` starts. `uses` are the fields that name the credential."""

    namespace: str
    """Of the proxies that need the credential."""
    name: str
    """As proxies ask for it."""
    subject: ObjectKey
    problem: Problem
    uses: tuple[CredentialUse, ...]
    kept_last_good: bool = False

    @property
    def objects(self) -> tuple[ObjectKey, ...]:
        """The objects to look at, the one at fault first."""
        return tuple(dict.fromkeys((self.subject, *(use.by for use in self.uses))))


def missing(name: tuple[str, str], uses: tuple[CredentialUse, ...]) -> CredentialProblem:
    """No object is there to hold it."""
    wanted = holders(name[1], name[0])
    if not wanted:
        what, remedy = f"{name[1]!r} names no credential", "write the name of a Secret, or configmap://NAMESPACE/NAME"
    else:
        what = f"there is no {' and no '.join(map(str, wanted))}: connections that need it are refused"
        remedy = f"create it in namespace {wanted[-1].namespace}" if wanted[-1].namespace else "create it"
    return CredentialProblem(*name, uses[0].by, problem("DRG0501", uses[0].path, what, remedy), uses)


def forbidden(name: tuple[str, str], uses: tuple[CredentialUse, ...]) -> CredentialProblem:
    """It is of another namespace than the proxies."""
    what = f"proxies of namespace {name[0]} may not read {name[1]!r}: connections that need it are refused"
    remedy = f"put the Secret into namespace {name[0]}; authorities may be shared as {CONFIG_MAP_SCHEME}NAMESPACE/NAME"
    return CredentialProblem(*name, uses[0].by, problem("DRG0504", uses[0].path, what, remedy), uses)


def unreadable(name: tuple[str, str], uses: tuple[CredentialUse, ...], accounts: tuple[str, ...]) -> CredentialProblem:
    """The service accounts of some proxies may not list the Secrets of their namespace."""
    who = f"service account{'s' if len(accounts) > 1 else ''} {', '.join(accounts)}"
    what = f"{who} may not list the Secrets of namespace {name[0]}: connections that need {name[1]!r} are refused"
    remedy = "bind a Role that may get, list and watch secrets there"
    return CredentialProblem(*name, uses[0].by, problem("DRG0504", uses[0].path, what, remedy), uses)


def broken(
    name: tuple[str, str], uses: tuple[CredentialUse, ...], error: CredentialError, *, kept: bool
) -> CredentialProblem:
    """An object is there, and Envoy could not use what it holds."""
    consequence = "" if kept else ": connections that need it are refused"
    found = problem("DRG0502", _path(error.held_by, error.data), error.message + consequence, error.remedy)
    return CredentialProblem(*name, error.held_by, found, uses, kept_last_good=kept)


def imperfect(
    name: tuple[str, str], uses: tuple[CredentialUse, ...], found: Credential, now: datetime, *, kept: bool = False
) -> CredentialProblem | None:
    """It can be used, and those at the other end will not all be content with it."""
    revocation = found.revocation
    if not found.valid_at(now):
        data, remedy = found.data, "issue it anew"
        what = f"the certificate was valid until {found.not_after:%Y-%m-%dT%H:%M:%SZ}"
        if now < found.not_before:
            what = f"the certificate is not valid before {found.not_before:%Y-%m-%dT%H:%M:%SZ}"
    elif revocation is not None and revocation.next_update < now:
        data, remedy = revocation.data, "have the authority issue it anew"
        what = f"the revocation list should have been replaced by {revocation.next_update:%Y-%m-%dT%H:%M:%SZ}"
        what += ": proxies refuse every certificate of its authority"
    elif revocation is not None and revocation.missing:
        data, remedy = revocation.data, "add a list, be it an empty one, for each authority"
        what = f"there is no revocation list of {', '.join(revocation.missing)}: proxies refuse its certificates"
    else:
        return None
    return CredentialProblem(
        *name, found.held_by, problem("DRG0503", _path(found.held_by, data), what, remedy), uses, kept
    )


def _path(holder: ObjectKey, data: str) -> str:
    if holder.kind == "ClusterTrustBundle":
        return "spec.trustBundle"
    return f"data[{data}]" if data else "data"
