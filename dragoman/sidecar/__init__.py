"""Envoy without an agent: its bootstrap, its command line, its process."""

from dragoman.sidecar.address import SocketAddress, StaticAddresses, UnixSocket, parse_address
from dragoman.sidecar.admin import Admin, AdminError
from dragoman.sidecar.bootstrap import Bootstrap, render
from dragoman.sidecar.control_plane import XDS_CLUSTER, ControlPlane, Tls, Token, root_secret, token_secret
from dragoman.sidecar.envoy import EnvoyNotFoundError, argv, find_envoy
from dragoman.sidecar.node import Node
from dragoman.sidecar.process import EnvoyProcess, EnvoyProcessError

__all__ = [
    "XDS_CLUSTER",
    "Admin",
    "AdminError",
    "Bootstrap",
    "ControlPlane",
    "EnvoyNotFoundError",
    "EnvoyProcess",
    "EnvoyProcessError",
    "Node",
    "SocketAddress",
    "StaticAddresses",
    "Tls",
    "Token",
    "UnixSocket",
    "argv",
    "find_envoy",
    "parse_address",
    "render",
    "root_secret",
    "token_secret",
]
