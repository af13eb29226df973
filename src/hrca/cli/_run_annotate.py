"""Annotate files, with a trained model or one that is trained first."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hrca import pp
from hrca.annotation._write import check_file_entries
from hrca.data._sources import open_query_input
from hrca.io import read_cells, write_groups
from hrca.model._model import HRCA

from ._checks import check_prediction_flags, check_training_flags
from ._flags import arguments_of
from ._model import check_model_folder, load_model, make_model, train_model
from ._outputs import Output, plan_outputs, unfinished_stores
from ._prediction_flags import GROUP_FLAGS, PREDICT_FLAGS
from ._shell_words import naming_file
from ._summary import summarize_annotation
from ._training_flags import SETUP_FLAGS


def annotate_files(queries: Sequence[Path], flags: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Annotate files.

    Parameters
    ----------
    queries
        The files or folders.
    flags
        Values of the flags of the command.

    Returns
    -------
    A summary of each query, with the files that were written.
    """
    predict = check_prediction_flags(flags)
    if flags["model"] is None:
        check_training_flags(flags)
    outputs = plan_outputs(queries, flags["out"], flags["csv"], table=flags["table"], overwrite=flags["overwrite"])
    if flags["save_model"] is not None:
        check_model_folder("save_model", flags["save_model"], overwrite=flags["overwrite"])
    with naming_file(flags["reference"]):
        reference = None if flags["reference"] is None else read_cells(flags["reference"])
    model = None if flags["model"] is None else load_model(flags["model"], flags)
    with unfinished_stores(outputs) as stores:
        paths = [output.cells(store) for output, store in zip(outputs, stores, strict=True)]
        for output, path in zip(outputs, paths, strict=True):
            with naming_file(output.query, opened=path):
                _check_not_empty(path)
        if model is None:
            for output, path in zip(outputs, paths, strict=True):
                with naming_file(output.query, opened=path):
                    check_file_entries(path, flags["key_added"], with_terms=flags["ontology_terms"] is not None)
            with naming_file(flags["reference"], SETUP_FLAGS):
                model = make_model(reference, flags, paths, genes_of_queries=True)
            for output, path in zip(outputs, paths, strict=True):
                with naming_file(output.query, PREDICT_FLAGS, opened=path):
                    pp.check(path, model, layer=flags["layer"])
            train_model(model, flags, paths[0] if flags["match_query"] else None)
            if flags["save_model"] is not None:
                model.save(flags["save_model"], overwrite=True)
        _predict(model, outputs, paths, predict, enable_progress_bar=not flags["quiet"])
        for output, path in zip(outputs, paths, strict=True):
            if output.csv is not None:
                write_groups(path, output.csv, key_added=flags["key_added"], **arguments_of(GROUP_FLAGS, flags))
    return [_result(output, flags["key_added"]) for output in outputs]


def _check_not_empty(path: Path) -> None:
    cells, _ = open_query_input(path, "rna")
    if cells.n_obs == 0 or cells.n_vars == 0:
        raise ValueError(
            f"A query must have cells and genes, got {cells.n_obs:,} cells x {cells.n_vars:,} genes. "
            "Did a filter leave nothing?"
        )


def _predict(
    model: HRCA,
    outputs: Sequence[Output],
    paths: Sequence[Path],
    arguments: Mapping[str, Any],
    *,
    enable_progress_bar: bool,
) -> None:
    # one query by itself: errors and warnings need not name it
    queries = paths[0] if len(paths) == 1 else {str(o.query): path for o, path in zip(outputs, paths, strict=True)}
    one = len(paths) == 1
    with naming_file(outputs[0].query if one else None, PREDICT_FLAGS, opened=paths[0] if one else None):
        model.predict(queries, enable_progress_bar=enable_progress_bar, **arguments)


def _result(output: Output, key: str) -> dict[str, Any]:
    summary = summarize_annotation(output.cells(output.store), key)
    return {"query": output.query, "written": [output.store, *([output.csv] if output.csv else [])], **summary}
