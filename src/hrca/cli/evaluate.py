"""``hrca evaluate``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ._flags import add_flags
from ._prediction_flags import EVALUATE_FLAGS, RUN_FLAGS, TABLE
from ._run import redirect_output, show

EXAMPLES = """
hrca evaluate labelled_section.h5ad --model model --labels-key cell_type --json > scores.json
"""


@add_flags(EVALUATE_FLAGS, (TABLE,), RUN_FLAGS)
def evaluate(
    cells: Annotated[Path, typer.Argument(help="Cells with known labels: the formats of `hrca annotate`.")],
    *,
    model: Annotated[Path, typer.Option(help="Folder of a trained model.")],
    labels_key: Annotated[str, typer.Option(help="Column of obs with the true labels.")],
    **flags: Any,
) -> None:
    """Score a model on cells whose labels are known. Nothing is written."""
    with redirect_output(flags):
        from ._run_check import evaluate_file
        from ._summary import scores_text

        scores = evaluate_file(cells, model, labels_key, flags)
        text = scores_text(scores)
    show(scores.to_dict(), text, as_json=flags["json"])
