"""The command, as a user calls it."""

import anndata as ad
import pytest
from typer.testing import CliRunner

from hrca.cli import app


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"]])
def test_help_names_the_command_and_its_options(arguments):
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    assert result.exit_code == 0, result.output
    words = ["--data", "--out", "--quick", "--seed", "two baselines"] if "demo" in arguments else ["demo", "confidence"]
    assert not [word for word in words if word not in result.output]


# of scanpy, umap and numba; the command hides them
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_demo_prints_scores_and_writes_its_files(tmp_path):
    result = CliRunner().invoke(app, ["demo", "--quick", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "Reference: 490 cells x 765 genes; query: 210 cells." in result.output
    assert "logistic regression" in result.output
    assert "So few epochs only show that everything runs" in result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["annotated.h5ad", "confusion.png", "umap.png"]
    annotated = ad.read_h5ad(tmp_path / "out" / "annotated.h5ad")
    assert annotated.n_obs == 210
    assert {"hrca", "hrca_confidence"} <= set(annotated.obs)
