"""Nothing that is packed or shown holds a secret, whoever wrote it."""

import base64
import json
from typing import Any

import pytest

from dragoman.cli.inspect.redaction import redacted, redacted_text

KEY = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIB1c\n-----END EC PRIVATE KEY-----\n"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"  # noqa: S105
PASSWORD = "hunter2-hunter2"  # noqa: S105


@pytest.mark.parametrize(
    "secret",
    [
        {"privateKey": {"inlineString": PASSWORD}},
        {"private_key": {"inline_bytes": base64.b64encode(PASSWORD.encode()).decode()}},
        {"password": {"inline_string": PASSWORD}},
        {"token": PASSWORD},
        {"access_token": PASSWORD},
        {"clientSecret": PASSWORD},
        {"keys": [{"kty": "oct", "k": PASSWORD}]},
        # A header that a VirtualService sets, as written and as Envoy has it.
        {"headers": {"request": {"set": {"Authorization": PASSWORD}}}},
        {"header": {"key": "authorization", "value": PASSWORD}},
        {"header": {"key": "x-api-key", "raw_value": PASSWORD}},
        # Headers that requests are compared by.
        {"headers": {"cookie": {"exact": PASSWORD}}},
        {"header": {"name": "x-api-key", "string_match": {"exact": PASSWORD}}},
        {"when": [{"key": "request.headers[x-api-key]", "values": [PASSWORD], "notValues": [PASSWORD]}]},
        # Environment variables of pods.
        {"env": [{"name": "DB_PASSWORD", "value": PASSWORD}, {"name": "API_KEY", "value": PASSWORD}]},
    ],
)
def test_secret_fields(secret: dict[str, Any]) -> None:
    for document in (secret, [secret], {"configs": [{"deep": secret}]}):
        assert "[redacted]" in str(redacted(document)) or "W3JlZGFjdGVkXQ==" in str(redacted(document))
        assert PASSWORD not in str(redacted(document))
        assert base64.b64encode(PASSWORD.encode()).decode() not in str(redacted(document))
        assert PASSWORD not in redacted_text(json.dumps(document))


@pytest.mark.parametrize(
    "text",
    [
        KEY,
        f"log line: {KEY}",
        KEY[:50],  # an end that was cut off
        f"data: {base64.b64encode(KEY.encode()).decode()}",
        f"token {TOKEN}",
        f"Authorization: Bearer {PASSWORD}",
        f"authorization: basic {PASSWORD}",
        json.dumps({"message": f"caller sent {TOKEN}"}),
        json.dumps({"annotation": json.dumps({"data": {"tls.key": base64.b64encode(KEY.encode()).decode()}})}),
    ],
)
def test_secret_texts(text: str) -> None:
    left = redacted_text(text)
    for secret in ("MHcCAQEE", base64.b64encode(KEY.encode()).decode()[:40], TOKEN, PASSWORD):
        assert secret not in left


@pytest.mark.parametrize(
    "harmless",
    [
        {"name": "outbound|80||web", "type": "EDS", "metadata": {"filterMetadata": {"istio": {"config": "/apis/x"}}}},
        {"header": {"key": "x-version", "value": "v1"}},
        {"match": {"headers": {"end-user": {"exact": "me"}}}},
        {"env": [{"name": "LOG_LEVEL", "value": "debug"}]},
        {"certificateChain": {"inlineBytes": base64.b64encode(CERTIFICATE.encode()).decode()}},
        {"keys": [{"kty": "RSA", "n": "abc", "k": "kept"}]},
        {"privateKey": {"filename": "/etc/certs/key.pem"}},
        {"text": CERTIFICATE, "count": 3, "none": None},
    ],
)
def test_what_is_no_secret_stays(harmless: dict[str, Any]) -> None:
    assert redacted(harmless) == harmless


def test_what_only_looks_like_json_is_a_text() -> None:
    assert redacted_text("[info] started\n") == "[info] started\n"
    assert TOKEN not in redacted_text("{broken " + TOKEN)
