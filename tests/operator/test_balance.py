"""What a replica keeps of its streams when others have fewer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operating import deploy, replica

from dragoman.kube import Cluster
from dragoman.operator.balance import FEW, share
from tests.support.until import until


@pytest.mark.parametrize(
    ("own", "others", "keep"),
    [
        (1000, (), None),
        (1000, (0,), 500),
        (1000, (1000, 0), 667),
        (700, (500,), None),
        (FEW, (0,), None),
        (0, (1000,), None),
    ],
)
def test_share(own: int, others: tuple[int, ...], keep: int | None) -> None:
    assert share(own, others) == keep


@settings(deadline=None)
@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_replicas_come_to_rest_near_the_average_whatever_the_load_balancer_does(counts, rng) -> None:
    average = sum(counts) / len(counts)
    for _ in range(60):
        kept = [share(own, counts[:at] + counts[at + 1 :]) for at, own in enumerate(counts)]
        if not any(keep is not None for keep in kept):
            break
        for at, keep in enumerate(kept):
            if keep is not None:
                leaving, counts[at] = counts[at] - keep, keep
                for number in range(leaving):
                    counts[(number + rng.randrange(2)) % len(counts)] += 1
    assert max(counts) <= max(average * 1.2, average + FEW) + 1


@pytest.mark.real_api
@pytest.mark.usefixtures("custom_resources")
async def test_replicas_tell_how_many_they_serve(cluster: Cluster, namespace: str) -> None:
    await deploy(cluster, namespace, "web-1", "web-2")
    async with replica(cluster, namespace, "one") as one, replica(cluster, namespace, "two") as two:
        await one.proxy("web-1")
        await one.proxy("web-2")

        async def told() -> bool:
            return (one.replicas.streams(), two.replicas.streams()) == ((0,), (2,))

        await until(told)
