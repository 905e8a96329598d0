"""Aborts with a gRPC status: validation and translation take the same names, those of gRPC."""

import pytest

from crds.grpcstatus import GRPC_STATUSES
from translators.faults import grpc_status
from translators.untranslatable import UntranslatableError


def test_a_status_is_translated_to_its_number() -> None:
    assert [grpc_status(name) for name in ("OK", "NOT_FOUND", "UNAVAILABLE", "UNAUTHENTICATED")] == [0, 5, 14, 16]


@pytest.mark.parametrize("name", ["unavailable", "14", "Not_Found", "CANCELED", "", " OK"])
def test_other_spellings_are_refused_as_validation_refuses_them(name: str) -> None:
    assert name not in GRPC_STATUSES
    with pytest.raises(UntranslatableError, match=r"fault\.abort\.grpcStatus"):
        grpc_status(name)
