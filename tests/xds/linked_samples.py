"""Resources that refer to each other as those of an Envoy do."""

from model_envoy import content
from xds_samples import changes

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Encoded
from xds import Patience, View

PATIENCE = Patience(linger={CLUSTER: 10.0}, wait=15.0)


def cluster(name: str, revision: int = 1, *secrets: str, **bad: str) -> Encoded:
    return content(CLUSTER, name, revision, ((ENDPOINT, name), *((SECRET, secret) for secret in secrets)), **bad)


def endpoints(name: str, revision: int = 1) -> Encoded:
    return content(ENDPOINT, name, revision)


def route(name: str, *clusters: str, revision: int = 1) -> Encoded:
    return content(ROUTE, name, revision, tuple((CLUSTER, cluster) for cluster in clusters))


def listener(name: str, *routes: str, revision: int = 1) -> Encoded:
    return content(LISTENER, name, revision, tuple((ROUTE, route) for route in routes))


def tcp(name: str, *clusters: str, revision: int = 1) -> Encoded:
    return content(LISTENER, name, revision, tuple((CLUSTER, cluster) for cluster in clusters))


def view_of(*resources: Encoded) -> View:
    view = View("v")
    view.apply(changes(*resources))
    return view
