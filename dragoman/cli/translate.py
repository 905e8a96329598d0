"""`dragoman translate`: what a proxy would get, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dragoman.cli.output import Format, fail, write
from dragoman.cli.problems import tell, tell_reports
from dragoman.mesh.proxy_id import ProxyId, ProxyIdError
from dragoman.offline import UnknownPodError, load, translated, unfetched
from dragoman.sources.validation import has_errors


def translate(
    config: Annotated[Path, typer.Option("--config", help="Folder of YAML.", exists=True, file_okay=False)],
    proxy: Annotated[str, typer.Option("--proxy", help="Node id: type~ip~pod.namespace~domain.")],
    provenance: Annotated[
        bool, typer.Option("--provenance", help="Say which objects each part was made from.")
    ] = False,
    output: Annotated[Format, typer.Option("-o", "--output", help="How to print it.")] = Format.json,
) -> None:
    """Print the listeners, clusters, routes and endpoints that a proxy would get, as canonical protobuf JSON.

    \b
    Examples:
      dragoman translate --config mesh/ --proxy 'sidecar~10.0.0.7~web-1.shop~shop.svc.cluster.local'
      dragoman translate --config mesh/ --proxy 'router~10.0.0.9~gateway.shop~' --provenance -o yaml
    \b
    Exit codes: 0 done, 1 unknown pod or errors in the configuration (the rest is printed all the same), 2 wrong usage.
    """
    try:
        id_ = ProxyId.parse(proxy)
    except ProxyIdError as error:
        raise fail(str(error), 2) from None
    mesh = load(config)
    tell_reports(mesh.reports)
    try:
        document = translated(mesh, id_, provenance=provenance)
    except UnknownPodError as error:
        raise fail(str(error)) from None
    for source in unfetched(mesh):
        tell(f"info: keys of {source.uri} are not fetched here: a key set that verifies nothing stands in their place")
    write(document, output)
    if has_errors(mesh.reports):
        raise typer.Exit(1)
