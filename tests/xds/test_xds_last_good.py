"""Which version is the last good one after versions come and go."""

import pytest
from model_envoy import content

from dragoman.codec import CLUSTER
from xds import DeltaRequest, DeltaStream, SotwRequest, SotwStream, Stream, View
from xds.request import Request

REF = (CLUSTER, "a")


def answer(stream: Stream[Request], request: type[Request], error: str | None = None) -> None:
    """Take what there is, or reject it."""
    while (response := stream.next_response(0.0)) is not None:
        stream.receive(request(CLUSTER, nonce=response.nonce, error=error), 0.0)


@pytest.mark.parametrize(("machine", "request_"), [(DeltaStream, DeltaRequest), (SotwStream, SotwRequest)])
def test_a_version_that_comes_back_and_is_acked_again_is_the_last_good(
    machine: type[Stream[Request]], request_: type[Request]
) -> None:
    """It is the same response as before, from the cache, and was ACKed then, too."""
    view = View("test")
    stream = machine((view,), proxy="p")
    stream.receive(request_(CLUSTER), 0.0)
    for revision in (1, 2, 1, 2, 1):
        view.apply({REF: content(CLUSTER, "a", revision)})
        answer(stream, request_)
    view.apply({REF: content(CLUSTER, "a", 3)})
    answer(stream, request_, error="Error adding/updating cluster(s) a: no")
    served, first = view.get(REF), content(CLUSTER, "a", 1)
    assert served is not None
    assert served.version == first.version


def test_the_first_rejection_of_a_version_is_the_one_that_is_told() -> None:
    """Proxies that were sent the version at the same time say the same after it: since when, and by whom, stays."""
    view = View("test")
    streams = [DeltaStream((view,), proxy=proxy) for proxy in ("first", "second")]
    for stream in streams:
        stream.receive(DeltaRequest(CLUSTER), 0.0)
        answer(stream, DeltaRequest)
    view.apply({REF: content(CLUSTER, "a", 1)})
    responses = [stream.next_response(0.0) for stream in streams]
    for stream, response in zip(streams, responses, strict=True):
        assert response is not None
        error = f"Error adding/updating cluster(s) a: {len(view.rejections())}"
        stream.receive(DeltaRequest(CLUSTER, nonce=response.nonce, error=error), 0.0)
    (rejection,) = view.rejections()
    assert (rejection.proxy, rejection.message[-1]) == ("first", "0")
