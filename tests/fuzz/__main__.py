"""Coverage-guided fuzzing: `python -m tests.fuzz TARGET [SECONDS]`, with `pip install atheris` (make fuzz does it).

New inputs that lead new ways through the code go to the corpus of the target. A finding is told with its traceback and
kept as `crash-*` in the working directory: mend the code, then move it into the corpus.

Exit codes: 0 nothing found in that time, 77 a finding (libFuzzer's), 2 wrong usage.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import structlog

CORPUS = Path(__file__).with_name("corpus")


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    import atheris  # type: ignore[import-not-found,unused-ignore]

    with atheris.instrument_imports(include=["xds", "ca", "crds", "dragoman", "translators", "jwt"]):
        from tests.fuzz.fuzz_targets import TARGETS
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.stderr.write(f"usage: python -m tests.fuzz TARGET [SECONDS]\ntargets: {', '.join(TARGETS)}\n")
        sys.exit(2)
    name, seconds = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "60"
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    flags = [f"-max_total_time={seconds}", "-max_len=8192", "-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *flags, str(folder)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
