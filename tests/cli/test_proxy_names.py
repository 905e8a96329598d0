"""Which proxy a name on the command line means."""

import pytest
import typer

from dragoman.cli.inspect.proxies import named

KNOWN = (
    *("web-7d9f-bcd4x.shop", "web-7d9f-zzzzz.shop", "web-7d9f-bcd4x.test", "web-admin-7d9f-bcd4x.shop"),
    *("cart.shop", "cart-2.shop", "log-bcd4x.shop", "log-reader-4.shop"),
)


@pytest.mark.parametrize(
    ("wanted", "namespace", "expected"),
    [
        ("web-7d9f-zzzzz.shop", "", "web-7d9f-zzzzz.shop"),
        ("web-7d9f-z", "", "web-7d9f-zzzzz.shop"),
        ("web-7d9f-bcd4x", "test", "web-7d9f-bcd4x.test"),
        ("web", "test", "web-7d9f-bcd4x.test"),
        ("deployment/web-admin", "shop", "web-admin-7d9f-bcd4x.shop"),
        ("sts/cart", "shop", "cart-2.shop"),
        ("ds/log", "", "log-bcd4x.shop"),
        ("web-7d9f-zzzzz", "test", "web-7d9f-zzzzz.shop"),  # nothing of it in the namespace that was meant
        ("cart", "shop", "cart.shop"),  # the whole name, though another begins with it
        ("pod/cart", "shop", "cart.shop"),
        ("deployment/web", "shop", "web-7d9f-bcd4x.shop"),
        ("deploy/web.test", "shop", "web-7d9f-bcd4x.test"),
    ],
)
def test_the_proxy_that_is_meant(wanted: str, namespace: str, expected: str) -> None:
    assert named(wanted, namespace, KNOWN) == expected


@pytest.mark.parametrize(
    ("wanted", "namespace", "complaint"),
    [
        (
            "web",
            "shop",
            "'web' may be any of web-7d9f-bcd4x.shop, web-7d9f-zzzzz.shop, web-admin-7d9f-bcd4x.shop: give more",
        ),
        ("web-7d9f-bcd4x", "", "may be any of web-7d9f-bcd4x.shop, web-7d9f-bcd4x.test"),
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


def test_a_kind_without_pods_is_wrong_usage() -> None:
    with pytest.raises(typer.BadParameter, match="service/web"):
        named("service/web", "", KNOWN)
