"""What schemas say of each message: `crds.validate` again, as far as patterns, bounds and CEL can say it."""

from collections.abc import Mapping

import msgspec

from crds.manifests.constraint import Constraint
from crds.manifests.rules import attachment, extensions, gateway, routing, security, sidecar, traffic, workloads

CONSTRAINTS: Mapping[type[msgspec.Struct], Constraint] = {
    **attachment.CONSTRAINTS,
    **routing.CONSTRAINTS,
    **traffic.CONSTRAINTS,
    **gateway.CONSTRAINTS,
    **sidecar.CONSTRAINTS,
    **workloads.CONSTRAINTS,
    **security.CONSTRAINTS,
    **extensions.CONSTRAINTS,
}
