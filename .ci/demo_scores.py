"""Compare the scores that README.md gives for the demo with those that the demo has printed.

python .ci/demo_scores.py README.md OUTPUT
"""

import re
import sys
from pathlib import Path

# The demo of one seed gives .757 to .767 and .661 to .679 with the instructions of four kinds of processors: rounding
# in the training changes a few of 309 labels. Twice this range around the middle:
TOLERANCE = 0.02

IN_README = re.compile(r"(\.\d+)\s+and\s+(\.\d+)\s+for\s+HRCA")
IN_OUTPUT = re.compile(r"^HRCA\s+(\d\.\d+)\s+(\d\.\d+)$", re.MULTILINE)


def scores(pattern: re.Pattern[str], text: str, place: str) -> tuple[float, ...]:
    """Return accuracy and macro-F1 of HRCA in a text, which must have them once."""
    found = pattern.findall(text)
    if len(found) != 1:
        raise SystemExit(f"{place} must have the scores of HRCA once, but has them {len(found)} times")
    return tuple(map(float, found[0]))


def main(readme: Path, output: Path) -> None:
    """Exit with an error if a score differs by more than the tolerance."""
    stated = scores(IN_README, readme.read_text(encoding="utf-8"), readme.name)
    printed = scores(IN_OUTPUT, output.read_text(encoding="utf-8"), output.name)
    if any(abs(one - other) > TOLERANCE for one, other in zip(stated, printed, strict=True)):
        raise SystemExit(f"{readme.name} gives {stated} for HRCA, but the demo has printed {printed}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
