"""A client of the state-of-the-world protocol, driven by hand."""

from hand_driven import HandDriven
from linked_samples import PATIENCE
from model_envoy import STATE, read_any

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, decode
from xds import SotwRequest, SotwStream, View
from xds.stream import CHUNK


class Client(HandDriven):
    """Drives a stream by hand."""

    def __init__(self, *views: View, chunk: int = CHUNK, aggregated: bool = True) -> None:
        self.stream = SotwStream(views, proxy="p", patience=PATIENCE, chunk=chunk, aggregated=aggregated)
        self.now = 0.0
        self.names: dict[str, tuple[str, ...]] = {}
        self.nonces: dict[str, str] = {}
        self.versions: dict[str, str] = {}

    def ask(self, type_url: str, *names: str, version: str = ""):
        self.names[type_url] = names
        version, nonce = version or self.versions.get(type_url, ""), self.nonces.get(type_url, "")
        return self.stream.receive(SotwRequest(type_url, names=names, version=version, nonce=nonce), self.now)

    def next(self):
        """Return the next response as (type, resource names), or None; "-" before a name that stands for nothing."""
        response = self.stream.next_response(self.now)
        if response is None:
            return None
        message = decode(STATE, response.data)
        assert message.nonce == response.nonce
        assert {resource.type_url for resource in message.resources} <= {response.type_url}
        self.nonces[response.type_url] = response.nonce
        self.last, self.version = response, message.version_info
        found = [read_any(response.type_url, resource.value) for resource in message.resources]
        self.content = {name: held.version for name, held in found}
        return response.type_url, sorted(name if held.version else f"-{name}" for name, held in found)

    def ack(self, type_url: str, error: str | None = None):
        if error is None:
            self.versions[type_url] = self.version
        request = SotwRequest(
            type_url,
            names=self.names.get(type_url, ()),
            version=self.versions.get(type_url, ""),
            nonce=self.nonces[type_url],
            error=error,
        )
        return self.stream.receive(request, self.now)


def connected(view: View, *types: str) -> Client:
    client = Client(view)
    for type_url in types or (CLUSTER, ENDPOINT, LISTENER, ROUTE):
        client.ask(type_url, *(view.table(type_url) if type_url in (ENDPOINT, ROUTE) else ()))
        client.take()
    assert client.in_sync()
    return client
