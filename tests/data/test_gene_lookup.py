"""Names that are the same gene."""

import numpy as np
import pandas as pd

from hrca.data._gene_lookup import lookup_genes


def look_up(names, model_genes, *, ignore_case=False, is_gene=None):
    is_gene = np.ones(len(names), dtype=bool) if is_gene is None else np.array(is_gene)
    names, model_genes = (pd.Index(values, dtype=object) for values in (names, model_genes))
    return lookup_genes(names, model_genes, is_gene, ignore_case=ignore_case)


def test_names_are_matched_exactly_then_normalized_then_in_any_case():
    lookup = look_up(["x", "ENSG00000000002.4", "b", " C", "a"], ["a", "B", "C", "ENSG00000000002.1"], ignore_case=True)
    assert lookup.positions.tolist() == [4, 2, 3, 1]
    assert [(match.n_names, match.name, match.gene) for match in lookup.key_matches] == [
        (2, " C", "C"),
        (1, "b", "B"),
    ]
    assert look_up(["b"], ["B"]).positions.tolist() == [-1]


def test_a_key_of_two_names_matches_neither():
    assert look_up(["ENSG00000000001.1", "ENSG00000000001.2"], ["ENSG00000000001"]).positions.tolist() == [-1]
    assert look_up(["aB", "Ab"], ["AB"], ignore_case=True).positions.tolist() == [-1]
    # the second copy of a chromosome is another gene
    assert look_up(["ENSG00000000001.1_PAR_Y"], ["ENSG00000000001"]).positions.tolist() == [-1]


def test_an_exact_match_comes_first():
    assert look_up(["AB", "ab"], ["AB", "Ab"], ignore_case=True).positions.tolist() == [0, 1]


def test_the_first_of_two_is_taken_and_both_are_named():
    lookup = look_up(["a", "b", "a", "c", "c"], ["a", "b"])
    assert lookup.positions.tolist() == [0, 1]
    assert lookup.duplicated == ["a"]


def test_features_that_are_not_genes_are_not_matched():
    lookup = look_up(["a", "b", "a"], ["a", "b"], is_gene=[False, True, True])
    assert lookup.positions.tolist() == [2, 1]
    assert not lookup.duplicated


def test_nothing_among_nothing():
    assert look_up([], ["a"]).positions.tolist() == [-1]
    assert look_up(["a"], []).positions.tolist() == []
