"""`dragoman crds`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from crds.manifests import admission_policies, definition, definitions
from crds.manifests.documents import to_json, to_yaml
from crds.registry import ISTIO_KINDS
from crds.report import close_match
from dragoman.cli.output import Format


def crds(
    kind: Annotated[
        list[str] | None, typer.Option("--kind", "-k", help="This kind only, such as VirtualService; may be repeated.")
    ] = None,
    policies: Annotated[
        bool, typer.Option("--policies", help="Print ValidatingAdmissionPolicies instead: see docs/crds.md.")
    ] = False,
    revision: Annotated[
        list[str] | None, typer.Option("--revision", help="Of the control plane that the policies are for; tags, too.")
    ] = None,
    root_namespace: Annotated[
        str, typer.Option("--root-namespace", help="The mesh's root namespace, which the policies look at.")
    ] = "istio-system",
    output: Annotated[Format, typer.Option("-o", "--output", help="How to print them.")] = Format.yaml,
) -> None:
    """Print the CustomResourceDefinitions of Istio's kinds, as Dragoman reads and checks them.

    They may be applied over Istio's own: groups, versions and what is stored are the same.

    \b
    Examples:
      dragoman crds | kubectl apply --server-side -f -
      dragoman crds --kind VirtualService -o json
      dragoman crds --policies | kubectl apply -f -
    \b
    Exit codes: 0 done, 2 wrong usage.
    """
    if policies and kind:
        raise typer.BadParameter("policies are for all kinds", param_hint="--kind")
    if policies:
        revisions = revision or ["default"]
        takes_unlabelled = "default" in revisions
        documents = admission_policies(revisions=revisions, unlabelled=takes_unlabelled, root_namespace=root_namespace)
    else:
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
