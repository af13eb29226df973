"""Write the entries of a prediction into an object, or into the file that the query was read from."""

import copy
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from anndata import AnnData
from anndata.experimental import AnnCollection

from hrca.data._query import Query
from hrca.data._sources import QueryCells, entry_keys, open_file

from ._disk_space import expected_bytes
from ._options import LabelSpace, PredictOptions
from ._result import CELLXGENE_COLUMNS, CELLXGENE_KEY, OBS_SUFFIXES, OBSM_SUFFIXES, AnnDataEntries, column_values
from ._tables import table_in_object, writable_columns
from ._write_file import check_file, write_to_file


def check_target(
    query: Query,
    key_added: str,
    label_space: LabelSpace,
    options: PredictOptions,
    ontology_terms: Mapping[str, str] | None = None,
) -> None:
    """Raise an error if results could not be written into the query.

    Parameters
    ----------
    query
        The query, before the prediction.
    key_added
        Name of the results.
    label_space
        The labels that can be predicted.
    options
        Options of the prediction, of which `coverage` is used.
    ontology_terms
        Cell Ontology id of each label; None: the columns of CELLxGENE's schema are not written.

    Raises
    ------
    ValueError
        If `key_added` is no name of a column, or is the name of the index; if the results would replace entries that no
        prediction wrote; if the query is a view of an AnnData on disk, or a collection of such views; or if it is a
        file, and a label is no text that files can hold.
    OSError
        If the query is a file that cannot be replaced, see :func:`hrca.annotation._write_file.check_file`.
    """
    check_key(key_added, query.adata.obs_names.name)
    target = query.adata if isinstance(query.target, Path) else query.target
    with_terms = ontology_terms is not None
    for adata in target.adatas if isinstance(target, AnnCollection) else [target]:
        check_replaced(adata, key_added, with_terms=with_terms)
    if isinstance(target, AnnCollection):
        _check_collection_obs(target, key_added, with_terms=with_terms)
    if not isinstance(query.target, Path):
        check_writable(query.target)
        return
    names = [*label_space.tree.nodes, label_space.unlabeled_category]
    check_labels(names)
    n_tables = 1 if options.coverage is None else 2
    # cells that were not chosen get missing values
    obs_names = query.adata.obs_names if query.selection is None else query.selection.obs_names
    result_bytes = expected_bytes(obs_names, names, n_tables)
    check_file(query.target, result_bytes, query.adata.obs.shape[1])


def check_key(key_added: str, index_name: object) -> None:
    """Raise an error if results cannot have a name.

    Parameters
    ----------
    key_added
        Name of the results.
    index_name
        Name of the index of obs; None: it has none.

    Raises
    ------
    ValueError
        If files cannot hold it, or a column would have the name of the index.
    """
    if not isinstance(key_added, str) or list(writable_columns(pd.Index([key_added]))) != [key_added]:
        raise ValueError(
            f"`key_added` must be a name that files can hold, without '/', got {key_added!r}. A usual name is 'hrca'."
        )
    if isinstance(index_name, str) and index_name in {key_added, *(f"{key_added}_{name}" for name in OBS_SUFFIXES)}:
        raise ValueError(
            f"`key_added` must differ from the name of obs' index, but the results would have a column {index_name!r}. "
            "Choose another `key_added`, or rename the index: `adata.obs.index.name = None`."
        )


def check_replaced(adata: QueryCells, key_added: str, *, with_terms: bool = False) -> None:
    """Check that results replace no entry that HRCA has not written.

    Parameters
    ----------
    adata
        The cells.
    key_added
        Name of the results.
    with_terms
        Whether the columns of CELLxGENE's schema are also written.

    Raises
    ------
    ValueError
        If they would.
    """
    entries = _foreign_entries(adata, key_added)
    if entries:
        raise ValueError(
            f"Results must not replace entries that HRCA has not written, but the query has {entries[0]}. Choose "
            "another `key_added`, or rename or delete that entry."
        )
    columns = [name for name in CELLXGENE_COLUMNS if name in adata.obs]
    if with_terms and columns and CELLXGENE_KEY not in entry_keys(adata)[1]:
        raise ValueError(
            "`ontology_terms` must not replace a column that HRCA has not written, but the query has "
            f"obs[{columns[0]!r}]. Rename or delete it: `adata.obs = adata.obs.rename(columns={{{columns[0]!r}: "
            f"'author_{columns[0]}'}})`."
        )


def _check_collection_obs(collection: AnnCollection, key_added: str, *, with_terms: bool) -> None:
    """Check that results replace no column of the obs of a collection that HRCA has not written.

    The obs of a collection has no ``uns`` that records results. Columns of its AnnData are checked in these.
    """
    if collection.obs is None:
        return
    names = {key_added, *(f"{key_added}_{suffix}" for suffix in OBS_SUFFIXES)}
    names |= set(CELLXGENE_COLUMNS) if with_terms else set()
    found = [name for name in collection.obs if name in names and not any(name in a.obs for a in collection.adatas)]
    if found:
        raise ValueError(
            f"Results must not replace entries that HRCA has not written, but obs of the collection has {found[0]!r}. "
            "Choose another `key_added`, or rename or delete that column."
        )


