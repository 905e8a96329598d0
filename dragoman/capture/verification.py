"""Whether this pod's traffic is captured, tried with a connection (Istio: istio-validation).

A pod whose capture somebody else sets up must not start without it. The proxy's own connections to its pod are captured
whatever the annotations say; so this is to run as the proxy's user, before the proxy listens. With TPROXY that needs
NET_ADMIN, as the proxy itself does.
"""

from __future__ import annotations

import socket
from typing import Final

from dragoman.capture.rules import INBOUND_SOURCES, Family
from dragoman.capture.settings import Capture, CaptureError
from dragoman.capture.system import families

_SECONDS: Final = 5.0
_SOMEWHERE: Final = 15002  # nobody listens there
_KINDS: Final = {Family.V4: socket.AF_INET, Family.V6: socket.AF_INET6}
_TRANSPARENT: Final = {Family.V4: (socket.SOL_IP, 19), Family.V6: (socket.IPPROTO_IPV6, 75)}  # Linux: IP_TRANSPARENT
_LOOPBACKS: Final = {Family.V4: "127.0.0.1", Family.V6: "::1"}


def verify(capture: Capture) -> None:
    """Return if a connection is captured in every family that the pod has. Raises CaptureError."""
    for family in families():
        destination = INBOUND_SOURCES[family].partition("/")[0]
        with socket.socket(_KINDS[family]) as listener, socket.socket(_KINDS[family]) as client:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            address = _LOOPBACKS[family]
            if capture.mode == "TPROXY":
                listener.setsockopt(*_TRANSPARENT[family], 1)
                if family is Family.V6:
                    address = destination  # of the interface's addresses the kernel looks at that of the widest scope
            listener.bind((address, capture.inbound_port))
            listener.listen(1)
            listener.settimeout(_SECONDS)
            client.settimeout(_SECONDS)
            client.bind(
                (_LOOPBACKS[family], 0)
            )  # in IPv6 it would else be the destination, from which nothing is captured
            try:
                client.connect((destination, _SOMEWHERE))
                listener.accept()[0].close()
            except OSError as error:
                raise CaptureError(
                    f"IPv{family.value} is not captured: a connection to {destination}:{_SOMEWHERE} does not come to "
                    f"port {capture.inbound_port} ({error})"
                ) from None
