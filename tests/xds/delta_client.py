"""A client of the incremental protocol, driven by hand."""

from hand_driven import HandDriven
from linked_samples import PATIENCE
from model_envoy import RESPONSE

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, decode
from xds import DeltaRequest, DeltaStream, View


class Client(HandDriven):
    """Drives a stream by hand."""

    def __init__(self, *views: View, chunk: int = 1 << 20) -> None:
        self.stream = DeltaStream(views, proxy="p", patience=PATIENCE, chunk=chunk)
        self.now = 0.0
        self.nonces: dict[str, str] = {}

    def ask(self, type_url: str, *names: str, drop: tuple[str, ...] = (), known: dict[str, str] | None = None):
        request = DeltaRequest(type_url, subscribe=names, unsubscribe=drop, initial_versions=known or {})
        return self.stream.receive(request, self.now)

    def next(self):
        """Return the next response as (type, resource names, removed names), or None."""
        response = self.stream.next_response(self.now)
        if response is None:
            return None
        message = decode(RESPONSE, response.data)
        self.nonces[response.type_url] = response.nonce
        self.last = response
        names = [resource.name for resource in message.resources]
        return response.type_url, names, list(message.removed_resources)

    def ack(self, type_url: str, error: str | None = None):
        return self.stream.receive(DeltaRequest(type_url, nonce=self.nonces[type_url], error=error), self.now)


def connected(view: View) -> Client:
    """A client in sync with clusters, endpoints, listeners and routes of a view."""
    client = Client(view)
    client.ask(CLUSTER)
    client.take()
    client.ask(ENDPOINT, *view.table(ENDPOINT))
    client.take()
    client.ask(LISTENER)
    client.take()
    client.ask(ROUTE, *view.table(ROUTE))
    client.take()
    assert client.in_sync()
    return client
