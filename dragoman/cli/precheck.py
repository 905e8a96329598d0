"""`dragoman precheck`: whether a cluster is fit for an installation."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from dragoman.charts import ChartError
from dragoman.cli.cluster_options import CONTROL_PLANE_NAMESPACE, Context, IstioNamespace, Kubeconfig
from dragoman.cli.install_values import Revision, SetStrings, SetValues, ValuesFiles, values_of
from dragoman.cli.output import TableFormat, fail, write, write_table
from dragoman.installation.bundle import Bundle, bundle
from dragoman.installation.findings import Finding, Level, worst
from dragoman.installation.precheck import precheck as look
from dragoman.kube import ApiError, Cluster, ConnectionConfigError


def precheck(
    values_files: ValuesFiles = None,
    set_values: SetValues = None,
    set_strings: SetStrings = None,
    revision: Revision = None,
    istio_namespace: IstioNamespace = CONTROL_PLANE_NAMESPACE,
    output: Annotated[TableFormat, typer.Option("-o", "--output", help="How to print.")] = TableFormat.table,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Look whether a cluster is fit for what `dragoman install` with the same values would do; nothing is changed.

    It checks the version of Kubernetes and its nodes, your rights for each kind, other control planes and their
    webhooks, custom resource definitions of another version, and the pod security of namespaces.

    \b
    Examples:
      dragoman precheck
      dragoman precheck --revision canary -f values.yaml -o json
    \b
    Exit codes: 0 fit, perhaps with warnings; 1 errors found, or the cluster cannot be reached; 2 wrong usage.
    """
    values = values_of(values_files, set_values, set_strings, revision)
    try:
        found = asyncio.run(_look(bundle(values, namespace=istio_namespace), kubeconfig, context))
    except (ApiError, ChartError, ConnectionConfigError) as error:
        raise fail(str(error)) from None
    if output == "table":
        write_table(("result", "check", "what", "remedy"), [_row(each) for each in found])
    else:
        write([each._asdict() | {"level": str(each.level)} for each in found], output)
    if worst(found) is Level.ERROR:
        raise SystemExit(1)


def _row(finding: Finding) -> tuple[str, str, str, str]:
    return str(finding.level), finding.check, finding.message, finding.remedy


async def _look(rendered: Bundle, kubeconfig: Path | None, context: str | None) -> list[Finding]:
    async with await Cluster.connect(kubeconfig, context) as cluster:
        return await look(cluster, rendered)
