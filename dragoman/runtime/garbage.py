"""Python's cyclic garbage collector, kept from walking what is there to stay.

Objects of the mesh, nodes of the engine and resources live long, are many, and form no cycles that are ever dropped:
reference counts free them. The collector would stop the event loop for each walk over them (Python: gc.freeze).
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager


def look_seldom() -> None:
    """Not after some hundred new objects: while a mesh is read, that is walking again and again over what is there, in
    vain."""
    gc.set_threshold(50_000, 50, 50)


def settle() -> None:
    """What was loaded stays: collect once, and never look at it again. What the loading took goes back."""
    gc.collect()
    gc.freeze()
    # A walk over what came since takes some milliseconds, and no stream is served meanwhile.
    gc.set_threshold(10_000, 50, 50)
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only the GNU C library keeps freed memory, and has this
    if trim is not None:
        trim(0)


@contextmanager
def growing() -> Iterator[None]:
    """What comes into being inside stays, too."""
    gc.collect(1)
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
