"""Every odd input gets the labels of the clean query or is refused in clear words, and stays as it was."""

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
PAGE = ROOT / "docs" / "inputs_table.md"


@pytest.fixture(scope="session")
def clean(data_dir):
    """300 cells of blood, of 3,000 genes that the model knows; the cells' own labels are not needed."""
    reference, query = (hrca.datasets.local(name, data_dir) for name in ("pbmc_facs_zheng", "pbmc3k"))
    genes = _genes(reference, query)
    query = query[:300, query.var_names.isin(genes)].copy()
    query.var["ensembl"] = reference.var["ensembl"].reindex(query.var_names)
    return ad.AnnData(query.X.sorted_indices(), obs=query.obs[[]].copy(), var=query.var[["ensembl"]].copy())


def _genes(reference, query) -> pd.Index:
    depth = pd.Series(np.asarray(reference.X.sum(axis=0)).ravel(), index=reference.var_names)
    known = reference.var["ensembl"].str.startswith("ENSG") & ~reference.var["ensembl"].duplicated()
    shared = depth[known & depth.index.isin(query.var_names) & ~depth.index.str.upper().duplicated(keep=False)]
    return shared.sort_values(kind="stable").index[-3000:]


@pytest.fixture(scope="session")
def models(data_dir):
    """One trained model, and the same with its genes named otherwise."""
    scvi.settings.seed = 0
    reference, query = (hrca.datasets.local(name, data_dir) for name in ("pbmc_facs_zheng", "pbmc3k"))
    reference = reference[::4, reference.var_names.isin(_genes(reference, query))].copy()
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY)
    model.train(2, 10, lr=1e-2, **QUIET)
    ensembl = reference.var["ensembl"].to_numpy()
    return {
        SYMBOLS: model,
        ENSEMBL: renamed(model, ensembl),
        MOUSE: renamed(model, reference.var_names.str.capitalize().to_numpy()),
    }


def renamed(model, names):
    other = copy.copy(model)
    other.registry_ = copy.deepcopy(model.registry_)
    other.registry_["field_registries"]["X"]["state_registry"]["column_names"] = names
    return other


def snapshot(adata: ad.AnnData) -> dict:
    """Everything that a user would miss."""
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
    assert probabilities[True].idxmax(axis=1).nunique() > 3, "labels that are all alike would prove nothing"
    return probabilities


@pytest.fixture(scope="session")
def outcomes() -> dict[str, tuple[str, str]]:
    """What happened to each case, for the table."""
    return {}


@pytest.mark.parametrize("name", CASES)
def test_labels_or_a_clear_error_and_nothing_changed(models, clean, expected, name, tmp_path, monkeypatch, outcomes):
    case = CASES[name]
    model = models[case.model]
    adata = case.make(clean.copy(), tmp_path)
    before = snapshot(adata)
    if case.is_right:
        report = hrca.pp.check(adata, model, layer=case.layer)
        # the platform factors are those of other cells where there are more or fewer of them
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
        monkeypatch.setattr(type(model.module), "branch_log_scores", lambda *_: pytest.fail("work had started"))
        with pytest.raises(ValueError) as refusal:
            model.predict(adata, key_added=None, layer=case.layer)
        outcomes[name] = "refused", str(refusal.value)
    assert_same(before, snapshot(adata))


def test_there_are_many_cases():
    assert len(CASES) >= 60


def test_the_page_says_what_happens(outcomes):
    if outcomes.keys() != CASES.keys():
        pytest.skip("only where all cases have run")
    # the table is the last of the page
    head, line, old = PAGE.read_text().rpartition("\n|---|---|---|\n")
    rows = "".join(f"| {name} | {happens} | {_escape(message)} |\n" for name, (happens, message) in outcomes.items())
    if os.environ.get("HRCA_WRITE_PAGE"):
        PAGE.write_text(head + line + rows)
    else:
        assert old == rows, (
            "HRCA_WRITE_PAGE=1 pytest tests/data/test_odd_inputs.py writes the table of docs/inputs_table.md anew"
        )


def test_the_page_has_the_memory_and_time_that_were_measured():
    rows = pd.read_csv(ROOT / "benchmarks" / "results" / "streaming.csv")
    for row in rows.itertuples():
        line = f"| {row.n_obs:,} | {row.file_gb:.2f} | {row.peak_above_start_gb:.2f} | {row.wall_s:.0f} |"
        assert f"\n{line}\n" in (ROOT / "docs" / "large_files.md").read_text()


def _escape(message: str) -> str:
    return message.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("\n", " ")
