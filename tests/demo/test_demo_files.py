"""The YAML that the demo ships: right, readable by its own runner, and editable."""

from pathlib import Path

import pytest

from crds.problem import Severity
from dragoman.demo.files import EditError, MeshFolder, placed, shipped, with_weights
from dragoman.demo.workloads import workloads
from dragoman.sources.validation import check


@pytest.mark.parametrize("idea", [None, *shipped("ideas")])
def test_the_yaml_has_no_problem(tmp_path: Path, idea: str | None) -> None:
    files = dict(shipped("mesh"))
    if idea == "canary.yaml":
        files["prices-route.yaml"] = shipped("ideas")[idea]
    elif idea is not None:
        files[idea] = shipped("ideas")[idea]
    for name, text in files.items():
        MeshFolder(tmp_path).write(name, text)
    assert [str(report) for report in check([tmp_path]) if report.problem.severity is not Severity.INFO] == []


def test_each_workload_has_an_address_of_its_own() -> None:
    found = workloads(shipped("mesh").values())
    assert len({workload.address for workload in found}) == len(found) == 6
    assert [workload.pod for workload in found if workload.gateway] == ["gateway"]
    for workload in found:
        told = " ".join((*workload.command, *workload.environment.values()))
        assert workload.gateway or told.count(workload.address) == 2, "a program at an address of another pod"


def test_the_yaml_moves_to_other_addresses_and_ports() -> None:
    text = shipped("mesh")["web.yaml"]
    moved = placed(text, "127.10.7.", {8443: 8444, 9080: 9080, 15080: 16000})
    assert "127.10.0." not in moved
    workload = workloads([moved])[0]
    assert (workload.address, workload.port) == ("127.10.7.3", 8444)
    assert workload.environment == {"http_proxy": "http://127.10.7.3:16000"}
    assert "port: 8080" in moved, "the service's own port is bound by nobody"


def test_weights_are_set_in_their_order() -> None:
    text = shipped("mesh")["prices-route.yaml"]
    changed = with_weights(text, 30, 70)
    assert changed.index("weight: 30") < changed.index("weight: 70")
    assert with_weights(changed, 100, 0) == text


@pytest.mark.parametrize("weights", [(100,), (50, 25, 25)])
def test_weights_of_another_number_of_destinations_are_an_error(weights: tuple[int, ...]) -> None:
    with pytest.raises(EditError):
        with_weights(shipped("mesh")["prices-route.yaml"], *weights)
