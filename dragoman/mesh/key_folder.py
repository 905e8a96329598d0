"""A proxy that keeps its own key says so in its node metadata, and where its Envoy finds it.

Metadata is believed by nobody for more than it proves. This asks for less: a name of files instead of a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

KEY_FOLDER: Final = "DRAGOMAN_KEY_FOLDER"

_LONGEST: Final = 4096 - 64  # Linux: PATH_MAX, less the file's name


def key_folder_of(metadata: Mapping[str, Any]) -> str | None:
    """The absolute path of the folder in the pod, None where the control plane is to make the key.

    Raises `ValueError` for what cannot be a folder: a proxy that keeps its key must not get another instead.
    """
    folder = metadata.get(KEY_FOLDER)
    if folder is None:
        return None
    if not isinstance(folder, str) or not folder.startswith("/") or not folder.isprintable() or len(folder) > _LONGEST:
        raise ValueError("must be the absolute path of a folder")
    return folder.rstrip("/") or "/"
