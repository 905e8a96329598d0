"""The harness's own node: pods of a real API server run as Kubernetes says that they do."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from dragoman.kube import resources
from e2e.harness import eventually
from e2e.harness.kubernetes import Kubernetes

pytestmark = [pytest.mark.real_api, pytest.mark.netns, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kubernetes() -> AsyncIterator[Kubernetes]:
    """One cluster for all of these tests."""
    async with Kubernetes.running() as running:
        yield running


async def test_a_deployment_is_reached_by_its_service(kubernetes: Kubernetes) -> None:
    await kubernetes.apply("""
apiVersion: v1
kind: Service
metadata: {name: server}
spec:
  selector: {app: server}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: server}
spec:
  replicas: 2
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server}}
    spec:
      containers:
      - name: server
        image: echo
        args: [--http=8080, --workload=server, --version=$(POD_NAME)]
        env: [{name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {port: http}, periodSeconds: 1}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: client}
spec:
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: client, image: echo}]
""")
    await kubernetes.rolled_out("server")
    await kubernetes.rolled_out("client")
    (client,) = kubernetes.running_pods("default", app="client")
    servers = {pod["metadata"]["name"] for pod in kubernetes.running_pods("default", app="server")}

    async def answering(name: str) -> set[str]:
        """The servers take their turns."""
        return {(await kubernetes.client(client).http(f"http://{name}/")).echo.version for _ in range(4)}

    await eventually(
        partial(answering, "server"), lambda seen: seen == servers
    )  # EndpointSlices are written after the pods' status

    await kubernetes.cluster.patch(resources.DEPLOYMENTS, "server", {"spec": {"replicas": 1}}, "default")
    await kubernetes.rolled_out("server")
    (left,) = kubernetes.running_pods("default", app="server")
    whole = partial(answering, "server.default.svc.cluster.local")
    await eventually(whole, lambda seen: seen == {left["metadata"]["name"]})


async def test_a_job_ends_though_its_sidecar_would_not(kubernetes: Kubernetes) -> None:
    await kubernetes.apply("""
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  template:
    spec:
      restartPolicy: Never
      volumes: [{name: shared, emptyDir: {}}]
      initContainers:
      - name: first
        image: shell
        args: [-c, "echo first >> /shared/order"]
        volumeMounts: [{name: shared, mountPath: /shared}]
      - name: sidecar
        image: shell
        restartPolicy: Always
        args:
        - -c
        - trap 'echo ended; exit 0' TERM; echo sidecar >> /shared/order; touch /shared/up; while :; do sleep 0.1; done
        startupProbe:
          {exec: {command: [test, -e, /shared/up]}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 60}
        volumeMounts: [{name: shared, mountPath: /shared}]
      containers:
      - name: main
        image: shell
        args: [-c, "cat /shared/order"]
        volumeMounts: [{name: shared, mountPath: /shared}]
""")
    job = await kubernetes.until(resources.JOBS, "once", "default", lambda job: job["status"].get("succeeded") == 1)
    assert job["status"].get("failed", 0) == 0
    await kubernetes.pods.caught_up()
    pod = next(pod for pod in kubernetes.pods.objects if pod["metadata"]["labels"].get("job-name") == "once")
    worker = kubernetes.worker(pod)
    assert worker.log("main").read_text() == "first\nsidecar\n"
    assert worker.log("sidecar").read_text() == "ended\n"
    assert pod["status"]["phase"] == "Succeeded"


async def test_what_a_pod_is_given(kubernetes: Kubernetes) -> None:
    await kubernetes.apply("""
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: green}
---
apiVersion: v1
kind: Secret
metadata: {name: key}
stringData: {key: open sesame}
---
apiVersion: v1
kind: Pod
metadata: {name: given, labels: {app: given}}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {runAsUser: 1337, runAsGroup: 1337, runAsNonRoot: true, fsGroup: 2000}
  volumes:
  - name: all
    projected:
      sources:
      - configMap: {name: settings}
      - secret: {name: key, items: [{key: key, path: secret/key}]}
      - downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}
      - serviceAccountToken: {path: token, audience: istio-ca}
  containers:
  - name: main
    image: shell
    args:
    - -c
    - |
      cd /var/run/given && id -u && id -g && cat colour secret/key labels && echo &&
      echo $COLOUR $KEY $POD_IP $NODE $CPU $REFERRED $(hostname) && touch /etc/not-allowed; touch /var/scratch; sleep 1d
    env:
    - {name: COLOUR, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}
    - {name: KEY, valueFrom: {secretKeyRef: {name: key, key: key}}}
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}
    - {name: REFERRED, value: is-$(COLOUR)-$$(COLOUR)}
    resources: {limits: {cpu: 500m, memory: 1Gi}}
    securityContext: {readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}, allowPrivilegeEscalation: false}
    volumeMounts: [{name: all, mountPath: /var/run/given, readOnly: true}]
