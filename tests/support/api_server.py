"""A real Kubernetes API server for tests: etcd, kube-apiserver and kube-controller-manager on this machine.

Which one, the first that holds (as controller-runtime's envtest chooses, beside the cache):

1. `USE_EXISTING_CLUSTER=true`: the cluster of kubectl's configuration ($KUBECONFIG);
2. programs named by `TEST_ASSET_ETCD`, `TEST_ASSET_KUBE_APISERVER`, or in the folder `KUBEBUILDER_ASSETS`;
3. what `make apiserver` has built.

With none of them a test that needs one is skipped and says so; `REQUIRE_REAL_API=1` makes that a failure.
"""

import asyncio
import base64
import contextlib
import json
import os
import secrets
import shutil
import ssl
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol

import pytest

from dragoman.kube.cluster import Cluster
from dragoman.kube.errors import ApiError
from dragoman.kube.resources import NAMESPACES, SERVICE_ACCOUNTS
from e2e.apiserver import programs
from tests.support.api_server_credentials import ClusterCA, token_keys
from tests.support.free_ports import own_loopback

START_SECONDS = 180.0
# A third of what these programs compute would be Go's collection of garbage: they live for minutes, and may be larger.
_ENVIRONMENT = {"GOGC": "400", "GOMEMLIMIT": "1GiB"}
SERVICE_ADDRESSES = "10.96.0.0/16"
_MOST_OPERATIONS = 100
"""In one transaction; etcd's limit is 128."""
_ADMINISTRATORS = ("system:masters",)
_NO_CONTROLLERS = (
    # They act upon nodes that no longer say that they live, and no test has nodes that say anything.
    *("node-lifecycle-controller", "taint-eviction-controller", "pod-garbage-collector-controller"),
    # Nobody here has disks, quotas, schedules or an end of their own; each looks ever so often, or watches.
    *("persistentvolume-attach-detach-controller", "persistentvolume-binder-controller"),
    *("persistentvolume-expander-controller", "persistentvolume-protection-controller"),
    *("persistentvolumeclaim-protection-controller", "ephemeral-volume-controller"),
    *("resourcequota-controller", "cronjob-controller", "ttl-after-finished-controller"),
    *("replicationcontroller-controller", "ttl-controller"),
)


class ApiServer(Protocol):
    """What the fixture `api_server` gives."""

    kubeconfig: Path
    """Of a cluster administrator."""

    @property
    def server(self) -> str:
        """Its URL."""

    def user(self, name: str, groups: Sequence[str] = ()) -> Path:
        """The kubeconfig of another user, who may do what RBAC says."""

    async def stop_server(self) -> None:
        """End the API server, but not etcd: as in an upgrade of it."""

    async def start_server(self) -> None:
        """Start it again at the same address, and wait until it is ready."""

    async def compact(self) -> None:
        """Let etcd forget what was before now. The API server answers 410 Gone for older versions only once it has
        been started anew: until then they are in its own cache.
        """

    async def remove_namespace(self, name: str) -> None:
        """Delete a namespace with all that is in it, as soon as may be."""


