"""The code of docs/scores.md, on every container of counts."""

import re

import numpy as np
import pytest
from conftest import ROOT, synthetic
from scipy import sparse

import hrca


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csr_array, np.asarray])
def test_the_scores_of_the_page_run_on_every_container(tiny_model, container):
    query = synthetic(60, seed=3)
    query.X = container(query.X.toarray())
    tiny_model.predict(query, coverage=0.9)
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "scores.md").read_text(), re.DOTALL)[1]
    names = {"query": query}
    exec(code, names)
    np.testing.assert_array_equal(names["depth"], hrca.metrics.depth_bins(synthetic(60, seed=3).to_df().sum(axis=1)))
