"""The picture of docs/explain.md: the genes behind the labels of a STARmap cell and of a blood cell.

    python -m benchmarks.explain.figures --data DATA --models FOLDER

FOLDER has the models of the open-set benchmark. It writes ``docs/_static/explain/cells.png``.
"""

import argparse
import warnings
from pathlib import Path

from matplotlib.figure import Figure

import hrca
from benchmarks.common.data import PAIRS
from benchmarks.common.results import DOCS
from benchmarks.uncertainty.open_set import OpenCase

# Pair and cell of each panel.
CELLS = (("starmap_mpfc -> BZ14", 2), ("pbmc_facs_zheng -> pbmc3k", 1))


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--models", type=Path, required=True, help="folder of the models")
    arguments = parser.parse_args()
    figure = Figure(figsize=(12.5, 4.6), layout="constrained")
    for ax, (pair, cell) in zip(figure.subplots(1, len(CELLS)), CELLS, strict=True):
        case = OpenCase(next(spec for spec in PAIRS if spec.name == pair), "none", 0)
        model, query = hrca.HRCA.load(arguments.models / case.model_name), case.read(arguments.data).query
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            hrca.pl.explain(model.explain(query, [cell]), ax=ax)
    path = DOCS / "_static" / "explain" / "cells.png"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
