"""The table of problem codes. A code, once published, keeps its meaning."""

from collections.abc import Mapping
from typing import NamedTuple

from crds.problem import Problem, Severity


class Code(NamedTuple):
    severity: Severity
    meaning: str
    istio: str = ""  # the code of Istio's analyzers for the same finding


_E, _W, _I = Severity.ERROR, Severity.WARNING, Severity.INFO
_SCHEMA = "IST0106"

CODES: Mapping[str, Code] = {
    # 01xx: the document does not have the shape of its kind
    "DRG0100": Code(_E, "the document is not an object with apiVersion, kind and metadata.name", _SCHEMA),
    "DRG0101": Code(_E, "unknown field", _SCHEMA),
    "DRG0102": Code(_E, "a value of the wrong type", _SCHEMA),
    "DRG0103": Code(_E, "a required field is missing", _SCHEMA),
    "DRG0104": Code(_E, "unknown kind in a group of Istio's API", _SCHEMA),
    "DRG0105": Code(_E, "a version of the API that is not served", _SCHEMA),
    "DRG0106": Code(_E, "a value outside the bounds that the schema allows", _SCHEMA),
    "DRG0107": Code(_E, "not one of the values of an enumeration", _SCHEMA),
    "DRG0108": Code(_E, "not a duration", _SCHEMA),
    # 02xx: what Dragoman does not do (yet)
    "DRG0201": Code(_W, "a kind that has no effect yet"),
    "DRG0202": Code(_W, "a field or mesh setting that has no effect yet"),
    "DRG0203": Code(_W, "a mesh setting that Istio's MeshConfig does not have"),
    "DRG0204": Code(_W, "a value that has no effect yet, of a field that has one"),
    "DRG0205": Code(_W, "a field that has no effect yet in some of the places that it is meant for"),
    "DRG0206": Code(_W, "a field without which the whole object has no effect yet"),
    # 03xx: the object has the shape of its kind and cannot be meant so
    "DRG0301": Code(_E, "not a valid name, namespace or host", _SCHEMA),
    "DRG0302": Code(_E, "not a port", _SCHEMA),
    "DRG0303": Code(_E, "a duration out of bounds", _SCHEMA),
    "DRG0304": Code(_E, "not a percentage", _SCHEMA),
    "DRG0305": Code(_E, "weights that say nothing", _SCHEMA),
    "DRG0306": Code(_E, "not a regular expression that RE2 reads", _SCHEMA),
    "DRG0307": Code(_E, "fields of which exactly one, or at most one, must be set", _SCHEMA),
    "DRG0308": Code(_E, "empty where something is needed", _SCHEMA),
    "DRG0309": Code(_E, "a duplicate", _SCHEMA),
    "DRG0310": Code(_E, "not an IP address or CIDR block", _SCHEMA),
    "DRG0311": Code(_E, "a field that contradicts another one", _SCHEMA),
    "DRG0312": Code(_E, "not a label", _SCHEMA),
    "DRG0313": Code(_E, "not a header name", _SCHEMA),
    "DRG0314": Code(_E, "a value that is not allowed here", _SCHEMA),
    "DRG0315": Code(_E, "a negative number", _SCHEMA),
    "DRG0316": Code(_E, "a field that another one requires", _SCHEMA),
    # 04xx: valid, and probably not what the author wants
    "DRG0401": Code(_W, "a deprecated field", "IST0002"),
    "DRG0402": Code(_W, "a rule that is never reached", "IST0130"),
    "DRG0403": Code(_W, "a match that has no effect", "IST0131"),
    "DRG0404": Code(_W, "HTTP conditions that decide about TCP traffic", "IST0133"),
    "DRG0405": Code(_W, "a policy that matches nothing", "IST0167"),
    "DRG0406": Code(_W, "a field that is ignored in this combination", "IST0133"),
    "DRG0407": Code(_W, "weak or missing verification in TLS", "IST0128"),
    "DRG0408": Code(_W, "addresses are needed to tell TCP services apart", "IST0134"),
    "DRG0409": Code(_W, "TLS that cannot be had: connections are refused rather than opened in plaintext"),
    "DRG0410": Code(_W, "on TCP ports decided at the client's first byte, after a server's greeting"),
    "DRG0411": Code(_W, "an annotation that cannot be read"),
    "DRG0412": Code(_W, "a key that verifies no token"),
    "DRG0413": Code(_W, "an external authorizer that cannot be asked: what was to be asked about is denied"),
    "DRG0414": Code(_W, "several external authorizers for one workload: none is asked, what was to be is denied"),
    # 05xx: credentials that connected proxies need
    "DRG0501": Code(_E, "a credential that does not exist", "IST0101"),
    "DRG0502": Code(_E, "a credential that no proxy could use", "IST0161"),
    "DRG0503": Code(_W, "a credential that not everybody accepts: out of date, or incomplete", "IST0161"),
    "DRG0504": Code(_E, "a credential that the proxy may not read"),
    # 06xx: pods that get a sidecar
    "DRG0601": Code(_E, "an annotation for the sidecar that cannot be meant so", "IST0106"),
    "DRG0602": Code(_W, "an annotation or label for the sidecar that has no effect"),
    "DRG0603": Code(_W, "an annotation for the sidecar that is unknown, or not understood", "IST0108"),
    "DRG0604": Code(_W, "a setting of the sidecar that has no effect in this combination"),
    "DRG0605": Code(_E, "a document without the pod that its kind has"),
    "DRG0606": Code(_W, "a probe that the kubelet asks the application for itself, without a certificate"),
    # 07xx: the control plane itself
    "DRG0701": Code(_E, "a webhook that failed on an object: its log says how"),
    "DRG0702": Code(_E, "a pod that cannot be injected, as the injector's settings cannot be read"),
}


def problem(code: str, path: str, message: str, remedy: str = "") -> Problem:
    """A Problem with the severity that the table gives its code."""
    return Problem(code, CODES[code].severity, path, message, remedy)
