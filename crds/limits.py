"""How many items a list or map may hold.

What Istio's own schemas bound has their bounds. The others are more than an object of the API server's size limit of
1.5 MiB (etcd: max-request-bytes) can need: they are there because an API server sums up what its CEL rules could cost
at worst, and refuses a kind whose lists have no end.
"""

from msgspec import Meta

MANY = Meta(max_length=16384)
"""Routes, servers, listeners, patches."""
SUBSETS = Meta(max_length=2048)
PORT_LEVEL_SETTINGS = Meta(max_length=128)
RULES = Meta(max_length=512)
"""Rules of an AuthorizationPolicy, and the sources, operations and conditions of each."""
SERVICE_ACCOUNTS = Meta(max_length=16)
TARGETS = Meta(max_length=16)
SELECTED_LABELS = Meta(max_length=4096)
JWT_RULES = Meta(max_length=4096)
ENVIRONMENT = Meta(max_length=256)
ADDRESSES = Meta(max_length=256)
"""Hosts, addresses and ports of a ServiceEntry."""
ENDPOINTS = Meta(max_length=4096)
ENDPOINT_PORTS = Meta(max_length=128)
ENDPOINT_LABELS = Meta(max_length=256)
