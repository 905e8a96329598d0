"""The state of the CA as bytes: one JSON document with PEM in it, keys included. Whoever can read it can be the CA."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ca.authority import Authority, AuthorityError, key_pem, pem
from ca.rotation import Report, Retiring, Rotation

_FORMAT: Final = 1


class DocumentError(AuthorityError):
    """The document cannot be read. `str()` never quotes it: it holds keys."""


def dump(state: Rotation) -> bytes:
    """`state` as a document."""
    document = {
        "format": _FORMAT,
        "active": _dump_authority(state.active),
        "pluggedIn": state.plugged_in,
        "overlapSeconds": state.overlap.total_seconds(),
        "bound": state.bound.isoformat(),
        "requestedBound": state.requested_bound.isoformat(),
        "next": None if state.next is None else _dump_authority(state.next),
        "since": state.since.isoformat(),
        "waitUntil": state.wait_until.isoformat(),
        "proceed": state.proceed,
        "retiring": [{"root": _text([each.root]), "until": each.until.isoformat()} for each in state.retiring],
        "reports": {
            name: {"at": report.at.isoformat(), "bundle": report.bundle, "waiting": list(report.waiting)}
            for name, report in sorted(state.reports.items())
        },
    }
    return json.dumps(document, indent=1).encode()


def load(data: bytes) -> Rotation:
    """The state that `dump` wrote. Raises `DocumentError`."""
    try:
        document = json.loads(data)
        if document["format"] != _FORMAT:
            raise DocumentError(f"the CA's state has format {document['format']!r}, this version reads {_FORMAT}")
        return Rotation(
            active=_load_authority(document["active"]),
            plugged_in=bool(document["pluggedIn"]),
            overlap=timedelta(seconds=document["overlapSeconds"]),
            bound=datetime.fromisoformat(document["bound"]),
            requested_bound=datetime.fromisoformat(document["requestedBound"]),
            next=None if document["next"] is None else _load_authority(document["next"]),
            since=datetime.fromisoformat(document["since"]),
            wait_until=datetime.fromisoformat(document["waitUntil"]),
            proceed=bool(document["proceed"]),
            retiring=tuple(
                Retiring(_certificates(each["root"])[0], datetime.fromisoformat(each["until"]))
                for each in document["retiring"]
            ),
            reports=MappingProxyType(
                {
                    name: Report(datetime.fromisoformat(each["at"]), each["bundle"], tuple(each["waiting"]))
                    for name, each in document["reports"].items()
                }
            ),
        )
    except DocumentError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, x509.InvalidVersion) as error:
        # Its text may quote what could not be read.
        raise DocumentError(f"the CA's state is damaged ({type(error).__name__}): restore it from a copy") from None


def _dump_authority(authority: Authority) -> dict[str, str]:
    return {
        "certificate": _text([authority.certificate]),
        "key": key_pem(authority.key).decode(),
        "intermediates": _text(authority.intermediates),
        "roots": _text(authority.roots),
    }


def _load_authority(document: dict[str, Any]) -> Authority:
    # AuthorityError is a ValueError: parts that do not belong together are damage.
    return Authority(
        _certificates(document["certificate"])[0],
        load_pem_private_key(document["key"].encode(), password=None),  # type: ignore[arg-type]
        _certificates(document["roots"]),
        _certificates(document["intermediates"]) if document["intermediates"] else (),
    )


def _text(certificates: Sequence[x509.Certificate]) -> str:
    return pem(certificates).decode()


def _certificates(text: str) -> tuple[x509.Certificate, ...]:
    return tuple(x509.load_pem_x509_certificates(text.encode()))
