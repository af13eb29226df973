"""A path of a user may begin with a tilde, wherever it is read or written."""

import pandas as pd
import pytest
from conftest import synthetic

import hrca
from hrca._paths import user_path
from hrca.data._gene_map import read_gene_map


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty home directory, which is not the working directory."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    return tmp_path / "home"


def test_a_tilde_is_the_home_directory_at_the_start_of_a_path_alone(home):
    assert user_path("~") == home
    assert user_path(home / "~" / "a") == home / "~" / "a"
    assert str(user_path("~no_such_user/a")) == "~no_such_user/a"


def test_files_are_written_to_the_home_directory_and_read_from_it(home):
    adata = synthetic(3)
    hrca.io.write_cells(adata, "~/cells.h5ad")
    assert hrca.datasets.local("cells", "~").shape == adata.shape
    hrca.pl.confusion(["B"], ["B"], save="~/confusion.png")
    pd.Series({"a": "b"}).to_csv(home / "genes.csv", header=False)
    assert len(read_gene_map("~/genes.csv").pairs) == 1
    assert sorted(path.name for path in home.iterdir()) == ["cells.h5ad", "confusion.png", "genes.csv"]


def test_a_training_writes_its_checkpoints_to_the_home_directory(home):
    adata = synthetic(60)
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    model = hrca.HRCA(adata, size="laptop")
    model.pretrain(1, checkpoint_dir="~/checkpoints", enable_progress_bar=False)
    assert list((home / "checkpoints").glob("*.ckpt"))
