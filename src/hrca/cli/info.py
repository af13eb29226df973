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
    """Show what a model can label and what its card states, or what an annotated file holds."""
    with redirect_output({**flags, "quiet": True}):
        from ._summary import describe

        result, text = describe(path, flags["table"])
        if "model" in result:
            card, lines = _card(path)
            result, text = {**result, "card": card}, "\n".join([text, *lines])
    show(result, text, as_json=flags["json"])


def _card(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the facts of the card in the folder of a model, and their lines; None without a card."""
    from hrca.model._card import CARD_FILE, verify_files
    from hrca.model._card_text import summary_lines

    if not (folder / CARD_FILE).is_file():
        return None, ["  card: none; `model.save` writes one"]
    card = verify_files(folder)
    return card.facts, [f"  {line}" for line in summary_lines(card)]
