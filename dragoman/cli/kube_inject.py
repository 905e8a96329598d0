"""`dragoman kube-inject`: sidecars in files, without a webhook."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from crds import meshconfig
from crds.decode import decode
from crds.problem import Invalid, Severity
from crds.proxyconfig import ProxyConfig
from dragoman.cli.cluster_options import CONTROL_PLANE_NAMESPACE, Context, IstioNamespace, Kubeconfig
from dragoman.cli.output import fail
from dragoman.cli.problems import tell
from dragoman.kube import ApiError, ApiResource, Cluster, ConnectionConfigError
from dragoman.kube.resources import CONFIG_MAPS


def kube_inject(
    filename: Annotated[
        list[str], typer.Option("-f", "--filename", metavar="FILE", help="Documents (YAML, JSON); - is standard input.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Where they go.", show_default="standard output"),
    ] = None,
    namespace: Annotated[
        str, typer.Option("-n", "--namespace", help="The namespace of objects that name none.")
    ] = "default",
    injector_config: Annotated[
        Path | None,
        typer.Option(
            "--injector-config",
            metavar="FILE",
            help="The ConfigMap istio-sidecar-injector of the mesh, as YAML.",
            show_default="built-in settings",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    mesh_config: Annotated[
        Path | None,
        typer.Option(
            "--mesh-config",
            metavar="FILE",
            help="MeshConfig as YAML, or the ConfigMap that holds it.",
            show_default="Istio's defaults",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    from_cluster: Annotated[
        bool, typer.Option("--from-cluster", help="Take the injector's settings, and the mesh's, from a cluster.")
    ] = False,
    revision: Annotated[
        str,
        typer.Option("-r", "--revision", help="The control plane that the sidecars are of.", show_default="default"),
    ] = "",
    istio_namespace: IstioNamespace = CONTROL_PLANE_NAMESPACE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Print the documents with sidecars in their pods: Pods, Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs,
    CronJobs, and Lists of them. What has no pods stays, in its place. Comments are lost.

    Labels of the namespace are not asked for; hostNetwork and sidecar.istio.io/inject are heeded. Doing it again to
    what was printed changes nothing. Warnings and pods that get no sidecar are on standard error.

    \b
    Examples:
      dragoman kube-inject -f web.yaml | kubectl apply -f -
      kubectl get deployment web -o yaml | dragoman kube-inject -f - > web.yaml
      dragoman kube-inject -f web.yaml --from-cluster --revision canary
      kubectl get configmap istio-sidecar-injector -n istio-system -o yaml > injector.yaml
      dragoman kube-inject -f web.yaml --injector-config injector.yaml
    \b
    Exit codes: 0 done, 1 an annotation or document is wrong (nothing is printed), 2 wrong usage.
    """
    from dragoman.sidecar.injection.documents import inject_document

    if from_cluster and (injector_config or mesh_config):
        raise typer.BadParameter("--from-cluster takes the place of --injector-config and --mesh-config")
    if not from_cluster and (kubeconfig or context):
        raise typer.BadParameter("a cluster is only asked with --from-cluster")
    try:
        if from_cluster:
            written = asyncio.run(_of_cluster(kubeconfig, context, istio_namespace, revision))
        else:
            injector = _data(injector_config) if injector_config is not None else {}
            mesh = _data(mesh_config) if mesh_config is not None else {}
            written = injector, mesh, ()
        settings = _settings(*written, revision)
    except (Invalid, ValueError, OSError, yaml.YAMLError, ApiError, ConnectionConfigError) as error:
        raise fail(str(error)) from None
    changed: list[Any] = []
    failed = False
    for name in filename:
        for document in _documents(name):
            made, outcomes = inject_document(document, namespace=namespace, settings=settings)
            changed.append(made)
            for outcome in outcomes:
                for found in outcome.problems:
                    tell(f"{name}: {outcome}: {found}")
                    failed = failed or found.severity is Severity.ERROR
                if outcome.reason is not None and not outcome.problems:
                    tell(f"{name}: {outcome}: no sidecar: {outcome.reason}")
    if failed:
        raise SystemExit(1)
    text = "".join(_text(document, first=index == 0) for index, document in enumerate(changed))
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text)
    except OSError as error:
        raise fail(f"cannot write {output}: {error.strerror}") from None


def _settings(
    injector: Mapping[str, str], mesh: Mapping[str, str], proxy_configs: tuple[ProxyConfig, ...], revision: str
) -> Any:
    from dragoman.sidecar.injection.config_map import settings_of

    made = settings_of(
        injector,
        # Nobody could guess it, and it stays in the document: a second run finds it there.
        drain_secret=secrets.token_bytes(32),
        mesh=meshconfig.parse(mesh.get(meshconfig.CONFIG_KEY, "")),
        proxy_configs=proxy_configs,
    )
    return replace(made, revision=revision) if revision else made


async def _of_cluster(
    kubeconfig: Path | None, context: str | None, namespace: str, revision: str
) -> tuple[Mapping[str, str], Mapping[str, str], tuple[ProxyConfig, ...]]:
    """The data of the injector's and the mesh's ConfigMaps, and the ProxyConfigs, of a control plane in a cluster."""
    from dragoman.sidecar.injection.config_map import NAME

    suffix = "" if revision in ("", "default") else f"-{revision}"
    async with await Cluster.connect(kubeconfig, context) as cluster:
        injector = await cluster.get(CONFIG_MAPS, f"{NAME}{suffix}", namespace)
        mesh = await cluster.get(CONFIG_MAPS, f"{meshconfig.CONFIG_MAP[1]}{suffix}", namespace)
        kind = ProxyConfig.resource
        resource = ApiResource(kind.group, kind.storage, kind.plural, ProxyConfig.__name__)
        listed = []
        try:
            listed = await cluster.list(resource)
        except ApiError as error:
            if not error.not_found:  # a cluster may have no such kind
                raise
    found = (decode({"apiVersion": kind.api_version(), "kind": ProxyConfig.__name__, **each}) for each in listed)
    configs = tuple(each for each in found if isinstance(each, ProxyConfig))
    return injector.get("data") or {}, mesh.get("data") or {}, configs


def _data(file: Path) -> dict[str, str]:
    """The data of a ConfigMap in a file. A file that is none is MeshConfig itself."""
    text = file.read_text()
    document = yaml.load(text, Loader=yaml.CSafeLoader)
    if isinstance(document, dict) and document.get("kind") == "ConfigMap":
        return {str(key): str(value) for key, value in (document.get("data") or {}).items()}
    return {meshconfig.CONFIG_KEY: text}


def _documents(name: str) -> list[Any]:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text()
        return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document is not None]
    except OSError as error:
        raise fail(f"cannot read {name}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise fail(f"{name}: no YAML: {error}") from None


class _Dumper(yaml.CSafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True  # kubectl reads anchors, people less well


def _text(document: Any, *, first: bool) -> str:
    body = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**31 - 1)
    return body if first else f"---\n{body}"
