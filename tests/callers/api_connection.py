"""A connection to an API server at a URL."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from dragoman.kube import Cluster


@contextlib.asynccontextmanager
async def connected(server: str, folder: Path) -> AsyncIterator[Cluster]:
    """Connected with the token `ours`, by a kubeconfig in a folder."""
    config = folder / "config"
    config.write_text(
        f"""{{"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{{"name": "c", "cluster": {{"server": "{server}"}}}}],
        "users": [{{"name": "u", "user": {{"token": "ours"}}}}],
        "contexts": [{{"name": "c", "context": {{"cluster": "c", "user": "u"}}}}]}}"""
    )
    async with await Cluster.connect(config) as cluster:
        yield cluster
