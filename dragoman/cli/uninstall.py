"""`dragoman uninstall`: the control plane and gateways out of a cluster."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from dragoman.cli.cluster_options import CONTROL_PLANE_NAMESPACE, Context, IstioNamespace, Kubeconfig
from dragoman.cli.durations import duration
from dragoman.cli.output import fail
from dragoman.cli.problems import tell
from dragoman.installation.inventory import Inventory, all_stored
from dragoman.installation.removal import uninstall as remove
from dragoman.kube import ApiError, Cluster, ConnectionConfigError


def uninstall(
    revision: Annotated[
        str | None, typer.Option("-r", "--revision", metavar="NAME", help="The revision to take away.")
    ] = None,
    purge: Annotated[bool, typer.Option("--purge", help="Take away every revision, of every namespace.")] = False,
    istio_namespace: IstioNamespace = CONTROL_PLANE_NAMESPACE,
    yes: Annotated[bool, typer.Option("-y", "--yes", "--skip-confirmation", help="Do not ask.")] = False,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="DURATION", help="How long to wait for pods to end.")
    ] = "2m",
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Take a revision away, the only one if none is named; with the last one everything but the CRDs.

    What goes is what `dragoman install` applied, and what the control plane made since: with the last revision also its
    CA's key, so that sidecars that still run get no more certificates. CRDs and the objects of their kinds stay.

    \b
    Examples:
      dragoman uninstall
      dragoman uninstall --revision canary -y
      dragoman uninstall --purge
    \b
    Exit codes: 0 gone, 1 nothing installed, refused or failed, 2 wrong usage.
    """
    if purge and revision is not None:
        raise typer.BadParameter("say either --revision or --purge")
    limit = duration(timeout).total_seconds()
    try:
        asyncio.run(_uninstall(kubeconfig, context, None if purge else istio_namespace, revision, yes, limit))
    except (ApiError, ConnectionConfigError) as error:
        raise fail(str(error)) from None


async def _uninstall(
    kubeconfig: Path | None, context: str | None, namespace: str | None, revision: str | None, yes: bool, limit: float
) -> None:
    async with await Cluster.connect(kubeconfig, context) as cluster:
        everything = await all_stored(cluster)
        gone = _chosen(everything, namespace, revision)
        staying = [each for each in everything if each not in gone]
        for each in gone:
            tell(f"revision {each.revision} in {each.namespace} of {cluster.server}: {len(each.objects)} objects")
        if not staying:
            tell("it is the last one: the CA's key goes with it, and sidecars get no more certificates")
        if not yes and not typer.confirm("Take it away?", err=True):
            raise fail("nothing was taken away")
        await remove(cluster, gone, staying, tell, wait_seconds=limit)
        tell("gone; CustomResourceDefinitions and the objects of their kinds stay")


def _chosen(everything: list[Inventory], namespace: str | None, revision: str | None) -> list[Inventory]:
    there = [each for each in everything if namespace in (None, each.namespace)]
    if not there:
        where = f" in {namespace}" if namespace else ""
        raise fail(f"nothing{where} was installed by `dragoman install` (for a Helm release: helm uninstall)")
    if revision is not None:
        chosen = [each for each in there if each.revision == revision]
        if not chosen:
            known = ", ".join(sorted(each.revision for each in there))
            raise fail(f"no revision {revision} in {namespace}: there is {known}")
        return chosen
    if namespace is not None and len(there) > 1:
        known = ", ".join(sorted(each.revision for each in there))
        raise fail(f"there are several revisions, {known}: say --revision NAME, or --purge for all", 2)
    return there
