"""Pages about objects, services and endpoints."""

from pathlib import Path

import yaml

from crds.decode import decode
from tests.debug.running_plane import MESH, running_plane


async def test_configz_holds_istios_objects_as_they_can_be_applied_again(tmp_path: Path) -> None:
    async with running_plane(tmp_path) as running:
        shown = await running.ask("/debug/configz")
        in_force = running.plane.world.objects
    written = [document for document in yaml.safe_load_all(MESH) if "istio.io" in document["apiVersion"]]
    assert [(document["kind"], document["metadata"]["name"]) for document in shown] == [
        ("DestinationRule", "web"),
        ("VirtualService", "web"),
    ]
    for document in shown:
        again = decode(document)
        assert again == in_force[again.key]
    assert {document["apiVersion"] for document in shown} == {document["apiVersion"] for document in written}


async def test_configz_holds_those_of_a_kind_and_of_a_namespace(tmp_path: Path) -> None:
    async with running_plane(tmp_path) as running:
        for question, kinds in (
            ("kind=VirtualService", ["VirtualService"]),
            ("kind=Gateway", []),
            ("namespace=shop", ["DestinationRule", "VirtualService"]),
            ("namespace=shop&kind=DestinationRule", ["DestinationRule"]),
            ("namespace=elsewhere&kind=DestinationRule", []),
        ):
            shown = await running.ask(f"/debug/configz?{question}")
            assert [document["kind"] for document in shown] == kinds, question


async def test_registryz_holds_the_services(tmp_path: Path) -> None:
    async with running_plane(tmp_path) as running:
        (service,) = await running.ask("/debug/registryz")
    assert service["hostname"] == "web.shop.svc.cluster.local"
    assert service["ports"] == [{"name": "http", "port": 8080, "protocol": "HTTP"}]
    assert service["defaultAddress"] == "10.96.0.1"
    assert service["Attributes"]["LabelSelectors"] == {"app": "web"}
    assert (service["Attributes"]["Name"], service["Attributes"]["Namespace"]) == ("web", "shop")


async def test_endpointz_holds_the_endpoints_of_each_port(tmp_path: Path) -> None:
    async with running_plane(tmp_path) as running:
        (entry,) = await running.ask("/debug/endpointz")
    assert entry["svc"] == "web.shop.svc.cluster.local:http"
    (endpoint,) = (each["endpoint"] for each in entry["ep"])
    assert endpoint["Addresses"] == ["10.1.0.1"]
    assert endpoint["EndpointPort"] == 8080
    assert endpoint["ServiceAccount"] == "web"
    assert endpoint["TLSMode"] == "istio"
    assert endpoint["HealthStatus"] == "HEALTHY"
    assert endpoint["Locality"] == {"Label": "r/z"}
