"""Options that many commands share, said once: a dataclass, each of whose fields is one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any, get_type_hints

Command = Callable[..., None]


def shares(**groups: type) -> Callable[[Command], Command]:
    """Gives a command an option for each field of these dataclasses, and calls it with one value of each.

    Fields are annotated as typer's parameters are. What a dataclass refuses as it is made should be a usage error.
    """
    shared = {
        name: [
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hint)
            for field in fields(group)
            for hint in (get_type_hints(group, include_extras=True)[field.name],)
        ]
        for name, group in groups.items()
    }

    def given(command: Command) -> Command:
        @functools.wraps(command)
        def run(**values: Any) -> None:
            made = {
                name: group(**{parameter.name: values.pop(parameter.name) for parameter in shared[name]})
                for name, group in groups.items()
            }
            command(**values, **made)

        signature = inspect.signature(command, eval_str=True)
        own = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for name, parameter in signature.parameters.items()
            if name not in groups
        ]
        parameters = [*own, *(parameter for name in groups for parameter in shared[name])]
        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return given
