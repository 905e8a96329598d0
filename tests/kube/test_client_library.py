"""The library is there without what costs most of it, and is what it would be with it."""

import subprocess
import sys


def _run(program: str) -> str:
    """What a program of a process of its own prints: here others have imported the library already."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_models_are_not_imported() -> None:
    printed = _run(
        "import sys\n"
        "from dragoman.kube.client_library import client_library\n"
        "library = client_library()\n"
        "library.configuration()\nprint(library.api_client.__name__)\n"
        "print(client_library() == library)\n"
        "print(sum(name.startswith('kubernetes_asyncio.client.') for name in sys.modules) < 10)\n"
    )
    assert printed == "ApiClient\nTrue\nTrue\n"


def test_where_it_is_laid_out_otherwise_all_of_it_is_imported() -> None:
    printed = _run(
        "import sys\n"
        "from dragoman.kube import client_library as module\n"
        "real = module._module\n"
        "def refuse(name):\n"
        "    if name == 'client.api_client' and 'kubernetes_asyncio.client.models.v1_pod' not in sys.modules:\n"
        "        raise ImportError(name)\n"
        "    return real(name)\n"
        "module._module = refuse\n"
        "library = module.client_library()\n"
        "print(library.api_client.__name__, 'kubernetes_asyncio.client.models.v1_pod' in sys.modules)\n"
    )
    assert printed == "ApiClient True\n"


def test_what_was_imported_before_is_used() -> None:
    printed = _run(
        "import kubernetes_asyncio.client\n"
        "from dragoman.kube.client_library import client_library\n"
        "print(client_library().api_client is kubernetes_asyncio.client.ApiClient)\n"
    )
    assert printed == "True\n"
