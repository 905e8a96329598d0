"""A service-mesh control plane, and what belongs to it."""

from dragoman.trusted_messages import STRICT, trust

if not STRICT:
    trust()
