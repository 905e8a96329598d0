"""What the API server answers when it does not do what it is asked (Kubernetes: API conventions, Status)."""

from __future__ import annotations

from typing import Any

import msgspec


class _Status(msgspec.Struct):
    reason: str = ""
    message: str = ""
    details: dict[str, Any] | None = None


class ApiError(Exception):
    """A request failed. ``status`` is the HTTP code, 0 where no answer came; ``reason`` the API's own word."""

    def __init__(self, status: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message or reason or f"HTTP {status}")
        self.status = status
        self.reason = reason
        self.message = message
        self.details = details or {}

    @classmethod
    def of(cls, status: int, body: bytes) -> ApiError:
        """The error that a response's body tells of; what lies before an API server may answer in plain text."""
        try:
            said = msgspec.json.decode(body, type=_Status)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            said = _Status(message=body[:500].decode(errors="replace").strip())
        return cls(status, said.reason, said.message, said.details)

    @classmethod
    def unreachable(cls, server: str, error: BaseException) -> ApiError:
        """No answer came."""
        return cls(0, "Unreachable", f"{server}: {str(error) or type(error).__name__}")

    @property
    def unavailable(self) -> bool:
        """It may go well in a while: no answer, overload, or a server that starts or stops."""
        return self.status in (0, 429) or self.status >= 500

    @property
    def retry_after(self) -> float | None:
        """In how many seconds the server wants to be asked again, where it says so."""
        seconds = self.details.get("retryAfterSeconds")
        return float(seconds) if seconds else None

    @property
    def not_found(self) -> bool:
        """No such object, or no such kind."""
        return self.status == 404

    @property
    def forbidden(self) -> bool:
        """The caller has no right to it."""
        return self.status in (401, 403)

    @property
    def already_exists(self) -> bool:
        """An object of that name is there."""
        return self.reason == "AlreadyExists"

    @property
    def conflict(self) -> bool:
        """Somebody else wrote in between, or owns the field."""
        return self.status == 409 and not self.already_exists

    @property
    def gone(self) -> bool:
        """The resource version is too old to go on from: list anew."""
        return self.status == 410 or self.reason in ("Expired", "Gone")
