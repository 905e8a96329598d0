"""What `serve` is told of a signer elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.cli_runs import run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--config", ".", "--external-signer", "example.com/mesh"), "say --kubernetes"),
        (
            ("--kubernetes", "--external-signer", "example.com/mesh", "--certificate-lifetime", "5m"),
            "a signer is asked for 0:10:00 at least",
        ),
        (("--kubernetes", "--signer-roots", "roots.pem"), "--signer-roots is of an --external-signer"),
        (("--kubernetes", "--signer-crl", "roots.pem"), "--signer-crl is of an --external-signer"),
        (
            ("--kubernetes", "--external-signer", "example.com/mesh", "--signer-roots", "roots.pem"),
            "roots.pem is no PEM of certificates",
        ),
        (
            ("--kubernetes", "--external-signer", "example.com/mesh", "--signer-crl", "roots.pem"),
            "roots.pem holds no PEM revocation list",
        ),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "roots.pem").write_text("nonsense")
    result = run("serve", *arguments)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.replace("│", " ").split())