""")
    pod = await kubernetes.until(resources.PODS, "given", "default", _is_ready)
    address = pod["status"]["podIP"]
    worker = kubernetes.worker(pod)
    # Of its last line all: what it says of an error is written in parts.
    log = await eventually(
        _reading(worker.log("main")), lambda text: "/var/scratch" in text and text.endswith("\n"), steady=0
    )
    lines = log.splitlines()
    assert lines[:3] == ["1337", "1337", 'greenopen sesameapp="given"']
    assert f"green open sesame {address} node-a 500 is-green-$(COLOUR) given" in lines
    assert log.count("Read-only file system") == 2

    token = await worker.execute("main", ["cat", "/var/run/given/token"])
    await token.wait()
    claims = json.loads(base64.urlsafe_b64decode(worker.log("main").read_text().split(".")[-2] + "=="))
    assert claims["aud"] == ["istio-ca"]
    assert claims["kubernetes.io"]["pod"]["name"] == "given"

    await kubernetes.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {colour: blue}}")

    async def colour() -> str:
        before = len(worker.log("main").read_text())
        await (await worker.execute("main", ["cat", "/var/run/given/colour"])).wait()
        return worker.log("main").read_text()[before:]

    await eventually(colour, lambda text: text == "blue", steady=0)


async def test_a_container_whose_liveness_probe_fails_is_started_anew(kubernetes: Kubernetes) -> None:
    await kubernetes.apply("""
apiVersion: v1
kind: Pod
metadata: {name: sick}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: shell
    args: [-c, "touch /run/well; while true; do sleep 0.1; done"]
    readinessProbe: &well
      {exec: {command: [test, -e, /run/well]}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 2}
    livenessProbe: *well
    startupProbe:
      {exec: {command: [test, -e, /run/well]}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 60}
""")
    pod = await kubernetes.until(resources.PODS, "sick", "default", _is_ready)
    await (await kubernetes.worker(pod).execute("main", ["rm", "/run/well"])).wait()

    def is_started_anew(pod: Mapping[str, Any]) -> bool:
        (status,) = pod["status"]["containerStatuses"]
        return bool(status["restartCount"] == 1 and status["ready"] and status["lastState"]["terminated"]["exitCode"])

    await kubernetes.until(resources.PODS, "sick", "default", is_started_anew)


async def test_a_pod_that_is_deleted_ends_in_order(kubernetes: Kubernetes) -> None:
    """Hooks of all run at the same time, so one may wait for another; none of them runs before all traps are set."""
    loop = "while true; do sleep 0.05; done"

    def until(condition: str) -> str:
        return f"until {condition}; do sleep 0.02; done"

    first = f"{until('[ -e /shared/sidecar ] && [ -e /shared/main ]')}; echo sidecar hook >> /shared/order"
    second = f"{until('[ -s /shared/order ]')}; echo main hook >> /shared/order"
    await kubernetes.apply(f"""
apiVersion: v1
kind: Pod
metadata: {{name: ending}}
spec:
  volumes: [{{name: shared, emptyDir: {{}}}}]
  initContainers:
  - name: sidecar
    image: shell
    restartPolicy: Always
    args: [-c, "trap 'echo sidecar ends >> /shared/order; exit 0' TERM; touch /shared/sidecar; {loop}"]
    lifecycle: {{preStop: {{exec: {{command: [sh, -c, "{first}"]}}}}}}
    volumeMounts: [{{name: shared, mountPath: /shared}}]
  containers:
  - name: main
    image: shell
    args: [-c, "trap 'sleep 0.5; echo main ends >> /shared/order; exit 0' TERM; touch /shared/main; {loop}"]
    lifecycle: {{preStop: {{exec: {{command: [sh, -c, "{second}"]}}}}}}
    volumeMounts: [{{name: shared, mountPath: /shared}}]
""")
    pod = await kubernetes.until(resources.PODS, "ending", "default", _is_ready)
    order = kubernetes.worker(pod).folder / "volumes/shared/order"
    await kubernetes.cluster.delete(resources.PODS, "ending", "default")
    await kubernetes.gone(resources.PODS, "ending", "default")
    assert order.read_text().splitlines() == ["sidecar hook", "main hook", "main ends", "sidecar ends"]


def _reading(path: Path) -> Callable[[], Awaitable[str]]:
    return lambda: asyncio.to_thread(path.read_text)


def _is_ready(pod: Mapping[str, Any]) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", ()))
