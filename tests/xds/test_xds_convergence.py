"""Times of changes, carried to their ACKs."""

import asyncio

from model_envoy import content
from test_xds_server import clusters, read, request, serving, stream
from xds_recorder import Runtime
from xds_samples import changes

from dragoman.codec import CLUSTER
from xds.convergence import Convergence


def test_first_response_carries_no_change():
    convergence = Convergence()
    convergence.sent("1")
    assert convergence.answered("1") is None


def test_change_is_carried_by_all_responses_that_follow_it():
    convergence = Convergence()
    convergence.changed(10.0)
    convergence.changed(11.0)
    convergence.sent("clusters")
    convergence.sent("endpoints")
    convergence.rest()
    assert convergence.answered("clusters") == 10.0
    convergence.sent("routes")
    assert convergence.answered("endpoints") == 10.0
    assert convergence.answered("routes") == 10.0


def test_change_while_a_response_is_in_flight_counts_from_its_own_time():
    convergence = Convergence()
    convergence.changed(10.0)
    convergence.sent("1")
    convergence.changed(12.0)
    convergence.rest()
    assert convergence.answered("1") == 10.0
    convergence.sent("2")
    assert convergence.answered("2") == 12.0


def test_change_that_is_not_sent_does_not_count():
    convergence = Convergence()
    convergence.changed(10.0)
    convergence.rest()
    convergence.sent("later")
    assert convergence.answered("later") is None


async def test_server_tells_the_time_since_the_change():
    view = clusters("a")
    async with serving(Runtime((view,))) as (_, recorder, address), stream(address) as call:
        await call.write(request("me"))
        nonce = (await read(call)).nonce
        # It keeps its ACK to itself while more changes, so that the change has to wait.
        view.apply(changes(content(CLUSTER, "b", 1)))
        await asyncio.sleep(0.1)
        await call.write(request(response_nonce=nonce))
        nonce = (await read(call)).nonce
        await call.write(request(response_nonce=nonce))
        await recorder.until_seen("acked", CLUSTER, 2)
        assert 0.1 <= recorder.of("acked", CLUSTER)[1][2] < 60
