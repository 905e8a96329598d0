"""What the agent is told."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the control plane is (`server`, HOST:PORT with TLS), what proves it (`root_file`, `server_name`), what
    proves the caller (`token_file`, read for each request), where the files go (`folder`), and how long a certificate
    is to live (`lifetime_seconds`, 0 for the control plane's default)."""

    server: str
    server_name: str
    root_file: str
    token_file: str
    folder: str
    lifetime_seconds: int = 0
    once: bool = False

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))
