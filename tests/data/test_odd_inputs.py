"""Every unusual input gets the labels of the clean query or a clear error, and is not changed."""

import copy
import os

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scvi
from conftest import QUIET, ROOT, TINY
from odd_inputs import CASES, ENSEMBL, MOUSE, SYMBOLS
from scipy import sparse

import hrca

pytestmark = pytest.mark.filterwarnings(
    "ignore:Variable names are not unique", "ignore:Observation names are not unique"
)
DOCS = ROOT / "docs"
# ends with the table of all cases
PAGE = DOCS / "inputs_table.md"
N_QUERY_CELLS = 150


def labelled_cells() -> ad.AnnData:
    """700 labelled cells of blood that scanpy ships, with Ensembl ids that are made up."""
    adata = hrca.datasets.pbmc68k()
    adata.var["ensembl"] = [f"ENSG{i:011}" for i in range(adata.n_vars)]
    return adata


@pytest.fixture(scope="session")
def clean() -> ad.AnnData:
    """The query from which each case is made: 150 cells of 765 genes, without labels."""
    adata = labelled_cells()[:N_QUERY_CELLS]
    return ad.AnnData(adata.X.sorted_indices(), obs=adata.obs[[]].copy(), var=adata.var[["ensembl"]].copy())


@pytest.fixture(scope="session")
def models() -> dict[str, hrca.HRCA]:
    """One model, trained on the other 550 cells, and the same with other names of its genes."""
    scvi.settings.seed = 0
    reference = labelled_cells()[N_QUERY_CELLS:].copy()
    hrca.HRCA.setup_anndata(reference, labels_key="bulk_labels")
    model = hrca.HRCA(reference, **TINY)
    model.train(10, pretrain_epochs=2, lr=1e-2, **QUIET)
    return {
        SYMBOLS: model,
        ENSEMBL: renamed(model, reference.var["ensembl"].to_numpy()),
        MOUSE: renamed(model, reference.var_names.str.capitalize().to_numpy()),
    }


def renamed(model, names):
    other = copy.copy(model)
    other.registry_ = copy.deepcopy(model.registry_)
    other.registry_["field_registries"]["X"]["state_registry"]["column_names"] = names
    return other


def snapshot(adata: ad.AnnData) -> dict:
    """The parts of an AnnData that a prediction must not change."""
    matrices = {"X": adata.X} | {f"layer {name}": adata.layers[name] for name in adata.layers if name is not None}
    if adata.raw is not None:
        matrices["raw"] = adata.raw.X
    return {
        "matrices": {name: _content(x) for name, x in matrices.items() if x is not None},
        "obs": adata.obs.copy(),
        "var": adata.var.copy(),
        "keys": [sorted(map(str, part)) for part in (adata.obsm, adata.varm, adata.obsp, adata.varp, adata.uns)],
        "is_view": adata.is_view,
    }


def _content(x) -> tuple:
    if isinstance(x, np.ndarray):
        return type(x), x.dtype, x.flags.f_contiguous, x.copy()
    if sparse.issparse(x):
        return type(x), x.dtype, x.data.copy(), x.indices.copy(), x.indptr.copy()
    return (type(x), x[:].toarray() if sparse.issparse(x[:]) else x[:])


def assert_same(before: dict, after: dict) -> None:
    assert before["keys"] == after["keys"] and before["is_view"] == after["is_view"]
    pd.testing.assert_frame_equal(before["obs"], after["obs"])
    pd.testing.assert_frame_equal(before["var"], after["var"])
    assert before["matrices"].keys() == after["matrices"].keys()
    for name, parts in before["matrices"].items():
        for part, other in zip(parts, after["matrices"][name], strict=True):
            np.testing.assert_array_equal(part, other)


@pytest.fixture(scope="session")
def expected(models, clean):
    """Probabilities of the clean cells, with platform factors and without."""
    settings = {"soft": True, "key_added": None}
    probabilities = {
        which: models[SYMBOLS].predict(clean, platform_correction=which, **settings) for which in (True, False)
    }
    assert probabilities[True].idxmax(axis=1).nunique() > 3, "equal labels of all cells would prove nothing"
    return probabilities


@pytest.fixture(scope="session")
def outcomes() -> dict[str, tuple[str, str]]:
    """The result and the message of each case, for the table."""
    return {}


@pytest.mark.parametrize("name", CASES)
def test_an_input_gets_labels_or_a_clear_error_and_is_not_changed(
    models, clean, expected, name, tmp_path, monkeypatch, outcomes
):
    case = CASES[name]
    model = models[case.model]
    adata = case.make(clean.copy(), tmp_path)
    before = snapshot(adata)
    if case.is_right:
        report = hrca.pp.check(adata, model, layer=case.layer)
        # platform factors are estimated from all cells of a query, so that other cells give others
        platform_correction = case.rows is None
        probabilities = model.predict(
            adata, soft=True, key_added=None, layer=case.layer, platform_correction=platform_correction
        ).to_numpy()
        same = expected[platform_correction].to_numpy()
        rows = case.rows(len(same)) if case.rows else np.arange(len(same))
        right = np.where(rows[:, None] < 0, 0, same[rows])
        np.testing.assert_array_equal(probabilities.argmax(axis=1), right.argmax(axis=1))
        np.testing.assert_array_equal(probabilities.sum(axis=1) > 0, rows >= 0)
        outcomes[name] = "labels", " ".join(report.notes)
    else:
        monkeypatch.setattr(
            "hrca.prediction._probabilities.BranchScorer", lambda *_: pytest.fail("prediction has started")
        )
        with pytest.raises(ValueError) as error:
            model.predict(adata, key_added=None, layer=case.layer)
        outcomes[name] = "rejected", str(error.value)
    assert_same(before, snapshot(adata))


def test_there_are_many_cases():
    assert len(CASES) >= 60


def test_the_page_has_the_result_of_each_case(outcomes):
    if outcomes.keys() != CASES.keys():
        pytest.skip("only where all cases have run")
    head, line, old = PAGE.read_text().rpartition("\n|---|---|---|\n")
    rows = "".join(f"| {name} | {result} | {_escape(message)} |\n" for name, (result, message) in outcomes.items())
    if os.environ.get("HRCA_WRITE_PAGE"):
        PAGE.write_text(head + line + rows)
    else:
        assert old == rows, "HRCA_WRITE_PAGE=1 pytest tests/data/test_odd_inputs.py writes the table again"


def test_the_page_has_the_memory_and_time_that_were_measured():
    (table,) = (ROOT / "benchmarks" / "results").rglob("streaming.csv")
    page = (DOCS / "large_files.md").read_text()
    for row in pd.read_csv(table).itertuples():
        numbers = f"{row.n_obs:,} | {row.file_gb:.2f} | {row.peak_above_start_gb:.2f} | {row.wall_s:.0f}"
        line = f"| {numbers} | {row.cells_per_s:,.0f} |"
        assert f"\n{line}\n" in page


def _escape(message: str) -> str:
    return message.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("\n", " ")
