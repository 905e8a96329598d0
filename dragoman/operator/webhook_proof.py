"""Whether the API server asks our webhook, and heeds it: something wrong is offered to it, without being stored
(Istio: pkg/webhooks/validation/controller, isDryRunOfInvalidConfigRejected).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from crds.virtualservice import VirtualService
from dragoman.kube import ApiError, ApiResource, Cluster

_KIND: Final = VirtualService.resource
VIRTUAL_SERVICES: Final = ApiResource(_KIND.group, _KIND.storage, _KIND.plural, VirtualService.__name__)

NAME: Final = "dragoman-webhook-proof"


async def refused_by(cluster: Cluster, webhooks: Collection[str], namespace: str, revision: str) -> bool:
    """Whether one of these webhooks has a wrong object refused. Raises `ApiError` where nothing can be found out."""
    # Webhooks for a revision see objects with its label, others those without any.
    for labels in ({"istio.io/rev": revision}, {}):
        try:
            await cluster.create(VIRTUAL_SERVICES, _wrong(namespace, labels), dry_run=True)
        except ApiError as error:
            if any(f'admission webhook "{name}" denied the request' in error.message for name in webhooks):
                return True
            if error.status not in (400, 422):
                raise
    return False


def _wrong(namespace: str, labels: dict[str, str]) -> dict[str, Any]:
    """Well-formed, so that no schema refuses it; that no regular expression is in it, only our webhook finds."""
    match = {"uri": {"regex": "(unbalanced"}}
    return {
        "apiVersion": VIRTUAL_SERVICES.api_version,
        "kind": VIRTUAL_SERVICES.kind,
        "metadata": {"name": NAME, "namespace": namespace, "labels": labels},
        "spec": {
            "hosts": ["proof.invalid"],
            "http": [{"match": [match], "route": [{"destination": {"host": "proof.invalid"}}]}],
        },
    }
