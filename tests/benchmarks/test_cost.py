"""The smallest run of each benchmark of cost; none repeats a measurement."""

import sys

import pandas as pd
import pytest
from conftest import synthetic

from benchmarks.common.data import ReferenceQueryPair
from benchmarks.common.results import RESULTS
from benchmarks.cost import cells_per_label, dask_cluster, prediction, streaming, training, validation
from hrca.train._trainingplans import FinetunePlan, PretrainPlan

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def _rows(monkeypatch, folder, module, *arguments: str) -> pd.DataFrame:
    name = module.__name__.rsplit(".", 1)[-1]
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments, "--out", str(folder)])
    module.main()
    first = (folder / f"{name}.csv").read_bytes()
    module.main()
    assert (folder / f"{name}.csv").read_bytes() == first
    rows = pd.read_csv(folder / f"{name}.csv")
    assert list(rows) == list(pd.read_csv(RESULTS / "cost" / f"{name}.csv", nrows=0))
    return rows


def test_prediction(tmp_path, monkeypatch):
    arguments = ("--cells", "400", "--genes", "200", "--shuffled")
    (row,) = _rows(monkeypatch, tmp_path, prediction, *arguments).to_dict("records")
    assert row["n_obs"] == 400
    assert row["shuffled"]
    assert row["wall_s"] > 0


def test_validation(tmp_path, monkeypatch):
    monkeypatch.setattr(validation, "SIZES", [(300, 200, 0.3)])
    rows = _rows(monkeypatch, tmp_path, validation, "--repeats", "1")
    assert rows["where"].tolist() == ["memory", "disk"]
    assert rows["check_fraction"].between(0, 1, inclusive="neither").all()


def test_training(tmp_path, monkeypatch):
    (row,) = _rows(monkeypatch, tmp_path, training, "--sizes", "laptop", "--genes", "200").to_dict("records")
    assert (row["size"], row["n_genes"]) == ("laptop", 200)
    assert row["pretrain_s_per_epoch"] > 0
    assert row["estimate_s_per_epoch"] > 0


def test_streaming(tmp_path, monkeypatch):
    folder = tmp_path / "files"
    rows = _rows(monkeypatch, tmp_path, streaming, "--folder", str(folder), "--sizes", "300")
    assert rows["n_labelled"].tolist() == [300]
    assert not list(folder.iterdir())


@pytest.mark.filterwarnings("ignore::hrca._warnings.HRCAWarning")
def test_dask_cluster(tmp_path, monkeypatch):
    arguments = ("--folder", str(tmp_path / "store"), "--cells", "600", "--genes", "200")
    rows = _rows(monkeypatch, tmp_path, dask_cluster, *arguments)
    assert rows["n_workers"].tolist() == [0, 1, 2]
    assert rows["n_other_labels"].tolist() == [0, 0, 0]
    assert (rows["received_mb"][1:] < 0.5).all()
    assert not list((tmp_path / "store").iterdir())


def test_cells_per_label(tmp_path, monkeypatch):
    pair = ReferenceQueryPair(synthetic(200), synthetic(50, seed=1), "cell_type")
    monkeypatch.setattr(cells_per_label, "read_pair", lambda spec, data: pair)
    monkeypatch.setattr(cells_per_label, "PANEL", "50 variable")
    for plan in (PretrainPlan, FinetunePlan):
        monkeypatch.setattr(plan, "default_steps", 10)
    arguments = ("--data", "unused", "--seeds", "1", "--limits", "20", "none")
    rows = _rows(monkeypatch, tmp_path, cells_per_label, *arguments)
    assert rows.groupby("pair")["limit"].unique().map(list).tolist() == [["20", "none"]] * 2
    assert rows["macro_f1"].between(0, 1).all()
