"""A key and certificate that an operator might have put into a Secret."""

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ca.authority import new_root


@pytest.fixture(scope="session")
def key_and_certificate() -> tuple[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    leaf = new_root("example.com", now=datetime.now(UTC)).sign(
        key.public_key(), dns_names=("example.com",), now=datetime.now(UTC)
    )
    written = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return written.decode(), leaf.public_bytes(Encoding.PEM).decode()
