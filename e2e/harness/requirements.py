"""What the end-to-end tests need of the machine, and what happens without it."""

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping

TOOLS = ("ip", "iptables-restore", "setpriv", "unshare")


@functools.cache
def missing() -> str | None:
    """Why pods cannot be made here; None when they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in TOOLS:
        if shutil.which(tool) is None:
            return f"{tool} is not installed (packages iproute2, iptables, util-linux)"
    probe = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    return f"the kernel gives no network namespace: {probe.stderr.strip()}" if probe.returncode else None


def required(environment: Mapping[str, str] = os.environ) -> bool:
    """True when a skip would be a lie: the continuous integration sets REQUIRE_NETNS=1."""
    return environment.get("REQUIRE_NETNS", "") not in {"", "0"}
