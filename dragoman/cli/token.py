"""`dragoman token`: what a proxy proves itself with where there is no Kubernetes to give it a token."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from ca.caller import PodBinding
from ca.identity import InvalidIdentityError, SpiffeId
from dragoman.callers.token_issuer import AUDIENCE, TokenIssuer, TokenKeyError
from dragoman.cli.durations import duration
from dragoman.cli.output import fail
from dragoman.cli.state import default_state_folder, state_dir_option, token_folder
from dragoman.runtime.replaced_file import replace

_SHORTEST = timedelta(seconds=10)
_LONGEST = timedelta(days=365)
_RENEW_AT = 0.8
"""Part of its life after which a followed token is replaced (Kubernetes: token projection)."""


def token(
    pod: Annotated[str, typer.Argument(metavar="POD.NAMESPACE", help="Whose token it is.")],
    service_account: Annotated[
        str, typer.Option("--service-account", help="The service account that the pod runs as.")
    ] = "default",
    uid: Annotated[str, typer.Option("--uid", help="The pod's uid, if its object has one.")] = "",
    audience: Annotated[str, typer.Option("--audience", help="Whom the token is for.")] = AUDIENCE,
    ttl: Annotated[str, typer.Option("--ttl", metavar="DURATION", help="How long it is valid.")] = "12h",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write it to a file (mode 0600).", dir_okay=False),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on replacing the file of --output before the token expires.")
    ] = False,
    state_dir: Annotated[
        Path | None,
        state_dir_option("That of the control plane, which has the key."),
    ] = None,
) -> None:
    """Print a token with which the proxy of a pod can prove to `dragoman serve` who it is.

    It is shaped like the service account tokens of Kubernetes, and held to the same rules. Whoever may read the state
    directory may issue tokens.

    \b
    Examples:
      dragoman token web-1.shop --service-account web --output web.token
      dragoman token web-1.shop --service-account web --ttl 1h --output web.token --follow
    \b
    Exit codes: 0 done, 1 there is no usable key or the file cannot be written, 2 wrong usage.
    """
    name, dot, namespace = pod.rpartition(".")
    lifetime = duration(ttl)
    try:
        SpiffeId("cluster.local", namespace, service_account)
    except InvalidIdentityError as error:
        raise typer.BadParameter(str(error)) from None
    if not (dot and name):
        raise typer.BadParameter(f"{pod!r} is not POD.NAMESPACE")
    if not _SHORTEST <= lifetime <= _LONGEST:
        raise typer.BadParameter(f"--ttl {ttl}: at least {_SHORTEST}, at most {_LONGEST}")
    if follow and output is None:
        raise typer.BadParameter("--follow needs --output FILE")
    binding = PodBinding(namespace, name, uid)
    try:
        issuer = TokenIssuer.load_or_create(token_folder(state_dir or default_state_folder()))
        while True:
            now = datetime.now(UTC)
            text = issuer.issue(binding, service_account, audience=audience, now=now, lifetime=lifetime)
            if output is None:
                typer.echo(text)
                return
            replace(output, text.encode(), mode=0o600)
            if not follow:
                return
            time.sleep(lifetime.total_seconds() * _RENEW_AT)
    except (TokenKeyError, OSError) as error:
        raise fail(f"no token: {error}") from None
