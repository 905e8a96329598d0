"""What of a view must survive the process that serves it, so that nobody meets rejected bytes again."""

from dataclasses import dataclass

from xds.quarantine import Rejection
from xds.resource import Resource


@dataclass(frozen=True, slots=True)
class Memory:
    """The part of a view's quarantine that is in force; false if there is none."""

    rejections: tuple[Rejection, ...] = ()
    """Of versions that are wanted, and not served for that reason."""
    goods: tuple[Resource, ...] = ()
    """What is served in their place, or would be, with what that needs although it was removed."""

    def __bool__(self) -> bool:
        return bool(self.rejections or self.goods)
