"""The key that signs tokens on a laptop."""

import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from dragoman.callers.json_web_token import JsonWebToken
from dragoman.callers.token_issuer import ISSUER, KEY_FILE, TokenIssuer, TokenKeyError
from tests.callers.caller_samples import POD, WEB, bearer, now


async def test_another_process_verifies_what_one_has_issued(tmp_path: Path) -> None:
    text = TokenIssuer.load_or_create(tmp_path / "t").issue(POD, "web", now=now(), lifetime=timedelta(minutes=1))
    keys = TokenIssuer.load_or_create(tmp_path / "t").keys()
    caller = await JsonWebToken(ISSUER, ("istio-ca",), keys, lambda: "cluster.local").authenticate(bearer(text))
    assert caller is not None
    assert (caller.identities, caller.pod) == ((WEB,), POD)


def test_the_key_is_its_owners_alone(tmp_path: Path) -> None:
    issuer = TokenIssuer.load_or_create(tmp_path / "t")
    assert stat.S_IMODE((tmp_path / "t" / KEY_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "t").stat().st_mode) == 0o700
    assert "key" not in repr(issuer)
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == [KEY_FILE]


def test_processes_that_start_together_have_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        issuers = list(threads.map(lambda _: TokenIssuer.load_or_create(tmp_path / "t"), range(8)))
    assert len({issuer.key_id for issuer in issuers}) == 1


def test_a_file_that_is_no_key_is_told(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_text("no key")
    with pytest.raises(TokenKeyError, match="remove it"):
        TokenIssuer.load_or_create(tmp_path)
