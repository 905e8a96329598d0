"""The certificate service that Istio's agents and ztunnel call.

Source: istio/api security/v1alpha1/ca.proto (package istio.v1.auth); field 2 of the request is reserved there.
"""

import betterproto2
from envoy_data_plane.google.protobuf import Struct
from envoy_data_plane.message_pool import default_message_pool
from pydantic.dataclasses import dataclass


@dataclass(eq=False, repr=False, config={"extra": "forbid"})
class IstioCertificateRequest(betterproto2.Message):
    """A PEM certificate signing request, with the lifetime wished for in seconds."""

    csr: "str" = betterproto2.field(1, betterproto2.TYPE_STRING)
    validity_duration: "int" = betterproto2.field(3, betterproto2.TYPE_INT64)
    metadata: "Struct | None" = betterproto2.field(4, betterproto2.TYPE_MESSAGE, optional=True)


@dataclass(eq=False, repr=False, config={"extra": "forbid"})
class IstioCertificateResponse(betterproto2.Message):
    """PEM certificates, the workload's first and the root's last."""

    cert_chain: "list[str]" = betterproto2.field(1, betterproto2.TYPE_STRING, repeated=True)


default_message_pool.register_message("istio.v1.auth", "IstioCertificateRequest", IstioCertificateRequest)
default_message_pool.register_message("istio.v1.auth", "IstioCertificateResponse", IstioCertificateResponse)
