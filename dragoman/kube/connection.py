"""How to reach a cluster: kubectl's configuration, or the pod's own service account."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dragoman.kube.client_library import client_library

if TYPE_CHECKING:
    from kubernetes_asyncio.client import ApiClient

_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_CONNECTIONS = 256  # each watch holds one for as long as it lasts


class ConnectionConfigError(Exception):
    """No usable configuration; the message says where it was looked for."""


class Connection(NamedTuple):
    """An authenticated client, and the namespace that commands mean when they name none."""

    client: ApiClient
    namespace: str


def in_a_pod() -> bool:
    """Whether this process is a pod of a cluster, with an account (Kubernetes: accessing the API from a pod)."""
    return "KUBERNETES_SERVICE_HOST" in os.environ and (_POD / "token").exists()


async def connect(kubeconfig: Path | None = None, context: str | None = None) -> Connection:
    """A client for the cluster of a kubeconfig's context, or for the cluster that this pod runs in.

    Without ``kubeconfig`` and ``context`` a pod takes its service account, as client-go does, unless `KUBECONFIG` is
    set; tokens are read again as they rotate. Raises `ConnectionConfigError`.
    """
    # Here, as the import costs a third of a second, which commands without a cluster need not pay.
    library = client_library()
    configuration = library.configuration()
    configuration.connection_pool_maxsize = _CONNECTIONS
    asked = kubeconfig is not None or context is not None or "KUBECONFIG" in os.environ
    try:
        if not asked and "KUBERNETES_SERVICE_HOST" in os.environ:
            library.config.load_incluster_config(client_configuration=configuration)
            namespace = (_POD / "namespace").read_text().strip()
        else:
            loader = await library.config.load_kube_config(
                config_file=None if kubeconfig is None else str(kubeconfig),
                context=context,
                client_configuration=configuration,
                persist_config=False,
            )
            chosen: dict[str, Any] = loader.current_context or {}
            namespace = chosen.get("context", {}).get("namespace") or "default"
    except (library.config_exception, OSError) as error:
        raise ConnectionConfigError(str(error)) from error
    return Connection(library.api_client(configuration), str(namespace))
