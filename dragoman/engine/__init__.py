"""The incremental graph: typed inputs, memoised queries whose reads are recorded, transactions, mounts, provenance.

It knows nothing of meshes and does no IO. The theory of operation is at the head of `graph.py`.
"""

from dragoman.engine.failure import (
    ABSENT,
    Absent,
    CycleError,
    Failure,
    NestingError,
    QueryFailed,
    TransactionError,
    last_good,
)
from dragoman.engine.graph import Graph, Statistics
from dragoman.engine.inputs import Input
from dragoman.engine.mount import GONE, Gone, Mount, Tree
from dragoman.engine.query import Call, Query, attempt, consult, query
from dragoman.engine.transaction import Transaction

__all__ = [
    "ABSENT",
    "GONE",
    "Absent",
    "Call",
    "CycleError",
    "Failure",
    "Gone",
    "Graph",
    "Input",
    "Mount",
    "NestingError",
    "Query",
    "QueryFailed",
    "Statistics",
    "Transaction",
    "TransactionError",
    "Tree",
    "attempt",
    "consult",
    "last_good",
    "query",
]
