"""A container's file system: this machine's below, what the container writes above, its volumes on top.

The programs of the images are those of this machine, so their files are where they are. All of it is mounted in a mount
namespace of the container's own, and gone with it.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.harness.kubelet.started import TELL
from e2e.harness.processes import ROOT

_SOURCES = "/.volumes"
_CHECKOUT = f"{_SOURCES}/checkout"


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder or file of this machine as a container sees it."""

    source: Path
    target: str
    read_only: bool = False


def script(
    pod_folder: Path, mounts: Sequence[Mount], *, hostname: str, read_only: bool, directory: str
) -> Sequence[str]:
    """The command that mounts all of it and then runs the command that is appended to it, in place of itself.

    To be started in a mount and a UTS namespace of its own.
    """
    scratch = pod_folder / "root"
    root = f"{scratch}/merged"
    lines = [
        "set -e",
        f"hostname {shlex.quote(hostname)}",
        f"mkdir -p {scratch}",
        # In memory, for an overlay may not lie on an overlay, which this machine's own file system may be.
        f"mount -t tmpfs -o mode=755 tmpfs {scratch}",
        f"mkdir {scratch}/upper {scratch}/work {root}",
        f"mount -t overlay overlay -o lowerdir=/,upperdir={scratch}/upper,workdir={scratch}/work {root}",
        *(f"mount --rbind /{folder} {root}/{folder}" for folder in ("dev", "proc", "sys")),
        f"mount -t tmpfs -o mode=1777 tmpfs {root}/dev/shm",  # noqa: S108 - the container's own
        # Straight, not through the overlay, for which it must not change while it is mounted.
        f"mount --bind {ROOT} {root}{ROOT}",
        f"mount -o remount,bind,ro {root}{ROOT}",
        f"mkdir {root}{_SOURCES}",
        f"mount -t tmpfs tmpfs {root}{_SOURCES}",
        f"mkdir {root}{_CHECKOUT}",
        f"mount --bind {ROOT} {root}{_CHECKOUT}",
        f"mount -o remount,bind,ro {root}{_CHECKOUT}",
    ]
    inside = ["set -e"]
    for number, mount in enumerate(mounts):
        held = f"{_SOURCES}/{number}"
        make = "mkdir -p" if mount.source.is_dir() else "touch"
        source, target = shlex.quote(str(mount.source)), shlex.quote(mount.target)
        lines += [f"{make} {root}{held}", f"mount --bind {source} {root}{held}"]
        # The target is made from inside: a link on the way to it, such as /var/run, would lead out of the root.
        parent = shlex.quote(str(Path(mount.target) if mount.source.is_dir() else Path(mount.target).parent))
        inside += [
            f"mkdir -p {parent}",
            *(() if mount.source.is_dir() else (f"[ -e {target} ] || touch {target}",)),
            f"mount --bind {held} {target}",
            *((f"mount -o remount,bind,ro {target}",) if mount.read_only else ()),
        ]
    inside += [
        # A volume such as /tmp would hide the programs of a checkout that lies there.
        f"[ -e {ROOT}/pyproject.toml ] || {{ mkdir -p {ROOT}; mount --bind {_CHECKOUT} {ROOT}; }}",
        f"mkdir -p {shlex.quote(directory)}",
        *(("mount -o remount,bind,ro /",) if read_only else ()),
        f"cd {shlex.quote(directory)}",
        TELL,
        'exec "$@"',
    ]
    stage = "\n".join(inside)
    lines.append(f'exec chroot {root} /bin/sh -c {shlex.quote(stage)} "$0" "$@"')
    return ("/bin/sh", "-c", "\n".join(lines), "container")


def pod_files(folder: Path, hosts: Mapping[str, str], nameserver: str, namespace: str) -> Sequence[Mount]:
    """What a kubelet writes for every pod: its names, and where it asks for others (Kubernetes: DNS for Services)."""
    names = ["127.0.0.1\tlocalhost", *(f"{address}\t{name}" for name, address in hosts.items())]
    search = " ".join((f"{namespace}.svc.cluster.local", "svc.cluster.local", "cluster.local"))
    files = {
        "hosts": "\n".join((*names, "")),
        "resolv.conf": f"search {search}\nnameserver {nameserver}\noptions ndots:5\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return [Mount(folder / name, f"/etc/{name}") for name in files]
