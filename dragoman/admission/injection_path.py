"""What the path of an injecting webhook says of the proxies that it is for.

`/inject/cluster/CLUSTER/net/NETWORK` sets the cluster and the network; other pairs set variables of their own (Istio:
pkg/kube/inject, parseInjectEnvs). A slash within a value is written `--slash--`.
"""

from __future__ import annotations

from typing import Final

_NAMES: Final = {"cluster": "ISTIO_META_CLUSTER_ID", "net": "ISTIO_META_NETWORK"}


def environment(about: str) -> dict[str, str]:
    """Variables by their names, from the path after `/inject/`; a key without a value says nothing."""
    parts = [part.replace("--slash--", "/") for part in about.strip("/").split("/")]
    pairs = zip(parts[::2], parts[1::2], strict=False)
    return {_NAMES.get(key, key): value for key, value in pairs if key and value}
