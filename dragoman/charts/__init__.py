"""Helm charts without Helm: the subset of Go's templates that Dragoman's own charts are written in.

The charts are the single source of what is installed, whoever renders them; a test compares with Helm itself.
"""

from dragoman.charts.chart import Chart, Release, Rendered
from dragoman.charts.errors import ChartError
from dragoman.charts.schema import ValuesError
from dragoman.charts.set_values import set_value
from dragoman.charts.values import Values, merged

__all__ = ["Chart", "ChartError", "Release", "Rendered", "Values", "ValuesError", "merged", "set_value"]
