"""Annotate files, with a trained model or one that is trained first."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hrca import pp
from hrca.annotation._write import check_file_entries
from hrca.data._query import annotate_sample_errors
from hrca.io import write_groups
from hrca.model._model import HRCA

from ._flags import arguments_of
from ._model import check_model_folder, load_model, make_model, read_reference, train_model
from ._outputs import Output, plan_outputs, unfinished_stores
from ._prediction_flags import PREDICT_FLAGS
from ._summary import summarize_annotation


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
    outputs = plan_outputs(queries, flags["out"], flags["csv"], table=flags["table"], overwrite=flags["overwrite"])
    if flags["save_model"] is not None:
        check_model_folder(flags["save_model"], overwrite=flags["overwrite"])
    predict = arguments_of(PREDICT_FLAGS, flags)
    reference = None if flags["reference"] is None else read_reference(flags["reference"])
    model = None if flags["model"] is None else load_model(flags["model"], flags)
    with unfinished_stores(outputs) as stores:
        paths = [output.cells(store) for output, store in zip(outputs, stores, strict=True)]
        if model is None:
            for output, path in zip(outputs, paths, strict=True):
                with annotate_sample_errors(str(output.query) if len(outputs) > 1 else None):
                    check_file_entries(path, flags["key_added"], with_terms=flags["ontology_terms"] is not None)
            model = make_model(reference, flags, paths, genes_of_queries=True)
            for path in paths:
                pp.check(path, model, layer=flags["layer"])
            train_model(model, flags, paths[0] if flags["match_query"] else None)
            if flags["save_model"] is not None:
                model.save(flags["save_model"], overwrite=True)
        _predict(model, outputs, paths, predict, enable_progress_bar=not flags["quiet"])
        for output, path in zip(outputs, paths, strict=True):
            if output.csv is not None:
                write_groups(path, output.csv, key_added=flags["key_added"])
    return [_result(output, flags["key_added"]) for output in outputs]


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
    model.predict(queries, enable_progress_bar=enable_progress_bar, **arguments)


def _result(output: Output, key: str) -> dict[str, Any]:
    summary = summarize_annotation(output.cells(output.store), key)
    return {"query": output.query, "written": [output.store, *([output.csv] if output.csv else [])], **summary}
