"""A store of results that is written in blocks, in any order and more than once."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from hrca.annotation._result import AnnDataEntries
from hrca.annotation._write_blocks import create_store, finish_store, read_names, write_columns, write_tables

NAMES = pd.Index([f"cell{i}" for i in range(7)])
LABELS = pd.Categorical.from_codes([0, 1, 2, 2, 1, 0, 0], categories=["B", "T/NK", "Unknown"])
OBS = pd.DataFrame({"hrca": LABELS, "hrca_confidence": np.linspace(0, 1, 7, dtype=np.float32)})
TABLES = {
    "hrca_probabilities": np.random.default_rng(0).random((7, 2)).astype(np.float32),
    "hrca_set": np.random.default_rng(1).random((7, 2)) > 0.5,
}


def template() -> AnnDataEntries:
    return AnnDataEntries(OBS[:0], {name: pd.DataFrame(table[:0]) for name, table in TABLES.items()}, {})


@pytest.mark.parametrize("format", [2, 3])
def test_blocks_that_are_written_twice_and_in_any_order_make_the_whole(tmp_path, format):
    path = tmp_path / "out.zarr"
    with ad.settings.override(zarr_write_format=format):
        create_store(path, template(), NAMES, 3)
        for start in (6, 0, 3, 0):
            rows = slice(start, start + 3)
            write_columns(path, start, OBS[rows])
            write_tables(
                path,
                start,
                [{name: table[rows][:1] for name, table in TABLES.items()}]
                + [{name: table[rows][1:] for name, table in TABLES.items()}],
            )
        finish_store(path, {"hrca": {"labels": np.array(["B", "T/NK"])}})
    adata = ad.read_zarr(path)
    assert list(adata.obs_names) == list(NAMES)
    assert list(read_names(path, slice(2, 4))) == ["cell2", "cell3"]
    assert list(adata.obs["hrca"]) == list(LABELS)
    assert list(adata.obs["hrca"].cat.categories) == list(LABELS.categories)
    np.testing.assert_array_equal(adata.obs["hrca_confidence"], OBS["hrca_confidence"])
    for name, table in TABLES.items():
        assert adata.obsm[name].dtype == table.dtype
        np.testing.assert_array_equal(adata.obsm[name], table)
    assert list(adata.uns["hrca"]["labels"]) == ["B", "T/NK"]


def test_a_process_that_does_not_see_the_folder_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="a worker does not see .*that all of them share"):
        read_names(tmp_path / "out.zarr", slice(0, 1))