class LocalApiServer:
    """An API server of the tests' own, with its etcd and, if wanted, its controllers: see `running`."""

    def __init__(self, folder: Path, address: str, arguments: Sequence[str], minor: str = "") -> None:
        self._folder = folder
        # Nobody else's: a port that was only free when it was looked for may be taken before a program is up, or while
        # it is stopped for a moment.
        own = own_loopback()
        self._address = address or own
        self._minor = minor
        self._arguments = (*arguments, *((f"--emulated-version=kube={minor}",) if minor else ()))
        self._ca = ClusterCA(folder)
        self._tokens = token_keys(folder)
        self._etcd_address, self._peers, self._port = f"{own}:2379", f"http://{own}:2380", 6443
        self._programs: dict[str, subprocess.Popen[bytes]] = {}
        self.kubeconfig = self._ca.kubeconfig(self.server, "admin", _ADMINISTRATORS)

    @classmethod
    @contextlib.contextmanager
    def running(
        cls, *, arguments: Sequence[str] = (), controllers: bool = True, address: str = "", minor: str = ""
    ) -> Iterator["LocalApiServer"]:
        """A new, empty cluster.

        `arguments` are further ones for kube-apiserver; `address` is where it listens, if pods are to reach it; `minor`
        is the version that it is to be like, as "1.31", by default the first in $EMULATED_KUBERNETES. Raises
        RuntimeError or TimeoutError with the end of the log of what failed.
        """
        minor = minor or os.environ.get("EMULATED_KUBERNETES", "").partition(",")[0]
        with tempfile.TemporaryDirectory(prefix="dragoman-api-") as name:
            server = cls(Path(name), address, arguments, minor)
            try:
                server._start(controllers)
                yield server
            finally:
                server._stop()

    @property
    def server(self) -> str:
        """Its URL."""
        return f"https://{self._address}:{self._port}"

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return self._address, self._port

    def user(self, name: str, groups: Sequence[str] = ()) -> Path:
        """The kubeconfig of another user, who may do what RBAC says."""
        return self._ca.kubeconfig(self.server, name, groups)

    async def stop_server(self) -> None:
        """End the API server, but not etcd: as in an upgrade of it."""
        process = self._programs.pop("kube-apiserver")
        process.terminate()
        try:
            # It would wait for the watches of clients that do not let go of them.
            await asyncio.to_thread(process.wait, 2)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)

    async def start_server(self) -> None:
        """Start it again at the same address, and wait until it is ready."""
        self._launch_server()
        await asyncio.to_thread(self._wait_for_server)

    async def compact(self) -> None:
        """Let etcd forget what was before now; see `ApiServer.compact`."""
        await asyncio.to_thread(self._compact)

    async def remove_namespace(self, name: str) -> None:
        """Take a namespace out of etcd, with all that is in it.

        To delete it, the controllers would look for objects of every kind that there is, a hundred requests for each
        namespace, some seconds later: into the midst of another test.
        """
        await asyncio.to_thread(self._remove_namespace, name)

    def logs(self, lines: int = 40) -> dict[str, str]:
        """The ends of the programs' logs."""
        return {path.stem: _tail(path, lines) for path in sorted(self._folder.glob("*.log"))}

    def _start(self, controllers: bool) -> None:
        self._launch(
            "etcd",
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls=http://{self._etcd_address}",
            f"--advertise-client-urls=http://{self._etcd_address}",
            f"--listen-peer-urls={self._peers}",
            f"--initial-advertise-peer-urls={self._peers}",
            f"--initial-cluster=default={self._peers}",
            # What a test has stored need not survive a power failure, nor be in the file each tenth of a second.
            "--unsafe-no-fsync=true",
            "--backend-batch-interval=1s",
            "--backend-batch-limit=100000",
        )
        self._wait(f"http://{self._etcd_address}/health", None)
        self._launch_server()
        self._wait_for_server()
        if controllers and programs.find("kube-controller-manager") is not None:
            self._launch_controllers()

    def _launch_server(self) -> None:
        private, public = self._tokens
        hosts = ("localhost", "127.0.0.1", "10.96.0.1", self._address, "kubernetes.default.svc")
        certificate, key = self._ca.serving("kube-apiserver", hosts)
        # Loopback may not be the address of a Service's endpoint.
        advertised = (
            ("--endpoint-reconciler-type=none", "--advertise-address=127.0.0.1")
            if self._address.startswith("127.")
            else (f"--advertise-address={self._address}",)
        )
        self._launch(
            "kube-apiserver",
            f"--etcd-servers=http://{self._etcd_address}",
            f"--bind-address={self._address}",
            *advertised,
            f"--secure-port={self._port}",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--cert-dir={self._folder}",
            f"--client-ca-file={self._ca.certificate}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={public}",
            f"--service-account-signing-key-file={private}",
            f"--service-cluster-ip-range={SERVICE_ADDRESSES}",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",
            *self._arguments,
        )

    def _launch_controllers(self) -> None:
        name = "system:kube-controller-manager"
        kubeconfig = self._ca.kubeconfig(self.server, name, ())
        self._launch(
            "kube-controller-manager",
            f"--kubeconfig={kubeconfig}",
            "--secure-port=0",  # nobody asks it for anything
            f"--root-ca-file={self._ca.certificate}",
            f"--service-account-private-key-file={self._tokens[0]}",
            "--use-service-account-credentials=true",
            f"--cluster-signing-cert-file={self._ca.certificate}",
            f"--cluster-signing-key-file={self._ca.key}",
            "--leader-elect=false",
            "--controllers=" + ",".join(("*", *(f"-{name}" for name in _NO_CONTROLLERS))),
        )

    def _launch(self, name: str, *arguments: str) -> None:
        program = programs.find_api_server(self._minor) if name == "kube-apiserver" else programs.find(name)
        assert program is not None
        # With the tests: also when they are killed.
        launcher = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()
        with (self._folder / f"{name}.log").open("ab") as log:
            self._programs[name] = subprocess.Popen(
                (*launcher, program, *arguments),
                env={**os.environ, **_ENVIRONMENT},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait_for_server(self) -> None:
        # Everybody may ask for it, as soon as the API server has made the role that says so.
        self._wait(f"{self.server}/readyz", ssl.create_default_context(cafile=str(self._ca.certificate)))

    def _wait(self, url: str, context: ssl.SSLContext | None) -> None:
        handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        opener = urllib.request.build_opener(*handlers)
        end = time.monotonic() + START_SECONDS
        while True:
            for name, process in tuple(self._programs.items()):
                if (status := process.poll()) is not None:
                    raise RuntimeError(f"{name} ended with {status}\n{_tail(self._folder / f'{name}.log', 20)}")
            try:
                with opener.open(url, timeout=10):
                    return
            except OSError as error:
                if time.monotonic() > end:
                    raise TimeoutError(f"{url}: {error}\n{self.logs(10)}") from error
            time.sleep(0.15)  # an API server looks at all of its parts to answer

    def _compact(self) -> None:
        now = self._etcd("kv/range", {"key": "AA==", "limit": "1"})["header"]["revision"]
        self._etcd("kv/compaction", {"revision": now, "physical": True})

    def _remove_namespace(self, name: str) -> None:
        everything = {"key": _base64("/registry/"), "range_end": _base64("/registry0"), "keys_only": True}
        keys = [base64.b64decode(each["key"]).decode() for each in self._etcd("kv/range", everything)["kvs"]]
        own = [key for key in keys if f"/{name}/" in key or key.endswith(f"/namespaces/{name}")]
        deletions = [{"request_delete_range": {"key": _base64(key)}} for key in own]
        for start in range(0, len(deletions), _MOST_OPERATIONS):
            self._etcd("kv/txn", {"success": deletions[start : start + _MOST_OPERATIONS]})

    def _etcd(self, method: str, body: object) -> dict[str, Any]:
        url = f"http://{self._etcd_address}/v3/{method}"
        request = urllib.request.Request(url, json.dumps(body).encode())
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=120) as response:
            answer: dict[str, Any] = json.load(response)
            return answer

    def _stop(self) -> None:
        # All that they hold is about to be deleted, so none is asked to end in order.
        for process in reversed(tuple(self._programs.values())):
            process.kill()
            process.wait()


