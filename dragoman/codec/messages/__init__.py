"""Messages that envoy-data-plane lacks, in its own manner: pydantic dataclasses registered in its message pool.

Annotations are text, as in envoy-data-plane's generated code, because `dragoman.codec.schema` reads them as such.
"""

from dragoman.codec.messages.typed_struct import TypedStruct, UdpaTypedStruct

__all__ = ["TypedStruct", "UdpaTypedStruct"]
