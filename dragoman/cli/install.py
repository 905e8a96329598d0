"""`dragoman install`: the control plane and gateways into a cluster."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from dragoman.charts import ChartError, ValuesError
from dragoman.cli.cluster_options import CONTROL_PLANE_NAMESPACE, Context, IstioNamespace, Kubeconfig
from dragoman.cli.durations import duration
from dragoman.cli.install_values import Revision, SetStrings, SetValues, ValuesFiles, values_of
from dragoman.cli.output import fail
from dragoman.cli.problems import tell
from dragoman.installation.bundle import Bundle, bundle
from dragoman.installation.findings import Level
from dragoman.installation.installer import Installer, InstallError
from dragoman.installation.precheck import precheck
from dragoman.installation.written import written
from dragoman.kube import ApiError, Cluster, ConnectionConfigError


def install(
    values_files: ValuesFiles = None,
    set_values: SetValues = None,
    set_strings: SetStrings = None,
    revision: Revision = None,
    istio_namespace: IstioNamespace = CONTROL_PLANE_NAMESPACE,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print every manifest as YAML instead; no cluster is needed.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for each step to be ready before the next.")
    ] = True,
    timeout: Annotated[str, typer.Option("--timeout", metavar="DURATION", help="How long to wait in all.")] = "5m",
    force: Annotated[
        bool, typer.Option("--force", help="Install though the precheck found what would keep it from working.")
    ] = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Install the control plane, or bring it to other values or another version.

    Objects are applied by server-side apply, in an order that refuses no pod meanwhile; the same command again changes
    nothing, and what a former one applied and this one has no more is taken away. `gateways.NAME` are values of the
    chart gateway, `base` those of the chart base, all others those of the chart control-plane (deploy/charts).

    \b
    Examples:
      dragoman install --set global.hub=registry.example.com/mesh
      dragoman install -f values.yaml --set gateways.istio-ingressgateway.service.type=ClusterIP
      dragoman install --revision canary --set revisionTags={prod}
      dragoman install --dry-run > manifests.yaml
    \b
    Exit codes: 0 installed and ready, 1 not installed or not ready in time, 2 wrong usage.
    """
    values = values_of(values_files, set_values, set_strings, revision)
    limit = duration(timeout)
    try:
        rendered = bundle(values, namespace=istio_namespace)
    except ValuesError as error:
        for problem in error.problems:
            tell(f"error: {problem}")
        raise fail("values that the charts do not take", 2) from None
    except ChartError as error:
        raise fail(str(error)) from None
    if dry_run:
        sys.stdout.write(written(rendered.documents))
        return
    wait_seconds = limit.total_seconds() if wait else None
    try:
        asyncio.run(_install(rendered, kubeconfig, context, wait_seconds, force))
    except (ApiError, InstallError, ConnectionConfigError) as error:
        raise fail(str(error)) from None


async def _install(
    rendered: Bundle, kubeconfig: Path | None, context: str | None, wait_seconds: float | None, force: bool
) -> None:
    async with await Cluster.connect(kubeconfig, context) as cluster:
        tell(f"installing revision {rendered.revision} in {rendered.namespace} of {cluster.server}")
        findings = [each for each in await precheck(cluster, rendered) if each.level is not Level.OK]
        for finding in findings:
            tell(str(finding))
        if not force and any(finding.level is Level.ERROR for finding in findings):
            raise fail("nothing was installed: say --force to install all the same")
        await Installer(cluster, tell, wait_seconds=wait_seconds).install(rendered)
        tell("installed")
        for notes in rendered.notes:
            tell(f"\n{notes.strip()}")
