"""Istio's standard metrics and access logs, from upstream Envoy's own loggers."""

from __future__ import annotations

import enum

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter

from crds.meshconfig import MeshConfig


class Direction(enum.StrEnum):
    """Which end of a connection reports it (Istio: label `reporter`)."""

    OUTBOUND = "source"
    INBOUND = "destination"


OUTBOUND, INBOUND = Direction.OUTBOUND, Direction.INBOUND


def peer_filters() -> tuple[HttpFilter, ...]:
    return ()


def client_filters() -> tuple[HttpFilter, ...]:
    return ()


def http_access_logs(mesh: MeshConfig, direction: Direction) -> tuple[AccessLog, ...]:
    return ()


def tcp_access_logs(mesh: MeshConfig, direction: Direction) -> tuple[AccessLog, ...]:
    return ()


def error_logs(mesh: MeshConfig) -> tuple[AccessLog, ...]:
    return ()
