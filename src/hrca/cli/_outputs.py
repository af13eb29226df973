"""Where the results of an annotation go: into the queries' files, or into copies that appear when they are complete."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hrca.data._formats import WRITABLE_FORMATS, file_format, table_path
from hrca.io import read_cells, write_cells

from ._shell_words import naming_file

STORE_SUFFIXES = (".h5ad", ".zarr")

# Ends of names that mean a file. Others, such as that of "results.v2", may be those of folders.
FILE_SUFFIXES = (
    *STORE_SUFFIXES,
    *(".csv", ".tsv", ".txt", ".gz", ".xlsx", ".parquet", ".json", ".html", ".pdf", ".png"),
    *(".h5", ".hdf5", ".h5mu", ".loom", ".rds", ".mtx"),
)
WRITE_BITS = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class Output:
    """The places of a query and of its results.

    Attributes
    ----------
    query
        File or folder of the query.
    store
        File or folder that gets the results.
    csv
        File of the labels alone; None: none is written.
    table
        Name of a table in the query; None: the only one.
    """

    query: Path
    store: Path
    csv: Path | None
    table: str | None

    @property
    def is_copy(self) -> bool:
        """Whether the results go into a copy."""
        return self.store != self.query

    def cells(self, store: Path) -> Path:
        """Return the path of the AnnData in a store of the results."""
        return table_path(store, self.table) if file_format(store) == "spatialdata" else store


def plan_outputs(
    queries: Sequence[Path], out: Path | None, csv: Path | None, *, table: str | None, overwrite: bool
) -> list[Output]:
    """Decide where the results of each query go, and check that they can.

    Parameters
    ----------
    queries
        Files or folders of the queries.
    out
        A file for one query, or a folder; None: the queries' own files.
    csv
        Likewise for the labels alone; None: none.
    table
        Name of the table in each query; None: the only one.
    overwrite
        Whether copies and csv files that exist are replaced.

    Raises
    ------
    ValueError
        If `out` or `csv` is a file of another kind; a query has no known format, or a format that results cannot be
        written into, and `out` is None; two queries have one name; or one file is to take the results of several.
    FileNotFoundError
        If there is no such query.
    OSError
        If a place cannot be written to, or a copy or csv file exists already.
    """
    names = [query.name.removesuffix(".zarr") if query.is_dir() else query.stem for query in queries]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(
            f"Queries must have different names, but {doubled[0]!r} is there twice: annotate them one by one."
        )
    _check_suffix(out, STORE_SUFFIXES, "`--out` is an h5ad file or a folder; for a table use `--csv`")
    _check_suffix(csv, (".csv",), "`--csv` is a csv file or a folder; for the cells use `--out`")
    outputs = []
    for query, name in zip(queries, names, strict=True):
        with naming_file(query):
            query_format = file_format(query)
        if out is None and query_format not in WRITABLE_FORMATS:
            raise ValueError(f"The results of {str(query)!r} need a file of their own. Name it by `--out FILE.h5ad`.")
        suffix = ".zarr" if query_format in ("zarr", "spatialdata") else ".h5ad"
        store = query if out is None else _place(out, name, STORE_SUFFIXES, suffix, len(queries))
        labels = None if csv is None else _place(csv, name, (".csv",), ".csv", len(queries))
        output = Output(query, store, labels, table)
        if out is not None and store.resolve() == query.resolve():
            raise ValueError(f"{str(query)!r} is the query itself. Without `--out`, results go into its file.")
        if query_format == "spatialdata":
            table_path(query, table)
        _check_writable(output, overwrite=overwrite)
        outputs.append(output)
    return outputs


def _check_suffix(given: Path | None, suffixes: tuple[str, ...], message: str) -> None:
    """Check that a place is not the file of another kind, which would become a folder of its name."""
    if given is not None and given.suffix in FILE_SUFFIXES and given.suffix not in suffixes and not given.is_dir():
        raise ValueError(f"{message}, got {str(given)!r}.")


def _place(given: Path, name: str, suffixes: tuple[str, ...], suffix: str, n_queries: int) -> Path:
    """Return the file of one query: the one that was given, or one in the folder that was given."""
    if given.suffix not in suffixes:
        return given / f"{name}{suffix}"
    if n_queries > 1:
        raise ValueError(
            f"{n_queries} queries need a folder for their results, got the file {str(given)!r}. Name a folder."
        )
    return given


def _check_writable(output: Output, *, overwrite: bool) -> None:
    """Check that the places are free or may be replaced, and can be written to."""
    for new in (output.store if output.is_copy else None, output.csv):
        if new is not None and new.exists() and not overwrite:
            raise FileExistsError(f"{str(new)!r} exists already. `--overwrite` replaces it.")
    for path in (output.store, output.csv):
        if path is None:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        remedy = "`--out FILE` writes the results into a copy." if path == output.query else "Name another place."
        for place in (path.parent, *([path] if path.exists() else [])):
            # the administrator may write what has no write permission, but its owner did not mean that
            if not place.stat().st_mode & WRITE_BITS or not os.access(place, os.W_OK):
                raise PermissionError(f"{str(place)!r} is read-only. {remedy}")


@contextmanager
def unfinished_stores(outputs: Sequence[Output]) -> Iterator[list[Path]]:
    """Make the copies beside the places where they will appear, and move them there after the work.

    Parameters
    ----------
    outputs
        The places of the queries.

    Yields
    ------
    The store of each query that takes the results. After an error, the copies are deleted.
    """
    folders: list[Path] = []
    stores: list[Path] = []
    try:
        for output in outputs:
            if not output.is_copy:
                stores.append(output.store)
                continue
            prefix = f".{output.store.name}."
            folders.append(Path(tempfile.mkdtemp(dir=output.store.parent, prefix=prefix, suffix=".tmp")))
            stores.append(folders[-1] / output.store.name)
            _copy(output, stores[-1])
        yield stores
        for output, store in zip(outputs, stores, strict=True):
            if output.is_copy:
                if output.store.is_dir():
                    shutil.rmtree(output.store)
                os.replace(store, output.store)
    finally:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


def _copy(output: Output, store: Path) -> None:
    """Copy a query's file where it can take the results as it is; read it into memory and write it otherwise."""
    query_format = file_format(output.query)
    if query_format == "h5ad" and store.suffix == ".h5ad":
        shutil.copyfile(output.query, store)
    elif query_format in ("zarr", "spatialdata") and store.suffix == ".zarr":
        shutil.copytree(output.query, store)
    else:
        write_cells(read_cells(output.query, table=output.table), store)
