"""``hrca report``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ._flags import Flag, takes
from ._prediction_flags import JSON, KEY_ADDED, QUIET, TABLE, THREADS
from ._run import show, working

EXAMPLES = """
hrca report annotated.h5ad --out report.html --model model

hrca report annotated.h5ad --out report.html --true-labels-key cell_type --sample-key sample --pictures pictures
"""

CONTENT = "Content"

# of hrca.report, without `adata`, `path` and `model`
REPORT_FLAGS = (
    KEY_ADDED,
    Flag("true_labels_key", str | None, None, "Column of obs with known labels.", CONTENT),
    Flag("sample_key", str | None, None, "Column of obs with the sample or section of each cell.", CONTENT),
    Flag("microns_per_unit", float | None, None, "Micrometers in a unit of the coordinates.", CONTENT),
    Flag("title", str | None, None, "Title of the report.", CONTENT),
)


@takes(REPORT_FLAGS, (TABLE, THREADS, QUIET, JSON))
def report(
    cells: Annotated[Path, typer.Argument(help="A file that `hrca annotate` has annotated.")],
    *,
    out: Annotated[Path, typer.Option(help="The HTML file.")],
    model: Annotated[
        Path | None, typer.Option(help="Folder of the model, whose card and genes the report then has.")
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for pictures of the section, UMAP and composition.")
    ] = None,
    **flags: Any,
) -> None:
    """Write a report of annotated cells as one HTML file, and pictures."""
    with working(flags):
        from ._run_report import write_report

        written = write_report(cells, out, model, pictures, flags)
    show({"written": written}, "\n".join(map(str, written)), as_json=flags["json"])
