"""``hrca report``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ._flags import add_flags
from ._prediction_flags import JSON, QUIET, TABLE, THREADS
from ._report_flags import REPORT_FLAGS
from ._run import redirect_output, show

EXAMPLES = """
hrca report annotated.h5ad --out report.html --model model

hrca report annotated.h5ad --out report.html --true-labels-key cell_type --sample-key sample --pictures pictures
"""


@add_flags(REPORT_FLAGS, (TABLE, THREADS, QUIET, JSON))
def report(
    cells: Annotated[Path, typer.Argument(help="A file that `hrca annotate` has annotated.")],
    *,
    out: Annotated[Path, typer.Option(help="The HTML file.")],
    model: Annotated[
        Path | None, typer.Option(help="Folder of the model, whose card and genes the report then has.")
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            help="Folder for pictures: the UMAP; where the cells have coordinates, sections with label, confidence and "
            "novel probability; with `--sample-key`, the composition of the samples."
        ),
    ] = None,
    **flags: Any,
) -> None:
    """Write a report of annotated cells as one HTML file, and pictures."""
    with redirect_output(flags):
        from ._run_report import write_report

        written = write_report(cells, out, model, pictures, flags)
    show({"written": written}, "\n".join(map(str, written)), as_json=flags["json"])
