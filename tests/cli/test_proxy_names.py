"""Which proxy a name on the command line means."""

import pytest

from dragoman.cli.inspect.proxies import named

KNOWN = ("web-7d9-abc.shop", "web-7d9-def.shop", "web-7d9-abc.test", "cart.shop", "cart-2.shop")


@pytest.mark.parametrize(
    ("wanted", "namespace", "expected"),
    [
        ("web-7d9-def.shop", "", "web-7d9-def.shop"),
        ("web-7d9-d", "", "web-7d9-def.shop"),
        ("web-7d9-abc", "test", "web-7d9-abc.test"),
        ("web", "test", "web-7d9-abc.test"),
        ("web-7d9-def", "test", "web-7d9-def.shop"),  # nothing of it in the namespace that was meant
        ("cart", "shop", "cart.shop"),  # the whole name, though another begins with it
        ("pod/cart", "shop", "cart.shop"),
        ("deployment/web", "shop", "web-7d9-abc.shop"),
        ("deploy/web.test", "shop", "web-7d9-abc.test"),
    ],
)
def test_the_proxy_that_is_meant(wanted: str, namespace: str, expected: str) -> None:
    assert named(wanted, namespace, KNOWN) == expected


@pytest.mark.parametrize(
    ("wanted", "namespace", "complaint"),
    [
        ("web", "shop", "'web' may be any of web-7d9-abc.shop, web-7d9-def.shop: give more of the name"),
        ("web-7d9-abc", "", "may be any of web-7d9-abc.shop, web-7d9-abc.test"),
        ("nobody", "", "no connected proxy 'nobody'; there are cart-2.shop, cart.shop, "),
        ("deployment/nobody", "shop", "no connected proxy 'deployment/nobody'"),
    ],
)
def test_names_that_mean_none_or_several(
    wanted: str, namespace: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        named(wanted, namespace, KNOWN)
    assert ended.value.code == 1
    assert complaint in capsys.readouterr().err
