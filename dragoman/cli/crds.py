"""`dragoman crds`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from crds.manifests import definition, definitions
from crds.manifests.documents import to_json, to_yaml
from crds.registry import ISTIO_KINDS
from crds.report import close_match
from dragoman.cli.output import Format


def crds(
    kind: Annotated[
        list[str] | None, typer.Option("--kind", "-k", help="This kind only, such as VirtualService; may be repeated.")
    ] = None,
    output: Annotated[Format, typer.Option("-o", "--output", help="How to print them.")] = Format.yaml,
) -> None:
    """Print the CustomResourceDefinitions of Istio's kinds, as Dragoman reads and checks them.

    They may be applied over Istio's own: groups, versions and what is stored are the same.

    \b
    Examples:
      dragoman crds | kubectl apply --server-side -f -
      dragoman crds --kind VirtualService -o json
    \b
    Exit codes: 0 done, 2 wrong usage.
    """
    documents = [definition(_known(name)) for name in kind] if kind else definitions()
    typer.echo(to_yaml(documents) if output is Format.yaml else to_json(documents), nl=False)


def _known(name: str) -> Any:
    kinds = {key.lower(): held for key, held in ISTIO_KINDS.items()}
    kinds |= {held.resource.plural: held for held in ISTIO_KINDS.values()}
    if found := kinds.get(name.lower()):
        return found
    guess = close_match(name, ISTIO_KINDS)
    remedy = f"did you mean {guess}?" if guess else f"one of {', '.join(ISTIO_KINDS)}"
    raise typer.BadParameter(f"{name!r} is not a kind of Istio's API: {remedy}", param_hint="--kind")
