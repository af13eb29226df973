"""The methods of the accuracy benchmark, and labelling with them."""

from importlib.util import find_spec

import numpy as np
import pytest

from benchmarks.common import methods
from benchmarks.common.baselines.task import UNKNOWN
from benchmarks.common.data import ReferenceQueryPair, total_counts
from benchmarks.common.processes import ROOT, MethodError


@pytest.mark.parametrize("name", methods.METHODS)
def test_every_method_has_a_module_and_pinned_versions(name):
    method = methods.METHODS[name]
    assert find_spec(f"{methods.BASELINES}.{method.module}")
    if method.environment:
        assert (ROOT / "benchmarks" / "environments" / f"{method.environment}.txt").exists()


def test_a_method_without_its_environment_says_how_to_make_it(tmp_path):
    with pytest.raises(methods.EnvironmentMissingError, match=f"make.sh {tmp_path} celltypist"):
        methods.method_command("celltypist", tmp_path)
    with pytest.raises(methods.EnvironmentMissingError, match="make.sh FOLDER celltypist"):
        methods.method_command("celltypist", None)


def test_a_method_labels_each_cell_and_reports_its_cost(reference, query):
    cells = query[:, query.var_names.isin(reference.var_names)].copy()
    pair = ReferenceQueryPair(reference[:, cells.var_names].copy(), cells, "cell_type")
    command = methods.method_command("knn_pca", None)
    run = methods.label_queries(command, pair, {0.5: cells}, seed=0, timeout_s=120)
    labels = run.labels[0.5]
    assert labels["cell"].tolist() == cells.obs_names.tolist()
    np.testing.assert_array_equal(labels["label"] == UNKNOWN, total_counts(cells) == 0)
    assert run.report["predict_s"].keys() == {0.5}
    assert run.report["peak_gb"] > 0


def test_a_method_that_fails_is_an_error(reference):
    pair = ReferenceQueryPair(reference, reference, "cell_type")
    command = methods.method_command("multinomial", None)[:-2]
    with pytest.raises(MethodError, match="--variant"):
        methods.label_queries(command, pair, {1.0: reference}, seed=0, timeout_s=120)
