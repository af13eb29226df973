"""The markers of a label are the genes of its profile."""

import numpy as np
import pytest

from hrca.explain._label_scores import likelihood_of


@pytest.mark.parametrize("against", [{}, {"against": "nearest"}])
def test_the_high_genes_of_each_label_are_its_markers(tiny_model, against):
    table = tiny_model.label_markers(n_genes=10, **against)
    assert list(table.columns) == ["label", "against", "gene", "fraction", "fraction_against", "rank", "contribution"]
    for code in range(3):
        of_label = table[table["label"] == f"type {code}"]
        assert set(of_label["gene"]) == {f"gene{g}" for g in range(code * 10, code * 10 + 10)}
        assert of_label["against"].nunique() == 1
        assert (of_label["against"] == "rest").all() == (against == {})
        assert (of_label["contribution"].diff().dropna() <= 0).all()
        assert (of_label["fraction"] > of_label["fraction_against"]).all()
        assert (of_label["rank"] == 1).all()


def test_contributions_are_the_score_of_the_typical_cell(tiny_model):
    table = tiny_model.label_markers(against="type 1", n_genes=60, depth=50)
    assert set(table["label"]) == {"type 0", "type 2"}
    profiles = likelihood_of(tiny_model.module).log_profiles.exp().numpy()
    row = table.iloc[0]
    gene = tiny_model.gene_names.get_loc(row["gene"])
    np.testing.assert_allclose([row["fraction"], row["fraction_against"]], profiles[[0, 1], gene], rtol=1e-6)
    assert row["contribution"] > 0
    shown = table.set_index(["label", "gene"])["rank"]
    for label, code in (("type 0", 0), ("type 2", 2)):
        for name, rank in shown.loc[label].items():
            fractions = profiles[:, tiny_model.gene_names.get_loc(name)]
            assert rank == 1 + (fractions > fractions[code]).sum()


def test_against_the_rest_contributions_are_the_mean_of_those_against_each(tiny_model):
    rest = tiny_model.label_markers(n_genes=60).set_index(["label", "gene"])
    assert set(rest["against"]) == {"rest"}
    label = "type 1"
    pairs = [tiny_model.label_markers(against=other, n_genes=60) for other in ("type 0", "type 2")]
    pairs = [pair[pair["label"] == label].set_index("gene") for pair in pairs]
    shared = pairs[0].index.intersection(pairs[1].index).intersection(rest.loc[label].index)
    assert len(shared) >= 10
    for column in ("contribution", "fraction_against"):
        mean = sum(pair.loc[shared, column] for pair in pairs) / 2
        np.testing.assert_allclose(rest.loc[label].loc[shared, column], mean)


def test_wrong_arguments_raise(tiny_model, tiny_networks):
    with pytest.raises(ValueError, match="profiles of the count likelihood, but this model has none"):
        tiny_networks.label_markers()
    for other in ("T", "NEAREST", None):
        with pytest.raises(ValueError, match='`against` must be "rest", "nearest" or a label of the model'):
            tiny_model.label_markers(against=other)
    for wrong in ({"n_genes": 0}, {"depth": 0}, {"depth": float("nan")}):
        with pytest.raises(ValueError, match="at least 1 and `depth` above 0"):
            tiny_model.label_markers(**wrong)
