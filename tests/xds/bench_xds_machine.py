"""Cost of the stream machines alone: python tests/xds/bench_xds_machine.py [RESOURCES] [STREAMS]."""

import gc
import statistics
import sys
import time
import tracemalloc

from dragoman.codec import CLUSTER, ENDPOINT, Encoded
from xds import DeltaRequest, DeltaStream, View


def endpoints(number: int, revision: int) -> Encoded:
    name = f"outbound|80||svc-{number}.default.svc.cluster.local"
    return Encoded.of_payload(ENDPOINT, name, (f"{number}/{revision}/" + "x" * 400).encode())


def cluster(number: int, revision: int) -> Encoded:
    name = f"outbound|80||svc-{number}.default.svc.cluster.local"
    payload = (f"{number}/{revision}/" + "y" * 800).encode()
    return Encoded.of_payload(CLUSTER, name, payload, refs=frozenset(((ENDPOINT, name),)))


def settle(streams: list[DeltaStream]) -> int:
    """Send and ACK until nothing is left; return the number of responses."""
    sent = 0
    for stream in streams:
        while (response := stream.next_response(0.0)) is not None:
            stream.receive(DeltaRequest(response.type_url, nonce=response.nonce), 0.0)
            sent += 1
    return sent


def main() -> None:
    resources, count = (int(argument) for argument in (*sys.argv[1:], "10000", "100")[:2])
    view = View("outbound")
    started = time.process_time()
    for make in (cluster, endpoints):
        made = [make(number, 0) for number in range(resources)]
        view.apply({(encoded.type_url, encoded.name): encoded for encoded in made})
    print(f"apply {2 * resources} resources: {time.process_time() - started:.3f} s")  # noqa: T201
    names = tuple(view.table(ENDPOINT))

    def connect() -> DeltaStream:
        stream = DeltaStream((view,))
        stream.receive(DeltaRequest(CLUSTER), 0.0)
        settle([stream])
        # As off the wire: every client brings strings of its own.
        stream.receive(DeltaRequest(ENDPOINT, subscribe=tuple((name + " ")[:-1] for name in names)), 0.0)
        settle([stream])
        return stream

    first = connect()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    sample = [connect() for _ in range(10)]
    gc.collect()
    print(f"memory of a stream in sync: {(tracemalloc.get_traced_memory()[0] - before) / 10 / 1024:.1f} KB")  # noqa: T201
    tracemalloc.stop()
    started = time.process_time()
    streams = [first, *sample, *(connect() for _ in range(count - 11))]
    cold = (time.process_time() - started) / (count - 11)
    print(f"cold start of a stream: {cold * 1e3:.1f} ms")  # noqa: T201
    for label, make in (("endpoint", endpoints), ("cluster", cluster)):
        times = []
        for revision in range(1, 60):
            changed = make(revision, revision)
            begun = time.perf_counter()
            view.apply({(changed.type_url, changed.name): changed})
            sent = settle(streams)
            times.append(time.perf_counter() - begun)
        assert sent == count * (1 if label == "endpoint" else 2)
        median = statistics.median(times)
        print(f"one {label} changed, {count} streams, sent and ACKed: {median * 1e3:.2f} ms")  # noqa: T201


if __name__ == "__main__":
    main()
