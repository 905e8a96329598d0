"""Config dumps as Envoy and as the control plane write them, and what nobody may read in them."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from ca.authority import new_root
from ca.secrets import root_secret_by_domain
from dragoman.cli.inspect.config_dump import bootstrap, canonical, resources
from dragoman.cli.inspect.config_tables import TABLES
from dragoman.cli.inspect.redaction import redacted
from dragoman.cli.main import app
from dragoman.codec import to_json
from tests.cli.cli_runs import run

ADMIN = "type.googleapis.com/envoy.admin.v3."
ENVOYS: dict[str, Any] = {
    "configs": [
        {"@type": f"{ADMIN}BootstrapConfigDump", "bootstrap": {"node": {"id": "n"}}},
        {
            "@type": f"{ADMIN}ClustersConfigDump",
            "static_clusters": [{"cluster": {"@type": "t", "name": "xds", "type": "STATIC"}}],
            "dynamic_active_clusters": [
                {
                    "cluster": {
                        "@type": "t",
                        "name": "outbound|80||web.shop.svc.cluster.local",
                        "type": "EDS",
                        "metadata": {
                            "filter_metadata": {
                                "istio": {"config": "/apis/networking.istio.io/v1/namespaces/shop/destination-rule/web"}
                            }
                        },
                    }
                }
            ],
        },
        {
            "@type": f"{ADMIN}ListenersConfigDump",
            "dynamic_listeners": [
                {"name": "draining", "draining_state": {"listener": {"name": "draining"}}},
                {
                    "name": "l",
                    "active_state": {
                        "listener": {
                            "name": "l",
                            "address": {"socket_address": {"address": "10.0.0.1", "port_value": 80}},
                            "filter_chains": [
                                {
                                    "filter_chain_match": {"destination_port": 8080, "server_names": ["a", "b"]},
                                    "filters": [{"typed_config": {"rds": {"route_config_name": "80"}}}],
                                }
                            ],
                        }
                    },
                },
            ],
        },
        {
            "@type": f"{ADMIN}SecretsConfigDump",
            "dynamic_warming_secrets": [{"name": "kubernetes://site", "secret": {"name": "kubernetes://site"}}],
        },
    ]
}


def rows(dump: dict[str, Any], section: str) -> list[tuple[str, ...]]:
    return [row for each in resources(dump, section) for row in TABLES[section].rows(each.entry)]


def test_envoys_own_names_of_fields_make_the_same_tables() -> None:
    expected = {
        "clusters": [
            ("web.shop.svc.cluster.local", "80", "-", "outbound", "EDS", "web.shop"),
            ("xds", "-", "-", "-", "STATIC", ""),
        ],
        "listeners": [("10.0.0.1", "80", "Port: 8080; SNI: a,b", "Route: 80")],
        "routes": [],
        "endpoints": [],
        "secrets": [("kubernetes://site", "-", "WARMING", "-", "-", "-", "-")],
    }
    assert {section: rows(ENVOYS, section) for section in TABLES} == expected
    assert {section: rows(canonical(ENVOYS), section) for section in TABLES} == expected


def test_roots_of_every_trust_domain_are_listed_once() -> None:
    own, other = (new_root(name, now=datetime.now(UTC)) for name in ("own", "other"))
    secret = root_secret_by_domain({"a": own.roots_pem, "b": own.roots_pem + other.roots_pem})
    entry = {"name": secret.name, "secret": to_json(secret.type_url, secret.payload)}
    dump = {"configs": [{"@type": f"{ADMIN}SecretsConfigDump", "dynamic_active_secrets": [entry]}]}
    serials = [f"{each.certificate.serial_number:x}" for each in (own, other)]
    assert [(row[0], row[1], row[4]) for row in rows(dump, "secrets")] == [("ROOTCA", "CA", each) for each in serials]


def test_what_was_written_stays_as_it_was() -> None:
    (web, _) = resources(ENVOYS, "clusters")
    assert "filter_metadata" in web.written["metadata"]
    assert "@type" not in web.written
    assert bootstrap(ENVOYS) == {"node": {"id": "n"}}
    assert bootstrap({"configs": []}) is None


def test_no_secret_is_left_whatever_wrote_it() -> None:
    secret = "-----BEGIN PRIVATE KEY-----"  # noqa: S105
    inline = base64.b64encode(secret.encode()).decode()
    found: dict[str, Any] = {
        "note": "kept",
        "tls_certificate": {
            "certificate_chain": {"inline_bytes": "c2VlbiBieSBhbGw="},
            "private_key": {"inline_bytes": inline},
            "password": {"inline_string": secret},
            "private_key_provider": {"typed_config": {"private_key": {"inlineString": secret}}},
        },
        "genericSecret": {"secret": {"inlineString": secret}},
        "sessionTicketKeys": {"keys": [{"inlineBytes": inline}, {"filename": "/keys"}]},
        "call_credentials": [{"access_token": secret}],
    }
    left = redacted(found)
    written = json.dumps(left)
    assert secret not in written
    assert inline not in written
    assert left["tls_certificate"]["certificate_chain"] == found["tls_certificate"]["certificate_chain"]
    assert left["sessionTicketKeys"]["keys"][1] == {"filename": "/keys"}
    assert base64.b64decode(left["tls_certificate"]["private_key"]["inline_bytes"]) == b"[redacted]"


def test_a_file_from_anywhere_is_redacted_before_it_is_shown(tmp_path: Path) -> None:
    secret = "-----BEGIN PRIVATE KEY-----\nabcdef\n-----END PRIVATE KEY-----\n"  # noqa: S105
    certificate = {"privateKey": {"inlineString": secret}, "certificateChain": {"inlineString": "public"}}
    section = {
        "@type": f"{ADMIN}SecretsConfigDump",
        "dynamicActiveSecrets": [{"name": "default", "secret": {"name": "default", "tlsCertificate": certificate}}],
    }
    dump = tmp_path / "dump.json"
    dump.write_text(json.dumps({"configs": [*ENVOYS["configs"], section]}))
    for arguments in (["secrets"], ["secrets", "-o", "json"], ["all", "-o", "yaml"], ["all"]):
        shown = run("proxy-config", *arguments, "-f", dump)
        assert shown.exit_code == 0
        assert "default" in shown.stdout
        assert "abcdef" not in shown.output
    assert json.loads(run("pc", "bootstrap", "-f", dump).stdout) == {"bootstrap": {"node": {"id": "n"}}}


def test_a_dump_on_standard_input() -> None:
    arguments = ["proxy-config", "clusters", "-f", "-", "-o", "json", "--direction", "outbound"]
    result = CliRunner().invoke(app, arguments, input=json.dumps(ENVOYS))
    assert [cluster["name"] for cluster in json.loads(result.stdout)] == ["outbound|80||web.shop.svc.cluster.local"]
    refused = CliRunner().invoke(app, ["proxy-config", "clusters", "-f", "-"], input="[]")
    assert refused.exit_code == 1
    assert "is no config dump" in refused.stderr
    both = CliRunner().invoke(app, ["proxy-config", "clusters", "web", "-f", "-"], input=json.dumps(ENVOYS))
    assert both.exit_code == 2
    assert "say no other" in both.output