class ExistingCluster:
    """A cluster that belongs to somebody else: what would stop it, or make users of it, is not done."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig

    @property
    def server(self) -> str:
        """Skips the test."""
        _only_with_our_own()

    def user(self, name: str, groups: Sequence[str] = ()) -> Path:
        """Skips the test."""
        _only_with_our_own()

    async def stop_server(self) -> None:
        """Skips the test."""
        _only_with_our_own()

    async def start_server(self) -> None:
        """Skips the test."""
        _only_with_our_own()

    async def compact(self) -> None:
        """Skips the test."""
        _only_with_our_own()

    async def remove_namespace(self, name: str) -> None:
        """Delete a namespace with all that is in it, which happens later."""
        async with await Cluster.connect(self.kubeconfig) as cluster:
            await cluster.delete(NAMESPACES, name)


def missing(minor: str = "") -> str | None:
    """Why no API server, or none like that of a minor version, can be started here; None where one can."""
    lacking = [name for name in ("etcd", "kube-apiserver") if programs.find(name) is None]
    if lacking:
        return (
            f"no {' and no '.join(lacking)}: build them with `make apiserver`, or set KUBEBUILDER_ASSETS to their "
            "folder, or USE_EXISTING_CLUSTER=true"
        )
    if programs.find_api_server(minor) is None:
        return f"no kube-apiserver that can be like one of Kubernetes {minor}: build it with `make apiserver`"
    return None


def oldest() -> str:
    """The oldest minor version that an API server can be like here: 1.31, if `make apiserver` has built all."""
    return (programs.OLDER if missing(programs.OLDER.oldest) is None else programs.NEWEST).oldest


def require_api_server(minor: str = "") -> None:
    """Skip the test, with the reason, where no API server can be started; with REQUIRE_REAL_API=1 fail instead.

    Where the programs are named by KUBEBUILDER_ASSETS, which has one version of them, an older one is not required.
    """
    if (reason := missing(minor)) is None:
        return
    required = os.environ.get("REQUIRE_REAL_API") == "1" and not (minor and "KUBEBUILDER_ASSETS" in os.environ)
    (pytest.fail if required else pytest.skip)(reason)


@pytest.fixture(scope="session")
def api_server() -> Iterator[ApiServer]:
    """An API server for all tests of this process; each takes a `namespace` of its own."""
    if os.environ.get("USE_EXISTING_CLUSTER", "").lower() == "true":
        yield ExistingCluster(Path(os.environ.get("KUBECONFIG", Path.home() / ".kube/config")))
        return
    require_api_server()
    with LocalApiServer.running() as server:
        yield server


@pytest.fixture
async def cluster(api_server: ApiServer) -> AsyncIterator[Cluster]:
    """A connection to the API server as an administrator."""
    async with await Cluster.connect(api_server.kubeconfig) as connected:
        yield connected


@contextlib.asynccontextmanager
async def a_namespace(api_server: ApiServer, cluster: Cluster) -> AsyncIterator[str]:
    """The name of a fresh namespace, in which Pods can be made; it is deleted at the end."""
    name = f"test-{secrets.token_hex(4)}"
    await cluster.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    await _default_service_account(cluster, name)
    yield name
    await api_server.remove_namespace(name)


@pytest.fixture
async def namespace(api_server: ApiServer, cluster: Cluster) -> AsyncIterator[str]:
    """A fresh namespace of the test's own; see `a_namespace`."""
    async with a_namespace(api_server, cluster) as name:
        yield name


async def _default_service_account(cluster: Cluster, namespace: str) -> None:
    """The controllers make it, and no Pod may be made before."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                await cluster.get(SERVICE_ACCOUNTS, "default", namespace)
            except ApiError as error:
                if not error.not_found:
                    raise
            else:
                return
            await asyncio.sleep(0.05)


def _tail(log: Path, lines: int) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _only_with_our_own() -> NoReturn:
    pytest.skip("only with an API server that the tests have started themselves")
