"""kubernetes-asyncio without its models.

Its packages import every model and every call of Kubernetes' API: more than a second of CPU and 70 MB for what nobody
here uses. So they are entered without running their `__init__`, and hold just what the modules that we use look for in
them. Where that fails, because a later version is laid out otherwise, everything is imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

_PACKAGE: Final = "kubernetes_asyncio"
_HOLLOW: Final = (_PACKAGE, f"{_PACKAGE}.client", f"{_PACKAGE}.client.models")
_importing: Final = threading.Lock()


class ClientLibrary(NamedTuple):
    """What we use of it."""

    config: Any
    """The package that reads kubeconfigs and the files of a pod's service account."""
    api_client: type[Any]
    configuration: type[Any]
    config_exception: type[Exception]


def client_library() -> ClientLibrary:
    """Import it, the first time."""
    with _importing:
        if f"{_PACKAGE}.client" not in sys.modules:
            try:
                with _hollow_packages() as client:
                    client.Configuration = _module("client.configuration").Configuration
                    client.ApiClient = _module("client.api_client").ApiClient
                    _module("config")
            except (ImportError, AttributeError):
                _forget()
        client, config = _module("client"), _module("config")
        exceptions = _module("config.config_exception")
    return ClientLibrary(config, client.ApiClient, client.Configuration, exceptions.ConfigException)


def _module(name: str) -> Any:
    return importlib.import_module(f"{_PACKAGE}.{name}")


@contextmanager
def _hollow_packages() -> Iterator[Any]:
    """Packages in which modules are found, and nothing else is; that of the client is given."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise ImportError(_PACKAGE)
    for name in _HOLLOW:
        package = types.ModuleType(name)
        package.__path__ = [str(Path(found.origin).parent.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, package)
    yield sys.modules[f"{_PACKAGE}.client"]


def _forget() -> None:
    for name in [name for name in sys.modules if name == _PACKAGE or name.startswith(f"{_PACKAGE}.")]:
        del sys.modules[name]