def check_file_entries(path: Path, key_added: str, *, with_terms: bool = False) -> None:
    """Check as :func:`check_replaced` that results in a file would replace no entry that HRCA has not written.

    Parameters
    ----------
    path
        An h5ad file, or the folder of an AnnData in zarr.
    key_added
        Name of the results.
    with_terms
        Whether the columns of CELLxGENE's schema are also written.

    Raises
    ------
    ValueError
        If they would.
    """
    cells = open_file(path)
    try:
        check_replaced(cells, key_added, with_terms=with_terms)
    finally:
        if cells.file is not None:
            cells.file.close()


def _foreign_entries(adata: QueryCells, key_added: str) -> list[str]:
    """Return expressions of the entries that results would replace, if an earlier prediction has not written them."""
    obsm_keys, uns_keys = entry_keys(adata)
    if "hrca_version" in uns_keys.get(key_added, ()):
        return []
    columns = [key_added, *(f"{key_added}_{suffix}" for suffix in OBS_SUFFIXES)]
    tables = [f"{key_added}_{suffix}" for suffix in OBSM_SUFFIXES]
    return [
        *(f"obs[{name!r}]" for name in columns if name in adata.obs),
        *(f"obsm[{name!r}]" for name in tables if name in obsm_keys),
        *(f"uns[{name!r}]" for name in [key_added] if name in uns_keys),
    ]


def check_labels(labels: list[str]) -> None:
    """Raise an error if files cannot hold a label.

    Parameters
    ----------
    labels
        The labels that can be predicted.

    Raises
    ------
    ValueError
        If one has a NUL, or is no Unicode text.
    """
    for label in labels:
        if "\0" in label or label != label.encode(errors="replace").decode():
            raise ValueError(
                f"Labels must be Unicode text without NUL to be written into a file, but the model has {label!r}. "
                "Train it on labels without such characters; or use `key_added=None`, which writes nothing and returns "
                "the labels."
            )


def write_result(query: Query, entries: AnnDataEntries) -> None:
    """Write entries into the object or the file that the query came from.

    Parameters
    ----------
    query
        The query.
    entries
        Entries of its prediction.

    Raises
    ------
    ValueError
        If the query is a file, and no longer holds the cells that were predicted.
    OSError
        If the query is a file, and the copy that replaces it cannot be written.
    """
    if query.selection is not None:
        entries = entries.spread(query.selection)
    if not isinstance(query.target, Path):
        write_to_object(query.target, entries)
        return
    if query.adata.file is not None:
        query.adata.file.close()  # Windows does not replace an open file
    write_to_file(query.target, entries)


def check_writable(target: AnnData | AnnCollection) -> None:
    """Raise an error if :func:`write_to_object` cannot write into an object.

    Parameters
    ----------
    target
        The object.

    Raises
    ------
    ValueError
        If the object is a view of an AnnData on disk, or a collection of such views.
    """
    for adata in target.adatas if isinstance(target, AnnCollection) else [target]:
        # anndata makes a view actual by copying it, which for data on disk needs the name of a new file
        if adata.is_view and adata.isbacked:
            raise ValueError(
                "Results cannot be written into a view of a backed AnnData. `adata = adata.to_memory()` copies the "
                "cells to memory; or predict the whole object, or write nothing: `key_added=None`."
            )


def write_to_object(target: AnnData | AnnCollection, entries: AnnDataEntries) -> None:
    """Write entries into an object.

    Parameters
    ----------
    target
        An AnnData; or a collection, in which case obs of the collection and each of its AnnData are written.
    entries
        Entries of all cells, in order.
    """
    if isinstance(target, AnnCollection):
        _write_to_collection(target, entries)
    else:
        _write_to_adata(target, entries)


def _write_to_collection(collection: AnnCollection, entries: AnnDataEntries) -> None:
    if collection.obs is not None:
        for name in set(entries.stale) & set(collection.obs):
            del collection.obs[name]
        for column in entries.obs:
            collection.obs[column] = column_values(entries.obs[column])
    start = 0
    for adata in collection.adatas:
        _write_to_adata(adata, entries.subset(slice(start, start + adata.n_obs)))
        start += adata.n_obs


def _write_to_adata(adata: AnnData, entries: AnnDataEntries) -> None:
    if adata.is_view:
        # the first write into a view makes anndata do the same, with a warning; the user's object becomes actual
        adata._init_as_actual(adata.copy())
    for name in entries.stale:
        for group in (adata.obs, adata.obsm):
            if name in group:
                del group[name]
    for column in entries.obs:
        values = column_values(entries.obs[column])
        if isinstance(values, pd.Categorical):
            _match_colors(adata, column, values.categories)
        adata.obs[column] = values
    for name, table in entries.obsm.items():
        adata.obsm[name] = table_in_object(table, adata.obs_names)
    adata.uns.update(copy.deepcopy(entries.uns))


def _match_colors(adata: AnnData, column: str, categories: pd.Index) -> None:
    """Let a label keep the color that scanpy has stored for it by the order of the categories."""
    name = f"{column}_colors"
    if name not in adata.uns or column not in adata.obs:
        return
    before = adata.obs[column].astype("category").cat.categories
    colors = dict(zip(before, adata.uns[name], strict=False))
    if len(before) != len(adata.uns[name]) or not set(categories) <= set(before):
        # scanpy chooses new ones
        del adata.uns[name]
    elif not categories.equals(before):
        adata.uns[name] = [colors[label] for label in categories]
