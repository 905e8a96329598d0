"""What the pages say of credentials: what is served, and what is wrong at which object."""

from __future__ import annotations

from pathlib import Path

from dragoman.codec import SECRET
from tests.debug.debug_proxy import proxy_at
from tests.debug.running_plane import MESH, RunningPlane, running_plane
from tests.debug.test_debug_secrecy import GATEWAY, secrets
from tests.support.until import until

NAME = "kubernetes://site"


async def has(running: RunningPlane, code: str) -> bool:
    return code in [problem["code"] for problem in (await running.ask("/debug/credentialz"))["problems"]]


async def test_what_is_served_and_the_code_of_what_is_broken_at_both_objects(
    tmp_path: Path, key_and_certificate: tuple[str, str]
) -> None:
    key, certificate = key_and_certificate
    file = tmp_path / "mesh.yaml"
    async with (
        running_plane(tmp_path, MESH + secrets(key, certificate)) as running,
        proxy_at(running.xds_port, GATEWAY) as proxy,
    ):
        await proxy.ask(SECRET, [NAME])
        good = await running.ask("/debug/credentialz")
        file.write_text(MESH + secrets("no key", certificate))
        await until(lambda: has(running, "DRG0502"))
        bad = await running.ask("/debug/credentialz")
        (kept,) = await running.ask("/debug/syncz")
        file.write_text(
            MESH + secrets(key, certificate).replace("{name: site, namespace: shop}\ntype", "{name: x}\ntype")
        )
        await until(lambda: has(running, "DRG0501"))

        async def lacks() -> bool:
            (status,) = await running.ask("/debug/syncz")
            return NAME in status["types"]["sds"].get("lacking", {})

        await until(lacks)
        (lacking,) = await running.ask("/debug/syncz")
    (served,) = good["served"]
    assert good["problems"] == []
    assert (served["namespace"], served["name"]) == ("shop", NAME)
    assert served["from"]["object"] == "Secret shop/site"
    assert served["notBefore"] < served["notAfter"]
    (named,) = served["namedBy"]
    assert (named["object"], named["field"]) == ("Gateway shop/site", "spec.servers[0].tls.credentialName")
    (problem,) = bad["problems"]
    assert (problem["code"], problem["severity"], problem["object"]) == ("DRG0502", "error", "Secret shop/site")
    assert (problem["field"], problem["keptLastGood"], problem["namedBy"]) == ("data[tls.key]", True, [named])
    assert problem["at"].startswith(f"{file}:")
    assert named["at"].startswith(f"{file}:")
    assert named["at"] != problem["at"]
    assert "lacking" not in kept["types"]["sds"], "the last good is there"
    assert "DRG0501" in lacking["types"]["sds"]["lacking"][NAME]
