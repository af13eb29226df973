"""Features that are not genes, by 10x's column or by their name."""

import anndata as ad
import pandas as pd

from hrca.data._features import flag_non_gene_features, gene_type, is_gene_feature, type_column


def test_control_probes_and_proteins_are_flagged_by_name():
    names = [
        "ACTB",
        "Blank-1",
        "NegPrb01",
        "BLANK_0003",
        "CD4_TotalSeqB",
        "HTO_1",
        "ERCC-00002",
        "ERCC1",
        "NEGR1",
        "ADTRP",
    ]
    assert flag_non_gene_features(pd.Index(names)) == {
        "control probes": ["Blank-1", "NegPrb01", "BLANK_0003", "ERCC-00002"],
        "proteins": ["CD4_TotalSeqB", "HTO_1"],
    }


def test_feature_types_tell_genes():
    var = pd.DataFrame({"feature_types": ["Gene Expression", "Antibody Capture"]})
    assert is_gene_feature(var).tolist() == [True, False]
    assert is_gene_feature(var[1:]).tolist() == [True]
    assert is_gene_feature(var[[]]).tolist() == [True, True]
    for word in ("GEX", "RNA", "gene_expression", " Gene Expression"):
        var = pd.DataFrame({"feature_types": [word, "ATAC"]})
        assert is_gene_feature(var).tolist() == [True, False]
        assert gene_type(var, "feature_types") == word


def test_a_doubled_column_of_types_tells_nothing():
    var = pd.DataFrame([["Gene Expression", "Peaks"]] * 2, columns=["feature_types"] * 2)
    assert is_gene_feature(var).tolist() == [True, True]


def test_a_column_without_any_gene_is_not_the_one_with_types():
    var = pd.DataFrame({"feature_types": ["a", "b"], "feature_type": ["Gene Expression", "b"]})
    assert type_column(var) == "feature_type"
    assert type_column(var[["feature_types"]]) is None


def test_real_genes_are_not_flagged(data_dir):
    for path in sorted(data_dir.glob("*.h5ad")):
        names = ad.read_h5ad(path, backed="r").var_names
        assert not any(flag_non_gene_features(names).values()), path.stem
