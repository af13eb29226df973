"""``hrca info``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ._flags import add_flags
from ._prediction_flags import JSON, TABLE
from ._run import redirect_output, show

EXAMPLES = """
hrca info model

hrca info annotated.h5ad --json
"""


@add_flags((TABLE, JSON))
def info(
    path: Annotated[Path, typer.Argument(help="Folder of a model, or an annotated file.")],
    **flags: Any,
) -> None:
    """Show what a model can label, or what an annotated file holds."""
    with redirect_output({**flags, "quiet": True}):
        from ._summary import describe

        result, text = describe(path, flags["table"])
    show(result, text, as_json=flags["json"])
