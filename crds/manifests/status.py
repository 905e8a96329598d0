"""The status of Istio's objects (Istio: meta/v1alpha1/status.proto), which controllers write and operators read."""

from typing import Any

_TEXT = {"type": "string"}
_TIME = {"type": "string", "format": "date-time"}
# Protobuf's JSON writes integers of 64 bits as strings, and Istio its status in protobuf's JSON.
_GENERATION = {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}


def _about(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, **schema}


STATUS: dict[str, Any] = {
    "type": "object",
    "description": "What controllers found and did; nothing that an operator writes.",
    # Controllers of other projects keep fields of their own here.
    "x-kubernetes-preserve-unknown-fields": True,
    "properties": {
        "observedGeneration": _about("The generation of the object that this is about.", _GENERATION),
        "conditions": {
            "type": "array",
            "description": "One entry for each question that a controller answers, such as Accepted and Programmed.",
            "items": {
                "type": "object",
                "properties": {
                    "type": _about("The question.", _TEXT),
                    "status": _about("The answer: True, False or Unknown.", _TEXT),
                    "reason": _about("The reason in one word, for programs.", _TEXT),
                    "message": _about("The reason in a sentence, for people.", _TEXT),
                    "lastTransitionTime": _about("When the answer last changed.", _TIME),
                    "lastProbeTime": _about("When the answer was last looked for.", _TIME),
                    "observedGeneration": _about("The generation of the object that was looked at.", _GENERATION),
                },
                "required": ["type"],
            },
            # Each controller owns its own conditions, whoever else writes some (Kubernetes: "Server-Side Apply").
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
        "validationMessages": {
            "type": "array",
            "description": "What was found wrong with the object, or doubtful.",
            "items": {
                "type": "object",
                "properties": {
                    "level": _about("How bad it is.", {**_TEXT, "enum": ["UNKNOWN", "ERROR", "WARNING", "INFO"]}),
                    "documentationUrl": _about("Where to read more.", _TEXT),
                    "type": {
                        "type": "object",
                        "description": "What was found.",
                        "properties": {
                            "code": _about("Its code.", _TEXT),
                            "name": _about("Its name.", _TEXT),
                        },
                    },
                },
                # Analyzers add what they found, in words of their own.
                "x-kubernetes-preserve-unknown-fields": True,
            },
        },
    },
}
