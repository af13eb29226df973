"""Write entries into an object or a file."""

import copy
from pathlib import Path

from anndata import AnnData
from anndata.experimental import AnnCollection

from hrca.data._query import Query

from ._result import AnnDataEntries, column_values
from ._write_file import check_disk_space, write_to_file


def check_target(query: Query) -> None:
    """Refuse a query whose annotation could not be written.

    Raises
    ------
    ValueError
        See :func:`check_writable`.
    OSError
        See :func:`hrca.annotation._write_file.check_disk_space`.
    """
    if isinstance(query.target, Path):
        check_disk_space(query.target)
    else:
        check_writable(query.target)


def write_result(query: Query, annotation: AnnDataEntries) -> None:
    """Write an annotation to where the query came from: into the object or the file.

    Raises
    ------
    ValueError
        See :func:`hrca.annotation._write_file.write_to_file`.
    OSError
        Likewise.
    """
    if not isinstance(query.target, Path):
        write_to_object(query.target, annotation)
        return
    if query.adata.file is not None:
        query.adata.file.close()  # some systems do not replace a file that is open
    write_to_file(query.target, annotation)


def check_writable(target: AnnData | AnnCollection) -> None:
    """Refuse what :func:`write_to_object` cannot write into.

    Raises
    ------
    ValueError
        If it is a view of an AnnData on disk, or a collection of such.
    """
    for part in target.adatas if isinstance(target, AnnCollection) else [target]:
        # to make it actual, anndata would need a file to copy it to
        if part.is_view and part.isbacked:
            raise ValueError(
                "Results cannot be written into a view of a backed AnnData. `adata = adata.to_memory()` makes cells "
                "in memory of it; or predict the whole, or have nothing written: `key_added=None`."
            )


def write_to_object(target: AnnData | AnnCollection, annotation: AnnDataEntries) -> None:
    """Write an annotation into an object; of a collection, into itself and into the AnnData that it is of."""
    if isinstance(target, AnnCollection):
        if target.obs is not None:
            for name in set(annotation.stale) & set(target.obs):
                del target.obs[name]
            for name in annotation.obs:
                target.obs[name] = column_values(annotation.obs[name])
        start = 0
        for part in target.adatas:
            write_to_object(part, annotation.of(slice(start, start + part.n_obs)))
            start += part.n_obs
        return
    if target.is_view:
        # what anndata would do at the first write, with a warning; the object that the user holds becomes actual
        target._init_as_actual(target.copy())
    for name in annotation.stale:
        for entries in (target.obs, target.obsm):
            if name in entries:
                del entries[name]
    for name in annotation.obs:
        target.obs[name] = column_values(annotation.obs[name])
    for name, table in annotation.obsm.items():
        target.obsm[name] = table.set_axis(target.obs_names)
    target.uns.update(copy.deepcopy(annotation.uns))
