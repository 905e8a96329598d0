"""How msgspec reads and writes the types that are ours."""

from typing import Any

from crds.duration import Duration


def decode_hook(expected: type, value: Any) -> Any:
    """msgspec's `dec_hook`. Raises ValueError or TypeError, which msgspec reports with the path."""
    if expected is Duration:
        if isinstance(value, Duration):
            return value
        if isinstance(value, str):
            return Duration.parse(value)
        raise ValueError(f"expected a duration such as 5s, got {type(value).__name__}")
    raise NotImplementedError(expected)


def encode_hook(value: Any) -> Any:
    """msgspec's `enc_hook`."""
    if isinstance(value, Duration):
        return value.text
    raise NotImplementedError(type(value))
