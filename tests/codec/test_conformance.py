"""Every class, random content: what `encode` writes is what the stock encoder means, and is minimal."""

import random

import pytest
from betterproto2 import Message

from dragoman.codec import decode, encode
from tests.codec.random_messages import RandomMessages, v3_classes


@pytest.fixture(scope="module")
def classes() -> list[type[Message]]:
    return v3_classes()


@pytest.mark.parametrize("seed", [20260101, random.SystemRandom().randrange(10**9)], ids=["fixed", "fresh"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_all_classes_agree_with_the_stock_encoder(
    classes: list[type[Message]], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    print(f"seed {seed}")  # noqa: T201 - pytest shows it when the test fails
    # Validation takes most of the stock encoder's time and changes no byte.
    monkeypatch.setattr(Message, "_validate", lambda self: None)
    messages = RandomMessages(seed)
    for cls in classes * 6:
        message = messages.message(cls, depth=3)
        encoded = encode(message)
        ours, stock = decode(cls, encoded), decode(cls, bytes(message))
        assert ours == stock, message
        # Minimal, and in the same order as what has been merged or read from JSON.
        assert encoded == ours.SerializeToString(deterministic=True), message
    assert len(classes) > 1350
