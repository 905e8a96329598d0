"""A container's environment and command line."""

import re
from collections.abc import Mapping, Sequence

from e2e.harness.kubelet.configuration_objects import ConfigurationObjects
from e2e.harness.kubelet.images import Image
from e2e.harness.kubelet.pod_facts import PodFacts
from e2e.harness.kubelet.watching import Object

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def environment(
    container: Object, image: Image, facts: PodFacts, objects: ConfigurationObjects, api_server: tuple[str, int]
) -> dict[str, str]:
    """The variables of a container: the image's, those that the kubelet adds, and the container's own.

    Raises LookupError for what is not there, which keeps the container from being created.
    """
    host, port = api_server
    variables = {
        "PATH": _DEFAULT_PATH,
        "HOME": "/",  # of a user whom the image's /etc/passwd does not name (opencontainers/runc: libcontainer)
        "PYTHONDONTWRITEBYTECODE": "1",
        **image.environment,
        "HOSTNAME": facts.field("metadata.name"),
        "KUBERNETES_SERVICE_HOST": host,
        "KUBERNETES_SERVICE_PORT": str(port),
    }
    namespace = facts.field("metadata.namespace")
    for source in container.get("envFrom", ()):
        prefix = source.get("prefix", "")
        for kind, reference in source.items():
            if kind != "prefix":
                found = objects.of_reference(kind, namespace, reference)
                variables |= {prefix + key: value.decode() for key, value in found.items()}
    for each in container.get("env", ()):
        value = _value(each, variables, container, facts, objects)
        if value is not None:
            variables[each["name"]] = value
    return variables


def command(container: Object, image: Image, variables: Mapping[str, str]) -> Sequence[str]:
    """What is run (Kubernetes: Define a Command and Arguments for a Container)."""
    program = container.get("command") or image.entrypoint
    # A command of its own makes a container forget also the image's arguments.
    arguments = container.get("args") or (() if container.get("command") else image.command)
    return [expand(word, variables) for word in (*program, *arguments)]


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Put in variables that are written as $(NAME); $$ is a dollar, and what is not known stays as it is."""

    def one(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return variables.get(found[1], found[0])

    return re.sub(r"\$\$|\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)", one, text)


def _value(
    variable: Object,
    variables: Mapping[str, str],
    container: Object,
    facts: PodFacts,
    objects: ConfigurationObjects,
) -> str | None:
    source = variable.get("valueFrom")
    if source is None:
        return expand(variable.get("value", ""), variables)
    if "fieldRef" in source:
        return facts.field(source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        return facts.resource(source["resourceFieldRef"], container)
    kind, reference = next(iter(source.items()))
    found = objects.of_reference(kind, facts.field("metadata.namespace"), reference)
    if reference["key"] not in found:
        if reference.get("optional"):
            return None
        raise LookupError(f"no key {reference['key']} in {reference['name']}")
    return found[reference["key"]].decode()
