"""``hrca annotate``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from hrca._messages import counted

from ._errors import usage_error
from ._flags import Flag, add_flags, changed_flags
from ._prediction_flags import GROUP_FLAGS, PREDICT_FLAGS, RUN_FLAGS, TABLE
from ._run import redirect_output, show
from ._training_flags import ALLOW_MISSING_LABELS, GENE_MAP, MODEL_FLAGS, SETUP_FLAGS, TRAIN_FLAGS

EXAMPLES = """
hrca annotate section.h5ad --reference atlas.h5ad --labels-key cell_type --out annotated.h5ad --csv groups.csv

hrca annotate section_1.zarr section_2.zarr --model model

hrca annotate output-XETG00123 --model model --out section.h5ad --csv groups.csv
"""

FILES = "Files"
SAVE_MODEL = Flag("save_model", Path | None, None, "Folder for the model that is trained.", FILES)
MATCH_QUERY = Flag("match_query", bool, False, "Train for the genes and depths of the query.", FILES)
ANNOTATE_FLAGS = (
    Flag("reference", Path | None, None, "Annotated cells that a model is trained on first; any format.", FILES),
    Flag("model", Path | None, None, "Folder of a trained model.", FILES),
    Flag("out", Path | None, None, "File of the results, or a folder. Without it: the files themselves.", FILES),
    Flag("csv", Path | None, None, "File of cell_id and group, for Xenium Explorer; for many queries a folder.", FILES),
    SAVE_MODEL,
    MATCH_QUERY,
    Flag("overwrite", bool, False, "Replace files that exist.", FILES),
    ALLOW_MISSING_LABELS,
    TABLE,
)


@add_flags(ANNOTATE_FLAGS, RUN_FLAGS, PREDICT_FLAGS, GROUP_FLAGS, SETUP_FLAGS, MODEL_FLAGS, TRAIN_FLAGS)
def annotate(
    queries: Annotated[
        list[Path],
        typer.Argument(
            help="Cells to annotate: h5ad, zarr, SpatialData, h5mu, 10x h5, or the folder of a Xenium or Visium HD."
        ),
    ],
    **flags: Any,
) -> None:
    """Label each cell, with a confidence: by a trained model, or by one that is trained on a reference first."""
    _check(len(queries), flags)
    with redirect_output(flags):
        from ._run_annotate import annotate_files
        from ._summary import annotation_text

        results = annotate_files(queries, flags)
    texts = [f"{result['query']}: {annotation_text(result)}\n  {_written_text(result, flags)}" for result in results]
    show({"queries": results}, "\n".join(texts), as_json=flags["json"])


def _written_text(result: Mapping[str, Any], flags: Mapping[str, Any]) -> str:
    """Return the files of a query, and the cells that the csv file shows otherwise than the annotated file."""
    text = f"written: {', '.join(map(str, result['written']))}"
    n_unlabeled, n_changed = result["n_unlabeled"], result["n_novel_with_label"]
    if flags["csv"] is None or flags["keep_novel_labels"] or not n_changed:
        return text
    name, csv = repr(result["settings"]["unlabeled_category"]), result["written"][-1]
    shown = f"{counted(n_unlabeled + n_changed, 'cell')} with the label {name}"
    which = f"{result['n_novel']:,} of them probably" if n_unlabeled else "probably"
    return f"{text}; in {csv}, {shown}, {which} of none of the labels"


def _check(n_queries: int, flags: dict[str, Any]) -> None:
    if flags["reference"] is not None and flags["model"] is not None:
        raise usage_error("--reference and --model exclude each other: one is to be trained on, the other is trained.")
    if flags["reference"] is None and flags["model"] is None:
        raise usage_error("A model is needed: either --reference FILE --labels-key COLUMN, or --model FOLDER.")
    if flags["model"] is None and flags["labels_key"] is None:
        raise usage_error("--reference needs --labels-key, the column of its obs with the cell types.")
    if flags["csv"] is None and flags["keep_novel_labels"]:
        raise usage_error("--keep-novel-labels needs --csv, since it changes this file alone.")
    if flags["match_query"] and n_queries > 1:
        raise usage_error(f"--match-query trains for one query, but there are {n_queries}.")
    for_training = (*SETUP_FLAGS, *MODEL_FLAGS, *TRAIN_FLAGS, SAVE_MODEL, MATCH_QUERY, ALLOW_MISSING_LABELS)
    # the table of gene names also finds the genes of queries
    unused = changed_flags(tuple(flag for flag in for_training if flag is not GENE_MAP), flags)
    if flags["model"] is not None and unused:
        raise usage_error(f"--model names a trained model, for which {', '.join(unused)} would do nothing.")
