"""Pages of the documentation that are tables of the code, so that they cannot tell anything else."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from crds.codes import CODES
from crds.fields import leaf_paths
from crds.registry import ISTIO_KINDS
from crds.support import gaps


def fields_page() -> str:
    """Which fields of Istio's API have no effect yet."""
    missing = gaps()
    lines = [
        "# Fields of Istio's API",
        "",
        "Every field of every kind is known, checked and decoded. One that has no effect yet is reported wherever it",
        "is set (`DRG0201`, `DRG0202`, `DRG0204`), never passed over. This page is generated from `crds/support.py`.",
        "",
        "| kind | fields | have an effect |",
        "| --- | ---: | ---: |",
    ]
    total = done = 0
    for name in ISTIO_KINDS:
        count, absent = len(leaf_paths(name)), len(missing.get(name, ()))
        total, done = total + count, done + count - absent
        lines.append(f"| [{name}](#{name.lower()}) | {count} | {count - absent} |")
    lines += [f"| all | {total} | {done} |", ""]
    for name in ISTIO_KINDS:
        absent_fields = missing.get(name, ())
        lines += [f"## {name}", ""]
        if not absent_fields:
            lines += ["Every field has its effect.", ""]
        elif len(absent_fields) == len(leaf_paths(name)):
            lines += ["The kind has no effect yet.", ""]
        else:
            lines += ["Without effect so far:", ""]
            lines += [f"- `{field}`" for field in absent_fields]
            lines.append("")
    return "\n".join(lines)


_FILES = {
    "DRG0001": ("error", "a document that is no YAML or JSON"),
    "DRG0003": ("info", "an object of a kind that has no part in a mesh"),
    "DRG0004": ("info", "fields that the API server writes (`status`, `managedFields`), passed over"),
    "DRG0005": ("warning", "an object that an earlier document or file defines, too"),
    "DRG0006": ("error", "a file or folder that cannot be read"),
    "DRG0007": ("warning", "changes of files are not followed on this system"),
    "DRG0008": ("error", "a kind that the API server does not let the control plane read"),
    "DRG0009": ("error", "an object that the control plane fails on: a defect of ours, which is kept to that object"),
    "DRG0010": ("info", "a setting that has its effect in a cluster, and not in a folder of files"),
}


def codes_page() -> str:
    """Every code of a problem."""
    lines = [
        "# Problem codes",
        "",
        "A problem is printed as `file:line: code object: path: message (remedy)`. A published code keeps its meaning.",
        "An error keeps an object out; its last good version stays in force. A warning does not. The last column is",
        "the code of Istio's analyzers for the same finding. This page is generated from `crds/codes.py`.",
        "",
        "| code | severity | meaning | Istio |",
        "| --- | --- | --- | --- |",
    ]
    lines += [f"| {code} | {severity} | {meaning} | |" for code, (severity, meaning) in _FILES.items()]
    lines += [f"| {code} | {found.severity} | {found.meaning} | {found.istio} |" for code, found in CODES.items()]
    return "\n".join([*lines, ""])


PAGES: Mapping[str, Callable[[], str]] = {"fields.md": fields_page, "codes.md": codes_page}
