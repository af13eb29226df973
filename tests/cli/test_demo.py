"""The demo's pairs, baselines and figures."""

import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from shell import call

from hrca.cli._demo import DemoResult, draw_confusion
from hrca.cli._demo_baselines import count_likelihood, logistic_regression
from hrca.cli._demo_pairs import pbmc68k_pair, poa_pair
from hrca.datasets import pbmc68k
from hrca.metrics import annotation_scores


def test_the_query_is_thinned_to_30_percent_and_no_cell_is_in_both():
    pair = pbmc68k_pair(seed=1)
    full = pbmc68k()[pair.query.obs_names]
    assert not set(pair.reference.obs_names) & set(pair.query.obs_names)
    # the reference has no B cell
    is_b_cell = pbmc68k().obs["bulk_labels"] == "CD19+ B"
    assert pair.left_out == "CD19+ B"
    assert not (pair.reference.obs["bulk_labels"] == "CD19+ B").any()
    n_b_cells = int((pair.query.obs["bulk_labels"] == "CD19+ B").sum())
    assert pair.reference.n_obs + pair.query.n_obs == 700 - (is_b_cell.sum() - n_b_cells)
    assert n_b_cells > 0
    assert pair.query.X.sum() / full.X.sum() == pytest.approx(0.3, abs=0.01)
    assert (pair.query.X > full.X).nnz == 0


@pytest.mark.parametrize("baseline", [logistic_regression, count_likelihood])
def test_a_baseline_beats_the_largest_class(baseline):
    pair = pbmc68k_pair()
    true_labels = pair.query.obs["bulk_labels"].astype(str)
    # no baseline can know the type that the reference lacks
    is_known = (true_labels != "CD19+ B").to_numpy()
    scores = annotation_scores(true_labels[is_known], np.asarray(baseline(pair))[is_known])
    assert scores["accuracy"] > true_labels[is_known].value_counts(normalize=True).iloc[0] + 0.3


def test_real_pair_is_read(data_dir):
    pair = poa_pair(data_dir)
    assert pair.reference.shape == (920, 132)
    assert poa_pair(data_dir, left_out="").reference.shape == (1120, 132)
    assert "OD Mature" in set(pair.query.obs["label_harmonised"])
    assert "OD Mature" not in set(pair.reference.obs["label_harmonised"])
    assert pair.query.n_obs == 5343
    assert "" not in set(pair.query.obs["label_harmonised"])


def test_the_result_counts_cells_that_were_detected_and_ends_with_paths():
    pair = pbmc68k_pair()
    is_b_cell = (pair.query.obs["bulk_labels"] == "CD19+ B").to_numpy()
    pair.query.obs["hrca_novel_probability"] = np.where(is_b_cell, 0.6, 0.1)
    pair.query.obs.iloc[np.flatnonzero(is_b_cell)[0], -1] = np.nan  # a cell without counts
    pair.query.obs.iloc[np.flatnonzero(~is_b_cell)[:2], -1] = 0.5
    scores = pd.DataFrame({"accuracy": [0.5]}, index=["HRCA"])
    result = DemoResult(pair, scores, [Path("a.h5ad"), Path("b.png")], quick=True)
    n_b_cells = int(is_b_cell.sum())
    assert result.n_detected.to_numpy().tolist() == [[n_b_cells, n_b_cells - 1], [350 - n_b_cells, 2]]
    assert (
        f"{n_b_cells - 1} of {n_b_cells} cells 'CD19+ B', and 2 of the {350 - n_b_cells} other cells" in result.text()
    )
    assert result.text().splitlines()[-3:] == ["Written:", "a.h5ad", "b.png"]


def test_the_confusions_of_the_demo_are_of_the_cells_that_are_scored(tmp_path):
    pair = pbmc68k_pair()
    true_labels = pair.query.obs["bulk_labels"].astype(str)
    pair.query.obs["hrca"] = np.where(pair.is_known & (np.arange(350) % 4 > 0), true_labels, "CD34+")
    scored = annotation_scores(true_labels[pair.is_known], pair.query.obs["hrca"][pair.is_known])
    ax = draw_confusion(pair, tmp_path / "confusion.png")
    n_known = (true_labels != "CD19+ B").sum()
    assert ax.get_title() == f"{scored['accuracy']:.0%} of {n_known} labels are correct"
    assert (tmp_path / "confusion.png").exists()


@pytest.mark.slow
def test_the_demo_detects_the_type_and_prints_nothing_of_libraries(tmp_path, capsys):
    result = call(capsys, "demo", "--quick", "--out", tmp_path / "out")
    assert result.code == 0, result.err
    names = ["annotated.h5ad", "confusion.png", "report.html", "umap.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    lines = result.out.splitlines()
    assert lines[0].startswith("Reference: ")
    assert sorted(Path(line).name for line in lines[lines.index("Written:") + 1 :]) == names
    n_detected, n_b_cells = (int(word) for word in lines[1].split(": ")[1].split(" cells")[0].split(" of "))
    annotated = ad.read_h5ad(tmp_path / "out" / "annotated.h5ad")
    is_b_cell = annotated.obs["bulk_labels"] == "CD19+ B"
    assert n_b_cells == is_b_cell.sum() > 0
    assert n_detected == (annotated.obs["hrca_novel_probability"][is_b_cell] >= 0.5).sum()
    assert n_detected > 0.8 * n_b_cells
    assert {"hrca", "hrca_confidence"} <= set(annotated.obs)
    messages = [line for line in result.err.splitlines() if "%|" not in line]
    assert all(line.startswith("hrca: warning: ") for line in messages), messages
    assert not [line for line in messages if "are not scored" in line]


@pytest.mark.slow
def test_a_quiet_demo_shows_warnings_alone(tmp_path, capsys):
    result = call(capsys, "demo", "--quick", "--quiet", "--out", tmp_path / "out")
    assert result.code == 0, result.err
    assert result.out.startswith("Reference: ")
    assert all(line.startswith("hrca: warning: ") for line in result.err.splitlines()), result.err


def compare_scores(readme: Path, output: Path) -> subprocess.CompletedProcess:
    script = ROOT / ".ci" / "demo_scores.py"
    return subprocess.run([sys.executable, script, readme, output], capture_output=True, text=True, check=False)


def test_the_scores_of_the_readme_are_compared_with_those_of_the_demo(tmp_path):
    output = tmp_path / "demo.txt"
    # as three kinds of instructions give them
    for accuracy, macro_f1 in ((0.767, 0.674), (0.761, 0.665), (0.757, 0.661)):
        output.write_text(f"        accuracy  macro_f1\nHRCA       {accuracy}     {macro_f1}\nother  0.1 0.1\n")
        assert compare_scores(ROOT / "README.md", output).returncode == 0
    output.write_text("HRCA  0.72  0.67\n")
    failed = compare_scores(ROOT / "README.md", output)
    assert failed.returncode == 1 and "README.md gives (0.76, 0.67) for HRCA, but the demo has printed" in failed.stderr
    output.write_text("no table")
    assert compare_scores(ROOT / "README.md", output).returncode == 1
