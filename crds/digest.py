"""A hash of what an object asks for, by which versions can be told apart where there are no generations."""

from hashlib import blake2b

import msgspec

from crds.decode import encode
from crds.meta import IstioObject


def digest_of(obj: IstioObject) -> str:
    """The hash of the spec: equal specs have equal ones, however they are written."""
    spec = msgspec.json.encode(encode(obj)["spec"], order="deterministic")
    return blake2b(spec, digest_size=8).hexdigest()
