"""What can be wrong with files, as opposed to the objects in them (whose codes `crds.codes` lists): DRG00xx."""

from crds.problem import Problem, Severity


def syntax(message: str) -> Problem:
    """A document that is no YAML or JSON."""
    return Problem("DRG0001", Severity.ERROR, "", message, "correct the syntax of this document")


def ignored_kind(what: str) -> Problem:
    """An object of a kind that has no part in a mesh."""
    return Problem("DRG0003", Severity.INFO, "", f"{what} is ignored: its kind has no part in the mesh")


def ignored_fields(path: str, fields: str) -> Problem:
    """Fields that the API server and controllers write, as in the output of ``kubectl get -o yaml``."""
    return Problem("DRG0004", Severity.INFO, path, f"passed over ({fields}): the cluster writes it, not the operator")


def defined_twice(place: str) -> Problem:
    """An object that an earlier document or file defines, too."""
    message = f"is also defined in {place}, which is in force"
    return Problem("DRG0005", Severity.WARNING, "metadata.name", message, "remove one of the two")


def unreadable(error: OSError) -> Problem:
    """A file or folder that is there but cannot be read."""
    reason = error.strerror or str(error)
    return Problem("DRG0006", Severity.ERROR, "", f"cannot be read: {reason}", "check that it exists, and permissions")


def not_followed() -> Problem:
    """No inotify on this system."""
    return Problem("DRG0007", Severity.WARNING, "", "changes are followed on Linux only", "restart to load changes")


def denied(resource: str, message: str) -> Problem:
    """Objects of a kind that the API server does not let the control plane read."""
    remedy = f"allow it to get, list and watch {resource}"
    return Problem("DRG0008", Severity.ERROR, "", f"{resource} cannot be read, all else is: {message}", remedy)


def not_judged(error: Exception) -> Problem:
    """An object that our own code fails on: a defect of ours, which must not be everybody's."""
    message = f"cannot be read for a defect of the control plane: {type(error).__name__}"
    return Problem("DRG0009", Severity.ERROR, "", message, "report it, with the object; see the log for the place")


def only_in_a_cluster(field: str) -> Problem:
    """A setting that a folder of files has no use for: all that is in it counts."""
    return Problem("DRG0010", Severity.INFO, field, f"{field} has its effect in a cluster: a folder is taken whole")
