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
}


def problem(code: str, path: str, message: str, remedy: str = "") -> Problem:
    """A Problem with the severity that the table gives its code."""
    return Problem(code, CODES[code].severity, path, message, remedy)
