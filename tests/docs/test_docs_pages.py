"""The documentation says what the code does: generated pages are current, links lead somewhere, commands exist."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from reference_pages import _FILES, PAGES

from dragoman.sources import problems

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


@pytest.mark.parametrize("name", PAGES)
def test_generated_pages_are_current(name: str) -> None:
    page = DOCS / name
    if os.environ.get("UPDATE_GOLDEN"):
        page.write_text(PAGES[name]())
    assert page.read_text() == PAGES[name](), (
        f"run: UPDATE_GOLDEN=1 python -m pytest {Path(__file__).relative_to(ROOT)}"
    )


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *DOCS.rglob("*.md")], ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    missing = [link for link in LINK.findall(CODE.sub("", page.read_text())) if not (page.parent / link).exists()]
    assert missing == []


def test_every_code_about_files_is_listed() -> None:
    assert set(re.findall(r"DRG\d{4}", Path(problems.__file__).read_text())) <= set(_FILES)
