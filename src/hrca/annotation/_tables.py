"""Tables of obsm in the form that h5ad files and zarr stores can hold (docs/decisions/0002)."""

import re

import numpy as np
import pandas as pd
from anndata.utils import make_index_unique

# HDF5 limits an attribute to 64 KiB. anndata stores the names of a table's columns in one, with 16 bytes each: 4,090
# columns can be written, 4,097 cannot (anndata 0.12, h5py 3.16).
MAX_TABLE_COLUMNS = 4_000

# A column is a folder of a zarr store: Linux, macOS and Windows allow 255 bytes, and zarr's temporary files need some.
MAX_COLUMN_BYTES = 200

# Names that anndata, HDF5 or zarr use themselves: the index, paths, and files of metadata in formats 2 and 3.
RESERVED_NAME = re.compile(r"|_index|\.|\.\.|\.z.*|zarr\.json|__.*")


def writable_columns(labels: pd.Index) -> pd.Index:
    """Return names of columns that h5ad and zarr can hold, unique and in the order of the labels.

    Parameters
    ----------
    labels
        The labels, shape (n_labels,).

    Returns
    -------
    The labels, in which "|" replaces "/", stands before a name that a format uses itself, and long names are cut.

    Examples
    --------
    >>> list(writable_columns(pd.Index(["NK", "CD4+/CD25", ".", "_index"])))
    ['NK', 'CD4+|CD25', '|.', '|_index']
    """
    return make_index_unique(pd.Index([_writable_column(str(label)) for label in labels], dtype=object))


def table_in_object(table: pd.DataFrame, obs_names: pd.Index) -> pd.DataFrame | np.ndarray:
    """Return a table as an entry of obsm, or its values as an array if no file could hold the table.

    Parameters
    ----------
    table
        Shape (n_obs, n_columns), with columns from :func:`writable_columns`.
    obs_names
        Names of the cells in the object.

    Returns
    -------
    The table with the object's names. Its values, if it has too many columns; or if the names are no strings: anndata
    writes such a table, but cannot read it again, since it reads the names of the cells as strings.
    """
    names = obs_names.categories if isinstance(obs_names, pd.CategoricalIndex) else obs_names
    if table.shape[1] > MAX_TABLE_COLUMNS or names.inferred_type not in ("string", "empty"):
        return table.to_numpy()
    columns = [f"|{name}" if name == obs_names.name else name for name in table.columns]
    return table.set_axis(obs_names).set_axis(make_index_unique(pd.Index(columns, dtype=object)), axis=1)


def table_in_file(table: pd.DataFrame, stored_names: pd.Index) -> pd.DataFrame | np.ndarray:
    """Return a table as an entry of obsm in a file, or its values as an array if the file could not hold the table.

    Parameters
    ----------
    table
        Shape (n_obs, n_columns), with columns from :func:`writable_columns`.
    stored_names
        Names of the cells in the file.

    Returns
    -------
    The table, with the names as strings, or as nullable strings if the file has these. Its values, if it has too many
    columns.
    """
    if table.shape[1] > MAX_TABLE_COLUMNS:
        return table.to_numpy()
    if not is_nullable(stored_names):
        stored_names = pd.Index([str(name) for name in stored_names], dtype=object)
    return table.set_axis(stored_names.rename(None))


def is_nullable(names: pd.Index) -> bool:
    """Return True for names that anndata writes as nullable strings."""
    return isinstance(names.dtype, pd.StringDtype)


def _writable_column(label: str) -> str:
    name = (
        label.replace("/", "|").replace("\0", "|").encode(errors="replace")[:MAX_COLUMN_BYTES].decode(errors="ignore")
    )
    return f"|{name}" if RESERVED_NAME.fullmatch(name) else name
