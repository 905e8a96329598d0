"""`dragoman serve` with poison: what asks for one (`mark`) is made bad after translation, on its way into a view.

    python -m e2e.poison.serve --config DIR …

The view and everything behind it is the product's own: to it, and to provenance, translation made the bad bytes.
"""

from collections.abc import Mapping

from dragoman.cli.main import main
from dragoman.codec import Encoded, Ref
from e2e.poison.mark import poison_of
from e2e.poison.poisons import poisoned
from xds import View

_apply = View.apply


def _apply_poisoned(view: View, changes: Mapping[Ref, Encoded | None]) -> None:
    _apply(view, {ref: _translated(encoded) for ref, encoded in changes.items()})


def _translated(encoded: Encoded | None) -> Encoded | None:
    poison = None if encoded is None else poison_of(encoded)
    return encoded if encoded is None or poison is None else poisoned(encoded, poison)


if __name__ == "__main__":
    View.apply = _apply_poisoned  # type: ignore[method-assign]
    main()
