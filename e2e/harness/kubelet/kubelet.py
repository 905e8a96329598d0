"""The node: binds pods to itself and runs each of them."""

import asyncio
from collections.abc import Mapping

from dragoman.kube.errors import ApiError
from dragoman.kube.resources import NODES, PODS
from e2e.apiserver.programs import kubernetes_version
from e2e.harness.kubelet.pod_worker import RETRY_SECONDS, NodeServices, PodWorker
from e2e.harness.kubelet.watching import Object, Watched
from e2e.harness.namespaces import GATEWAY

_NODE_INFO = (
    *("machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion"),
    *("kubeletVersion", "kubeProxyVersion", "operatingSystem", "architecture"),
)


class Kubelet:
    """A scheduler and a kubelet in one. `run` until cancelled: that ends all programs of all pods."""

    def __init__(self, node: NodeServices, pods: Watched) -> None:
        self._node = node
        self._pods = pods
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._binding: set[asyncio.Task[None]] = set()

    def worker(self, pod: Object) -> PodWorker:
        """What runs a pod. Raises LookupError before it has been bound and after it has gone."""
        return self._workers[pod["metadata"]["uid"]]

    @property
    def workers(self) -> Mapping[str, PodWorker]:
        """The pods that run, by their uid."""
        return self._workers

    async def run(self) -> None:
        """Register the node and run pods until cancelled. Raises what a pod's life should not end with."""
        await self._register()
        self._pods.listen(self._changed)
        for pod in self._pods.objects:
            self._changed(pod, False)
        try:
            await asyncio.Event().wait()
        finally:
            for task in (*self._binding, *self._tasks.values()):
                task.cancel()
            await asyncio.gather(*self._binding, *self._tasks.values(), return_exceptions=True)

    async def _register(self) -> None:
        """The Node object: without it the endpoints of its pods would not be published."""
        labels = {
            "kubernetes.io/hostname": self._node.name,
            "kubernetes.io/os": "linux",
            "topology.kubernetes.io/region": "region-a",
            "topology.kubernetes.io/zone": "zone-a",
        }
        metadata = {"name": self._node.name, "labels": labels}
        await self._node.cluster.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": metadata})
        addresses = [{"type": "InternalIP", "address": GATEWAY}, {"type": "Hostname", "address": self._node.name}]
        conditions = [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]
        info = dict.fromkeys(_NODE_INFO, "") | {
            "kubeletVersion": f"v{kubernetes_version()}",
            "operatingSystem": "linux",
        }
        status = {"addresses": addresses, "conditions": conditions, "nodeInfo": info}
        await self._node.cluster.patch(NODES, self._node.name, {"status": status}, subresource="status")

    def _changed(self, pod: Object, gone: bool) -> None:
        metadata, spec = pod["metadata"], pod["spec"]
        uid = metadata["uid"]
        if gone:
            if uid in self._workers:
                self._workers[uid].terminate(0)
        elif not spec.get("nodeName"):
            if "deletionTimestamp" not in metadata:
                task = asyncio.create_task(self._bind(metadata["namespace"], metadata["name"]))
                self._binding.add(task)
                task.add_done_callback(self._binding.discard)
        elif spec["nodeName"] != self._node.name:
            return
        elif uid not in self._workers:
            worker = self._workers[uid] = PodWorker(self._node, pod)
            self._tasks[uid] = asyncio.create_task(self._run(uid, worker), name=f"pod {metadata['name']}")
            if "deletionTimestamp" in metadata:
                worker.terminate(0)
        elif "deletionTimestamp" in metadata:
            self._workers[uid].terminate(metadata["deletionGracePeriodSeconds"])
        else:
            self._workers[uid].update(pod)

    async def _run(self, uid: str, worker: PodWorker) -> None:
        try:
            await worker.run()
        finally:
            del self._workers[uid], self._tasks[uid]

    async def _bind(self, namespace: str, name: str) -> None:
        target = {"apiVersion": "v1", "kind": "Node", "name": self._node.name}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
        while True:
            try:
                await self._node.cluster.request("POST", PODS.path(namespace, name, "binding"), body=body)
            except ApiError as error:
                if not error.unavailable:
                    # One that is bound already, or gone: what is then to be done comes by the watch.
                    return
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return
