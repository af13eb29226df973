"""``hrca check``."""

import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from ._flags import add_flags
from ._prediction_flags import CHECK_FLAGS, JSON, TABLE, THREADS
from ._run import redirect_output, show

EXAMPLES = """
hrca check section.h5ad --model model

hrca check atlas.h5ad --labels-key cell_type
"""


@add_flags(CHECK_FLAGS, (TABLE, THREADS, JSON))
def check(
    cells: Annotated[Path, typer.Argument(help="Cells: the formats of `hrca annotate`.")],
    *,
    model: Annotated[
        Path | None, typer.Option(help="Folder of the model that is to label them. Without it: a reference.")
    ] = None,
    **flags: Any,
) -> None:
    """Find the raw counts and the genes of cells, and report what may give wrong labels."""
    with redirect_output({**flags, "quiet": True}):
        from ._run_check import check_file

        # the report has what would be logged
        logging.getLogger("hrca").setLevel(logging.ERROR)
        report = check_file(cells, model, flags)
    show(report.to_dict(), repr(report), as_json=flags["json"])
