"""A CSV file of results that survives being killed at any time and goes on where it stopped."""

import csv
import io
from pathlib import Path

KEY = ("method", "pair", "genes", "depth", "seed")
SCORES = ("accuracy", "macro_f1", "weighted_f1", "balanced_accuracy", "median_f1", "ece")
COLUMNS = (
    *KEY,
    *("n_genes", "median_counts", "n_cells", "n_unseen"),
    *SCORES,
    *("seen_confidence", "unseen_confidence", "train_s", "predict_s", "peak_gb", "error"),
    *("version", "python", "date", "commit", "machine", "cores"),
)


class Table:
    """Rows in a file; each is written whole, at once.

    Parameters
    ----------
    path
        The CSV file. A last line that was cut off is removed.
    retry_errors
        Forget the rows that have an error, so that they are tried again.
    """

    def __init__(self, path: Path, *, retry_errors: bool = False):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text() if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        rows = [row for row in csv.DictReader(io.StringIO(whole)) if not (retry_errors and row["error"])]
        kept = self._lines([dict(zip(COLUMNS, COLUMNS, strict=True)), *rows])
        if kept != text:
            # replacing is one step: a kill leaves either file
            temporary = path.with_suffix(".tmp")
            temporary.write_text(kept)
            temporary.replace(path)
        self.keys = {tuple(row[column] for column in KEY) for row in rows}

    def append(self, row: dict) -> None:
        """Write a row to the end of the file."""
        with self.path.open("a") as file:
            file.write(self._lines([row]))
        self.keys.add(tuple(str(row[column]) for column in KEY))

    @staticmethod
    def _lines(rows: list[dict]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, fieldnames=COLUMNS, restval="", lineterminator="\n").writerows(rows)
        return text.getvalue()
