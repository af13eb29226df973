"""``hrca train``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ._flags import Flag, add_flags
from ._prediction_flags import RUN_FLAGS, TABLE
from ._run import redirect_output, show
from ._training_flags import ALLOW_MISSING_LABELS, MODEL_FLAGS, SETUP_FLAGS, TRAIN_FLAGS

EXAMPLES = """
hrca train atlas.h5ad --labels-key cell_type --out model

hrca train atlas.h5ad --labels-key cell_type --out model --genes-of section.h5ad --checkpoint-dir checkpoints --resume
"""

FILES = "Files"
FILE_FLAGS = (
    Flag("query", Path | None, None, "Cells to which the training is matched: their genes and depths.", FILES),
    Flag("genes_of", Path | None, None, "Cells whose genes alone the model has, such as those of a panel.", FILES),
    Flag("save_reference", bool, False, "Save the reference in the folder, so that the model can be adapted.", FILES),
    Flag("overwrite", bool, False, "Replace the model in the folder.", FILES),
    ALLOW_MISSING_LABELS,
    TABLE,
)


@add_flags(FILE_FLAGS, RUN_FLAGS, SETUP_FLAGS, MODEL_FLAGS, TRAIN_FLAGS)
def train(
    reference: Annotated[Path, typer.Argument(help="Annotated cells: the formats of `hrca annotate`.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the model.", rich_help_panel=FILES)],
    labels_key: Annotated[
        str, typer.Option(help="Column of the reference's obs with the cell types.", rich_help_panel=FILES)
    ],
    **flags: Any,
) -> None:
    """Train a model on annotated cells, and save it."""
    with redirect_output(flags):
        from ._run_train import train_and_save
        from ._summary import model_text

        result = train_and_save(reference, out, {**flags, "labels_key": labels_key})
    show(result, f"{model_text(result)}\n  written: {out}", as_json=flags["json"])
