"""The remedy that is suggested if no matrix was selected."""

import pytest
from scipy import sparse

from hrca.data._count_selection_errors import explain_no_counts
from hrca.data._count_slots import CountSlot
from hrca.data._select_counts import MatrixSummary
from hrca.data._value_scale import ValueScale

X, RAW = CountSlot("X", "X"), CountSlot("raw", "raw")
COUNTS, LOG = ValueScale("raw counts", is_counts=True), ValueScale("log1p of counts", inverse="log1p")
FRACTIONS = ValueScale("fractions such as 0.5")


def layer(name):
    return CountSlot("layers", name)


def explain(*matrices, **settings):
    sample = sparse.csr_array([[1.0]])
    return explain_no_counts([MatrixSummary(slot, scale, sample) for slot, scale in matrices], **settings)


def test_the_content_of_each_matrix_comes_first():
    assert explain((X, FRACTIONS), (RAW, LOG)).startswith(
        "`adata.X` must hold raw counts (integers, 0 or more), but it holds fractions such as 0.5; `adata.raw` holds "
        "log1p of counts. "
    )


@pytest.mark.parametrize(
    ("matrices", "remedy"),
    [
        ([(X, LOG)], "`adata.layers['counts'] = hrca.pp.recover_counts(adata)`."),
        ([(X, FRACTIONS), (layer("log"), LOG)], "= hrca.pp.recover_counts(adata, layer='log')`."),
        ([(X, FRACTIONS), (RAW, LOG)], "`adata = adata.raw.to_adata()`, then `adata.layers['counts'] ="),
        (
            [(X, LOG), (layer("a"), COUNTS), (layer("b"), COUNTS)],
            "they differ: `adata.layers['a']`, `adata.layers['b']`. Name one: `layer='a'`.",
        ),
        (
            [(X, LOG), (layer("spliced"), COUNTS), (layer("unspliced"), COUNTS)],
            "`adata.layers['counts'] = adata.layers['spliced'] + adata.layers['unspliced']`.",
        ),
        ([(X, ValueScale("zeros only", is_counts=True, is_suspicious=True))], "name them: `layer='X'`."),
        ([(X, ValueScale("NaN"))], "NaN results from joining samples"),
        (
            [(X, ValueScale("counts and fractions", is_mostly_integer=True))],
            "`adata.layers['counts'] = np.rint(adata.X)`.",
        ),
        ([(X, FRACTIONS)], "from the file that they came in: `adata.layers['counts'] = ...`, before normalising."),
    ],
)
def test_the_remedy_is_for_the_most_certain_reason(matrices, remedy):
    assert remedy in explain(*matrices)


def test_counts_in_raw_alone_are_copied_for_a_reference():
    assert "adata.raw[:, adata.var_names].X.copy()`" in explain((X, LOG), (RAW, COUNTS), with_raw=False)
