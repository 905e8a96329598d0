"""The base of every part of a Kubernetes object."""

import msgspec


class Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Unknown fields are skipped: Kubernetes grows, and we read only what we name."""
