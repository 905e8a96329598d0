"""Queries: memoised pure functions of the graph and their arguments, and the other ways to read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, Generic, NamedTuple, ParamSpec, TypeVar, overload

from dragoman.engine.failure import Failure, QueryFailed
from dragoman.engine.inputs import Input, K, V

if TYPE_CHECKING:
    from dragoman.engine.graph import Graph

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Query(Generic[P, T_co]):
    """A pure function whose outcome is memoised per graph and arguments, and whose reads are recorded.

    Arguments are positional and hashable; arguments that are equal are the same call. Values are compared with `==`
    and never mutated: where a new value equals the old one, the old object stays and readers do not run again.
    """

    def __init__(self, function: Callable[Concatenate[Graph, P], T_co]) -> None:
        self.__wrapped__: Callable[..., T_co] = function
        self.__name__ = function.__name__
        self.__qualname__ = function.__qualname__
        self.__module__ = function.__module__
        self.__doc__ = function.__doc__

    def __call__(self, g: Graph, /, *args: P.args, **kwargs: P.kwargs) -> T_co:
        """The value, recorded as used by the query that reads it.

        Raises `QueryFailed` if the query failed: its reader then fails with the same root cause.
        """
        if kwargs:
            raise TypeError(f"{self.__name__}: arguments of queries are positional")
        node = g._read(self, args, True)
        if node.failure is not None:
            raise QueryFailed(node.failure)
        value: T_co = node.value
        return value

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[T_co]:
        """A hashable handle on this query with these arguments; nothing is computed."""
        if kwargs:
            raise TypeError(f"{self.__name__}: arguments of queries are positional")
        return Call(self, args)

    def __repr__(self) -> str:
        return f"<query {self.__module__}.{self.__qualname__}>"


def query(function: Callable[Concatenate[Graph, P], T]) -> Query[P, T]:
    """Make a pure function of `(graph, *args)` a query."""
    return Query(function)


class Call(NamedTuple, Generic[T_co]):
    """A query and its arguments: what leaves of a mount are named by, and trees are made of."""

    query: Query[..., T_co]
    args: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.query.__name__}({', '.join(map(repr, self.args))})"


@overload
def consult(g: Graph, read: Query[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
@overload
def consult(g: Graph, read: Input[K, V], key: K, /) -> V: ...
def consult(g: Graph, read: Query[..., Any] | Input[Any, Any], /, *args: Any, **kwargs: Any) -> Any:
    """Read without making it provenance: a change runs the reader again, but its value is not made from this.

    For what was only looked at on the way, such as the rules that turned out not to apply.
    """
    if kwargs:
        raise TypeError(f"{read!r}: arguments of queries are positional")
    if isinstance(read, Input):
        (key,) = args
        return g._read_cell(read, key, False)
    node = g._read(read, args, False)
    if node.failure is not None:
        raise QueryFailed(node.failure)
    return node.value


def attempt(g: Graph, read: Query[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T | Failure:
    """The value of a query, or its `Failure` where calling it would raise.

    A query that is part of a cycle fails all the same, whatever it makes of the failure it is given here.
    """
    if kwargs:
        raise TypeError(f"{read.__name__}: arguments of queries are positional")
    node = g._read(read, args, True)
    outcome: T | Failure = node.outcome
    return outcome
