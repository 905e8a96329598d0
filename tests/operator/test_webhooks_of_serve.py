"""`dragoman serve --kubernetes` behind a real API server: what kubectl says, what becomes of pods."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from crds.virtualservice import VirtualService
from dragoman.kube import ApiError, Cluster
from dragoman.kube.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    NAMESPACES,
    PODS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
)
from dragoman.operator.injector import PROXY_CONFIGS
from e2e.apiserver import programs
from tests.cli.cli_runs import Serving, serving
from tests.operator.installed_webhooks import Installed
from tests.support.api_server import ApiServer, a_namespace
from tests.support.custom_resources import install_once
from tests.support.until import until

pytestmark = [pytest.mark.real_api, pytest.mark.asyncio(loop_scope="module")]


class Mesh:
    """A control plane, with the rights that the chart gives it, of a namespace that asks for injection by its label."""

    def __init__(self, installed: Installed, kubeconfig: Path, running: Serving) -> None:
        self.installed = installed
        self.cluster = installed.cluster
        self.namespace = installed.namespace
        self.running = running
        self._kubeconfig = kubeconfig

    async def kubectl(self, *arguments: str, given: dict[str, Any] | None = None) -> tuple[int, str, str]:
        """What it prints, and its exit code."""
        program = programs.find("kubectl")
        if program is None:
            pytest.skip("no kubectl: build it with `make apiserver`")
        process = await asyncio.create_subprocess_exec(
            *(str(program), f"--kubeconfig={self._kubeconfig}", f"--namespace={self.namespace}", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, error = await process.communicate(json.dumps(given).encode() if given is not None else None)
        assert process.returncode is not None
        return process.returncode, out.decode(), error.decode()

    async def create(self, name: str, **metadata: Any) -> dict[str, Any]:
        """A pod as the API server would store it."""
        pod = self.installed.pod(name)
        del pod["metadata"]["labels"]["istio.io/rev"]
        pod["metadata"] |= metadata
        return await self.cluster.create(PODS, pod, dry_run=True)


@asynccontextmanager
async def a_mesh(installed: Installed, api_server: ApiServer, folder: Path) -> AsyncIterator[Mesh]:
    address = f"{installed.address}:{installed.port}"
    kubeconfig = api_server.user(installed.user, ["system:serviceaccounts", "system:authenticated"])
    arguments = ("--kubernetes", "--kubeconfig", kubeconfig, "--namespace", installed.namespace)
    arguments = (*arguments, "--revision", installed.revision, "--webhook-address", address)
    async with serving(*arguments, state=folder) as running:
        await running.hear("serving proxies")
        labels = {"metadata": {"labels": {"istio.io/rev": installed.revision}}}
        await installed.cluster.patch(NAMESPACES, installed.namespace, labels)
        mesh = Mesh(installed, api_server.kubeconfig, running)

        async def ready() -> bool:
            webhooks = await installed.webhooks(VALIDATING_WEBHOOK_CONFIGURATIONS)
            if {each["failurePolicy"] for each in webhooks} != {"Fail"}:
                return False
            try:
                return "istio-proxy" in names_of(await mesh.create("first"))
            except ApiError as error:
                # The injector's bundle comes at its own time.
                if "failed calling webhook" not in error.message:
                    raise
                return False

        await until(ready, within=120)
        yield mesh
        assert await running.end() == 0


def names_of(pod: dict[str, Any]) -> list[str]:
    """The containers of a pod."""
    return [each["name"] for key in ("initContainers", "containers") for each in pod["spec"].get(key, ())]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    """One for all tests, as it takes seconds to start."""
    async with await Cluster.connect(api_server.kubeconfig) as cluster, a_namespace(api_server, cluster) as namespace:
        await install_once(cluster)
        installed = Installed(cluster, namespace)
        await installed.install()
        try:
            async with a_mesh(installed, api_server, tmp_path_factory.mktemp("state")) as value:
                yield value
        finally:
            await installed.uninstall()


async def test_kubectl_shows_everything_that_is_wrong_and_what_has_no_effect(mesh: Mesh) -> None:
    bad = mesh.installed.virtual_service("bad", regex="(")
    bad["spec"]["http"][0]["rewrite"] = {"uriRegexRewrite": {"match": "[", "rewrite": "/"}}
    code, _, said = await mesh.kubectl("create", "-f", "-", given=bad)
    assert code == 1
    assert 'The VirtualService "bad" is invalid' in said
    assert "* spec.http[0].match[0].uri.regex:" in said
    assert "* spec.http[0].rewrite.uriRegexRewrite.match:" in said
    assert said.count("[DRG0306]") == 2

    good = mesh.installed.virtual_service("good")
    code, out, said = await mesh.kubectl("apply", "-f", "-", given=good)
    assert (code, out, said) == (0, "virtualservice.networking.istio.io/good created\n", "")
    warned = mesh.installed.virtual_service("warned")
    warned["spec"]["http"][0]["delegate"] = {"name": "other"}
    del warned["spec"]["http"][0]["route"]
    code, _, said = await mesh.kubectl("apply", "-f", "-", given=warned)
    assert code == 0
    assert "Warning: DRG0206 spec.http[0].delegate" in said
    patch = '{"spec": {"http": [{"match": [{"uri": {"regex": "("}}], "route": [{"destination": {"host": "web"}}]}]}}'
    code, _, said = await mesh.kubectl("patch", "virtualservice", "good", "--type=merge", "-p", patch)
    assert code == 1
    assert "DRG0306" in said
    assert (await mesh.kubectl("delete", "virtualservice", "good", "warned"))[0] == 0


async def test_every_version_is_judged_and_names_may_be_left_to_the_api_server(mesh: Mesh) -> None:
    for version in VirtualService.resource.versions:
        bad = mesh.installed.virtual_service("bad", regex="(") | {"apiVersion": f"networking.istio.io/{version}"}
        code, _, said = await mesh.kubectl("create", "-f", "-", given=bad)
        assert (code, "DRG0306" in said) == (1, True), version
    unnamed = mesh.installed.virtual_service("unnamed")
    del unnamed["metadata"]["name"]
    unnamed["metadata"]["generateName"] = "web-"
    code, out, said = await mesh.kubectl("create", "-f", "-", given=unnamed)
    assert (code, said) == (0, "")
    name = out.split()[0]
    assert (await mesh.kubectl("label", name, "team=shop"))[0] == 0
    assert (await mesh.kubectl("delete", name))[0] == 0


async def test_pods_of_a_deployment_get_a_sidecar(mesh: Mesh) -> None:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "app"}]}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": mesh.namespace},
        "spec": {"replicas": 3, "selector": {"matchLabels": labels}, "template": template},
    }
    await mesh.cluster.create(DEPLOYMENTS, deployment)

    async def all_there() -> bool:
        return len(await mesh.cluster.list(PODS, mesh.namespace, label_selector="app=web")) == 3

    await until(all_there)
    for pod in await mesh.cluster.list(PODS, mesh.namespace, label_selector="app=web"):
        assert {"istio-init", "istio-proxy", "app"} == set(names_of(pod))
        metadata = pod["metadata"]
        assert metadata["labels"]["security.istio.io/tlsMode"] == "istio"
        assert metadata["labels"]["service.istio.io/canonical-name"] == "web"
        assert json.loads(metadata["annotations"]["sidecar.istio.io/status"])["revision"] == mesh.installed.revision


async def test_what_is_wrong_with_a_pods_annotations_keeps_it_out_and_says_so(mesh: Mesh) -> None:
    pod = mesh.installed.pod("bad")
    pod["metadata"]["annotations"] = {"traffic.sidecar.istio.io/includeInboundPorts": "eighty"}
    code, _, said = await mesh.kubectl("create", "-f", "-", given=pod)
    assert code == 1
    assert "metadata.annotations[traffic.sidecar.istio.io/includeInboundPorts]" in said
    assert "DRG0601" in said
    assert "istio-proxy" not in names_of(await mesh.create("out", labels={"sidecar.istio.io/inject": "false"}))
    left = await mesh.create("host", annotations={"sidecar.istio.io/inject": "false"})
    assert "istio-proxy" not in names_of(left)


async def test_the_injectors_settings_are_followed_and_bad_ones_leave_the_last_good(mesh: Mesh) -> None:
    async def image() -> str:
        pod = await mesh.create("web")
        (proxy,) = (
            each
            for key in ("initContainers", "containers")
            for each in pod["spec"].get(key, ())
            if each["name"] == "istio-proxy"
        )
        found: str = proxy["image"]
        return found

    name = f"istio-sidecar-injector-{mesh.installed.revision}"
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": mesh.namespace},
        "data": {"values": "global: {proxy: {image: example/envoy:1}}"},
    }
    assert await image() == "envoyproxy/envoy:distroless-v1.40.0"
    await mesh.cluster.create(CONFIG_MAPS, config_map)

    async def is_one() -> bool:
        return await image() == "example/envoy:1"

    await until(is_one)
    await mesh.cluster.patch(
        CONFIG_MAPS, name, {"data": {"values": "global: []", "config": "policy: enabled"}}, mesh.namespace
    )

    async def told() -> bool:
        return any("injector's settings not readable" in line for line in mesh.running.logged)

    await until(lambda: _both(is_one, told))
    proxy_config = {
        "apiVersion": PROXY_CONFIGS.api_version,
        "kind": PROXY_CONFIGS.kind,
        "metadata": {"name": "x", "namespace": mesh.namespace, "labels": {"istio.io/rev": mesh.installed.revision}},
        "spec": {"environmentVariables": {"TEAM": "shop"}},
    }
    await mesh.cluster.create(PROXY_CONFIGS, proxy_config)

    async def has_it() -> bool:
        return '"TEAM"' in json.dumps(await mesh.create("web"))

    await until(has_it)


async def _both(one: Any, other: Any) -> bool:
    return await one() and await other()


async def test_it_has_every_right_that_it_asks_for(mesh: Mesh) -> None:
    """All of its duties have begun: those of the leader, too."""

    async def spread() -> bool:
        names = [each["metadata"]["name"] for each in await mesh.cluster.list(CONFIG_MAPS, mesh.namespace)]
        return "istio-ca-root-cert" in names

    await until(spread)
    assert not [line for line in mesh.running.logged if "forbidden" in line.lower()]


async def test_many_pods_at_once_all_get_a_sidecar(mesh: Mesh) -> None:
    made = await asyncio.gather(*(mesh.create(f"web-{number}") for number in range(100)))
    assert all("istio-proxy" in names_of(pod) for pod in made)
