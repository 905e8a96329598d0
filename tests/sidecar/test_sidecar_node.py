import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.codec import decode, encode
from dragoman.mesh.proxy_id import ProxyId, ProxyIdError, ProxyType
from dragoman.sidecar import Node

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
NAME = st.lists(LABEL, min_size=1, max_size=3).map(".".join)


@given(
    st.builds(
        ProxyId,
        type=st.sampled_from(ProxyType),
        address=st.ip_addresses().map(str),
        name=NAME,
        namespace=LABEL,
        domain=NAME,
    )
)
def test_an_id_reads_back_as_it_was_written(node_id):
    assert ProxyId.parse(str(node_id)) == node_id


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "got 1 parts"),
        ("sidecar~10.0.0.1~a.b", "got 3 parts"),
        ("sidecar~10.0.0.1~a.b~c~d", "got 5 parts"),
        ("pod~10.0.0.1~a.b~b.svc.cluster.local", "type 'pod' is not served"),
        ("sidecar~10.0.0.1~a~b.svc.cluster.local", "is not pod.namespace"),
        ("sidecar~10.0.0.1~.b~b.svc.cluster.local", "is not pod.namespace"),
    ],
)
def test_a_malformed_id_says_what_is_wrong(text, complaint):
    with pytest.raises(ProxyIdError, match=complaint):
        ProxyId.parse(text)


def node(**fields: object) -> Node:
    return Node(ProxyId.parse("sidecar~10.1.2.3~reviews-v1-x.shop~shop.svc.cluster.local"), **fields)


def metadata(value: Node) -> dict[str, object]:
    """The metadata as a control plane reads it off the wire."""
    message = value.to_envoy()
    read = decode(type(message), encode(message)).metadata
    return {
        name: dict(read[name].items()) if hasattr(read[name], "items") else read[name]
        for name in read.fields  # Struct
    }


def test_metadata_is_what_istios_control_plane_reads():
    assert metadata(
        node(
            service_account="reviews",
            workload="reviews-v1",
            labels={"app": "reviews", "version": "v1"},
            interception_mode="NONE",
            http_proxy_port=15080,
            istio_version="1.29.0",
        )
    ) == {
        "NAMESPACE": "shop",
        "SERVICE_ACCOUNT": "reviews",
        "WORKLOAD_NAME": "reviews-v1",
        "LABELS": {"app": "reviews", "version": "v1"},
        "INSTANCE_IPS": "10.1.2.3",
        "CLUSTER_ID": "Kubernetes",
        "MESH_ID": "cluster.local",
        "INTERCEPTION_MODE": "NONE",
        "HTTP_PROXY_PORT": "15080",
        "ISTIO_VERSION": "1.29.0",
    }


def test_further_metadata_wins():
    read = metadata(node(metadata={"CLUSTER_ID": "east", "NETWORK": "one"}))
    assert (read["CLUSTER_ID"], read["NETWORK"]) == ("east", "one")


@pytest.mark.parametrize(
    ("fields", "cluster"),
    [
        ({}, "reviews-v1-x.shop"),
        ({"workload": "reviews-v1"}, "reviews-v1.shop"),
        ({"workload": "reviews-v1", "labels": {"app": "reviews"}}, "reviews.shop"),
        ({"labels": {"app": "reviews", "service.istio.io/canonical-name": "canonical"}}, "canonical.shop"),
    ],
)
def test_cluster_is_the_service_name_of_traces(fields, cluster):
    assert node(**fields).to_envoy().cluster == cluster


@pytest.mark.parametrize(
    ("locality", "parts"),
    [("eu", ("eu", "", "")), ("eu/b", ("eu", "b", "")), ("eu/b/rack", ("eu", "b", "rack"))],
)
def test_locality(locality, parts):
    read = node(locality=locality).to_envoy().locality
    assert (read.region, read.zone, read.sub_zone) == parts


def test_no_locality_unless_known():
    assert node().to_envoy().locality is None
