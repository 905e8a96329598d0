"""Kubernetes asked over HTTP, by a server that answers as an API server does."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from dragoman.callers.credentials import NotAuthenticatedError, UnavailableError
from dragoman.callers.token_review import TokenReview
from tests.callers.api_connection import connected
from tests.callers.caller_samples import POD, WEB, bearer, token

STATUS: dict[str, Any] = {
    "authenticated": True,
    "audiences": ["istio-ca"],
    "user": {
        "username": "system:serviceaccount:shop:web",
        "groups": ["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"],
        "extra": {
            "authentication.kubernetes.io/pod-name": ["web-1"],
            "authentication.kubernetes.io/pod-uid": ["u-1"],
            "authentication.kubernetes.io/node-name": ["n1"],
        },
    },
}


class Reviewer:
    def __init__(self) -> None:
        self.answer: Any = {"status": STATUS}
        self.code = 201
        self.reviews: list[Any] = []
        self.authorization = ""

    async def review(self, request: web.Request) -> web.Response:
        self.reviews.append(await request.json())
        self.authorization = request.headers["Authorization"]
        return web.json_response(self.answer, status=self.code)


@pytest.fixture
async def reviewed(tmp_path: Path) -> AsyncIterator[tuple[Reviewer, TokenReview]]:
    found = Reviewer()
    application = web.Application()
    application.router.add_post("/apis/authentication.k8s.io/v1/tokenreviews", found.review)
    async with TestServer(application) as server, connected(str(server.make_url("")).rstrip("/"), tmp_path) as api:
        yield found, TokenReview(api, ("istio-ca",), lambda: "cluster.local")


async def test_kubernetes_vouches_for_a_pod(reviewed: tuple[Reviewer, TokenReview]) -> None:
    server, authenticator = reviewed
    theirs = token()
    caller = await authenticator.authenticate(bearer(theirs))
    assert caller is not None
    assert caller.identities == (WEB,)
    assert caller.pod == POD
    assert caller.expires_at is not None
    (review,) = server.reviews
    assert review["kind"] == "TokenReview"
    assert review["spec"] == {"token": theirs, "audiences": ["istio-ca"]}
    assert server.authorization == "Bearer ours"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"authenticated": False, "error": "token is expired"}, "token is expired"),
        ({"authenticated": "yes"}, "does not know"),
        ({"audiences": ["vault"]}, "another audience"),
        ({"audiences": None}, "another audience"),
        ({"user": {"username": "alice", "groups": ["system:serviceaccounts"]}}, "not that of a service account"),
        ({"user": {"username": "system:serviceaccount:shop:web", "groups": []}}, "not that of a service account"),
        ({"user": None}, "not that of a service account"),
    ],
)
async def test_what_kubernetes_does_not_vouch_for(
    reviewed: tuple[Reviewer, TokenReview], changes: dict[str, Any], why: str
) -> None:
    server, authenticator = reviewed
    server.answer = {"status": STATUS | changes}
    with pytest.raises(NotAuthenticatedError, match=why):
        await authenticator.authenticate(bearer(token()))


@pytest.mark.parametrize(("code", "answer"), [(500, {}), (403, {}), (201, []), (201, {}), (201, {"status": 3})])
async def test_an_api_server_that_cannot_say_is_no_refusal(
    reviewed: tuple[Reviewer, TokenReview], code: int, answer: Any
) -> None:
    server, authenticator = reviewed
    server.code, server.answer = code, answer
    with pytest.raises(UnavailableError):
        await authenticator.authenticate(bearer(token()))


async def test_an_api_server_that_is_not_there(tmp_path: Path) -> None:
    async with connected("http://127.0.0.1:1", tmp_path) as nobody:
        authenticator = TokenReview(nobody, ("istio-ca",), lambda: "cluster.local")
        with pytest.raises(UnavailableError, match="cannot be asked"):
            await authenticator.authenticate(bearer(token()))
