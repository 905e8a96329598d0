"""The rows of security run: small, with numbers that can be right."""

from e2e.bench import security
from e2e.bench.mesh import Size


async def test_callers_with_tls_and_tokens_come_back_and_get_what_changed_only() -> None:
    metrics = await security.reconnect(Size(20, replicas=4))
    assert metrics["unserved"] == metrics["retries"] == 0
    assert 0 < metrics["served_p50_s"] <= metrics["all_served_s"]
    # Nobody had held the key meanwhile, so it is a new one; all else they had.
    assert metrics["messages"] == 4
    assert metrics["bytes"] < 4 * 2000
