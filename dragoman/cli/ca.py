"""`dragoman ca`: the state of the CA, its trust bundle, and its rotation.

The commands read and write the state itself, which running control planes follow: there is no port that could be asked
to change the CA.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ca import rotation_document
from ca.authority import AuthorityError, pem
from ca.rotation import Phase, Rotation, name_of, signs_under
from ca.store import FileStore, update
from dragoman.cli.ca_state import new_self_signed, state_file
from dragoman.cli.cluster_options import CONTROL_PLANE_NAMESPACE, Context, IstioNamespace, Kubeconfig
from dragoman.cli.output import TableFormat, fail, write, write_table
from dragoman.cli.problems import tell
from dragoman.cli.shared_options import shares
from dragoman.cli.state import default_state_folder, state_dir_option
from dragoman.kube import Cluster, ConnectionConfigError
from dragoman.operator.ca_secret import SecretStore

app = typer.Typer(
    name="ca",
    help="""Show and rotate the certificate authority.

    \b
    Examples:
      dragoman ca status
      dragoman ca rotate --wait
      dragoman ca root > root-cert.pem
    \b
    Exit codes: 0 done, 1 it cannot be done, 2 wrong usage.
    """,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

StateDir = Annotated[
    Path | None,
    state_dir_option("Where the CA is kept outside of a cluster."),
]
Kubernetes = Annotated[
    bool, typer.Option("--kubernetes", help="The CA of a cluster; also said by naming its configuration or context.")
]
Output = Annotated[TableFormat, typer.Option("-o", "--output", help="How to print it.")]

_LOOK_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Kept:
    """Where the CA is kept: in a folder, or in a Secret of a cluster. Each field is an option of the command."""

    state_dir: StateDir = None
    kubernetes: Kubernetes = False
    kubeconfig: Kubeconfig = None
    context: Context = None
    istio_namespace: IstioNamespace = CONTROL_PLANE_NAMESPACE

    def __post_init__(self) -> None:
        """What does not fit together is a usage error."""
        if self.state_dir is not None and self.in_cluster:
            raise typer.BadParameter("--state-dir is for a CA outside of clusters: say either")

    @property
    def in_cluster(self) -> bool:
        named = self.istio_namespace != CONTROL_PLANE_NAMESPACE
        return self.kubernetes or self.kubeconfig is not None or self.context is not None or named

    @asynccontextmanager
    async def store(self) -> AsyncGenerator[FileStore | SecretStore, None]:
        """The state; ends the program with code 1 where there is no cluster."""
        if not self.in_cluster:
            yield FileStore(state_file(self.state_dir or default_state_folder()))
            return
        try:
            cluster = await Cluster.connect(self.kubeconfig, self.context)
        except ConnectionConfigError as error:
            raise fail(f"no cluster: {error}") from None
        async with cluster:
            yield SecretStore(cluster, self.istio_namespace)


_kept: Final = shares(kept=Kept)
"""Gives a command the options of `Kept`, and the keyword argument `kept`."""


@app.command()
@_kept
def status(*, kept: Kept, output: Output = TableFormat.table) -> None:
    """Show what signs, what is trusted, and what a rotation waits for.

    \b
    Examples:
      dragoman ca status
      dragoman ca status --kubernetes -o json
    \b
    Exit codes: 0 done, 1 there is no CA or it cannot be read, 2 wrong usage.
    """
    _print(_read(kept), output)


@app.command()
@_kept
def root(*, kept: Kept) -> None:
    """Print the trust bundle as PEM: every root that peers accept now.

    \b
    Examples:
      dragoman ca root > root-cert.pem
    \b
    Exit codes: 0 done, 1 there is no CA or it cannot be read, 2 wrong usage.
    """
    typer.echo(pem(_read(kept).roots).decode(), nl=False)


@app.command()
@_kept
def rotate(
    *,
    kept: Kept,
    proceed: Annotated[
        bool,
        typer.Option("--proceed", help="Do not wait any longer for what the rotation that is going on waits for."),
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Show the progress, and return when it is done.")] = False,
    output: Output = TableFormat.table,
) -> None:
    """Replace the root of a self-signed CA, without a failed connection.

    The control planes that run do the work: they have every proxy trust the new root, then sign with it and issue every
    certificate anew, and drop the old root when the last certificate under it has expired. With --proceed they end the
    present phase at once: proxies that are not ready then fail until they connect again.

    \b
    Examples:
      dragoman ca rotate --wait
      dragoman ca rotate --proceed
    \b
    Exit codes: 0 done (or begun), 1 it cannot be done, 2 wrong usage.
    """
    now = datetime.now(UTC)

    def change(state: Rotation | None) -> Rotation:
        if state is None:
            raise AuthorityError("there is no CA yet: start `dragoman serve` first")
        if proceed:
            return state.hurry()
        if state.plugged_in:
            raise AuthorityError(
                "this CA was plugged in: replace the files in the folder that --ca-dir names, or the Secret"
            )
        if state.phase is Phase.distributing:
            raise AuthorityError("a rotation is going on: wait for it, or say --proceed")
        return state.begin(new_self_signed(now), now)

    _print(asyncio.run(_rotated(kept, change, wait=wait)), output)


async def _rotated(kept: Kept, change: Callable[[Rotation | None], Rotation], *, wait: bool) -> Rotation:
    async with kept.store() as store:
        try:
            state, _ = await update(store, change)
        except AuthorityError as error:
            raise fail(str(error)) from None
        return await _finished(store) if wait else state


async def _finished(store: FileStore | SecretStore) -> Rotation:
    """Wait for the end of a rotation, and tell of its progress on standard error."""
    told: tuple[str, ...] | None = None
    while True:
        state = await _load(store)
        waits_for = (state.phase, *state.waits_for(datetime.now(UTC)))
        if waits_for != told:
            tell(f"{state.phase}" + "".join(f"\n  waits for {each}" for each in waits_for[1:]))
            told = waits_for
        if state.phase is Phase.steady:
            return state
        await asyncio.sleep(_LOOK_SECONDS)


def _read(kept: Kept) -> Rotation:
    async def read() -> Rotation:
        async with kept.store() as store:
            return await _load(store)

    return asyncio.run(read())


async def _load(store: FileStore | SecretStore) -> Rotation:
    try:
        document, _ = await store.read()
        if document is None:
            where = "--state-dir" if isinstance(store, FileStore) else "namespace"
            raise AuthorityError(f"no CA is kept in {store.place}: start `dragoman serve`, or name its {where}")
        return rotation_document.load(document)
    except AuthorityError as error:
        raise fail(str(error)) from None


def _print(state: Rotation, output: TableFormat) -> None:
    now = datetime.now(UTC)
    document = _document(state, now)
    if output is not TableFormat.table:
        write(document, output)
        return
    rows = [(each["root"], each["role"], each["notAfter"], each.get("trustedUntil", "")) for each in document["roots"]]
    write_table(("root", "role", "not after", "trusted until"), rows)
    tell(f"phase: {state.phase}")
    for each in document["waitsFor"]:
        tell(f"  waits for {each}")


def _document(state: Rotation, now: datetime) -> dict[str, Any]:
    signing = signs_under(state.active)
    following = signs_under(state.next) if state.next is not None else None
    until = {each.root: each.until.isoformat() for each in state.retiring}
    roots = []
    for each in state.roots:
        role = (
            "signs" if each == signing else "next" if each == following else "retiring" if each in until else "trusted"
        )
        entry = {"root": name_of(each), "role": role, "notAfter": each.not_valid_after_utc.isoformat()}
        roots.append(entry | ({"trustedUntil": until[each]} if each in until else {}))
    return {
        "phase": str(state.phase),
        "since": state.since.isoformat(),
        "pluggedIn": state.plugged_in,
        "signingCertificate": {
            "subject": name_of(state.active.certificate),
            "notAfter": state.active.not_after.isoformat(),
        },
        "roots": roots,
        "waitsFor": list(state.waits_for(now)),
        "controlPlanes": [
            {
                "name": name,
                "seen": report.at.isoformat(),
                "trustsAll": report.bundle == state.bundle,
                "waiting": list(report.waiting),
            }
            for name, report in sorted(state.reports.items())
        ],
    }
