"""Who a container's program is, and what it may do (Kubernetes: Configure a Security Context)."""

import sys
from collections.abc import Sequence
from pathlib import Path

from e2e.harness import processes
from e2e.harness.kubelet.images import Image
from e2e.harness.kubelet.watching import Object

_USUAL = frozenset(
    {
        *("chown", "dac_override", "fowner", "fsetid", "kill", "mknod", "net_bind_service", "net_raw"),
        *("audit_write", "setfcap", "setgid", "setpcap", "setuid", "sys_chroot"),
    }
)
"""The capabilities of a container that names none, as container runtimes have them."""


def launcher(container: Object, pod: Object, image: Image) -> Sequence[str]:
    """The command, for setpriv(1), that becomes who the container's program is and runs what is appended to it.

    Raises LookupError where the container may not be root but would be, which keeps it from being created.
    """
    settings = {**pod["spec"].get("securityContext", {}), **container.get("securityContext", {})}
    user = settings.get("runAsUser", image.user)
    group = settings.get("runAsGroup", image.group)
    if user == 0 and settings.get("runAsNonRoot"):
        raise LookupError("container has runAsNonRoot and image will run as root")
    capabilities = _capabilities(settings.get("capabilities", {}))
    # What lies in folders that only root may enter stays within reach: see `processes.identity`.
    reach = () if _in_reach() else ("dac_read_search",)
    bounding = ",".join(("-all", *(f"+{name}" for name in sorted({*capabilities, *reach}))))
    groups = [
        str(each) for each in (*settings.get("supplementalGroups", ()), settings.get("fsGroup")) if each is not None
    ]
    command = ["setpriv", "--pdeathsig", "KILL", "--reuid", str(user), "--regid", str(group)]
    command += ["--groups", ",".join(map(str, groups))] if groups else ["--clear-groups"]
    command += ["--bounding-set", bounding]
    if user and reach:
        command += ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    if settings.get("allowPrivilegeEscalation") is False:
        command.append("--no-new-privs")
    return command


def _capabilities(wanted: Object) -> frozenset[str]:
    dropped = {name.lower().removeprefix("cap_") for name in wanted.get("drop", ())}
    added = {name.lower().removeprefix("cap_") for name in wanted.get("add", ())}
    return (frozenset() if "all" in dropped else _USUAL - dropped) | added


def _in_reach() -> bool:
    """Whether every user may enter the folders of this project and of its interpreter."""
    return not processes.identity(1, Path(sys.executable))[5:]
