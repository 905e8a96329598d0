"""x-forwarded-client-cert as Envoy writes it, in all its quoting."""

import pytest

from dragoman.demo.callers import verified_caller

WEB = "spiffe://cluster.local/ns/shop/sa/web"


@pytest.mark.parametrize(
    ("header", "caller"),
    [
        pytest.param("", None, id="plaintext"),
        pytest.param(f"By=spiffe://cluster.local/ns/shop/sa/catalog;Hash=ab12;URI={WEB}", WEB, id="uri-last"),
        pytest.param(f"Hash=ab12;URI={WEB};DNS=web.shop.svc", WEB, id="uri-in-the-middle"),
        pytest.param(f'Hash=1;Subject="CN=web,O=a;URI=spiffe://forged";URI={WEB}', WEB, id="separators-in-quotes"),
        pytest.param(f'Subject="CN=\\"web\\",O=a";URI={WEB}', WEB, id="escaped-quotes"),
        pytest.param(f"Hash=1;URI=spiffe://forged,Hash=2;URI={WEB}", WEB, id="the-nearest-proxy-counts"),
        pytest.param('Hash=1;URI=spiffe://forged,Hash=2;Subject="CN=a"', None, id="the-nearest-proxy-verified-none"),
        pytest.param('Hash=1;Subject="";URI=', None, id="certificate-without-uri"),
    ],
)
def test_the_caller_is_the_uri_of_the_last_element(header: str, caller: str | None) -> None:
    assert verified_caller(header) == caller
