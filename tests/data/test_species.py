"""Genes of two species, by prefix or by case."""

import anndata as ad
import pandas as pd
import pytest

from hrca.data._species import check_single_species, detect_mixed_species

HUMAN, MOUSE = ["ACTB", "CD4", "C1orf112", "HLA-A"], ["Actb", "Cd4", "A830018L16Rik", "H2-K1"]


@pytest.mark.parametrize(
    ("names", "species"),
    [
        (HUMAN, []),
        (MOUSE, []),
        ([*HUMAN, *MOUSE[:2]], ["ACTB", "Actb"]),
        ([*(f"GRCh38_{name}" for name in HUMAN), *(f"mm10___{name}" for name in MOUSE)], ["GRCh38", "mm10"]),
        (["ENSG00000075624", "ENSMUSG00000029580"], ["human", "mouse"]),
        ([f"ENSG{i:011}" for i in range(100)] + ["ENSMUSG00000029580"], []),
        ([], []),
    ],
)
def test_two_species(names, species):
    assert sorted(detect_mixed_species(pd.Index(names, dtype=object))) == species


@pytest.mark.parametrize(
    ("prefixes", "remedy"),
    [
        (("GRCh38_", "mm10___"), r"adata.var_names.str.startswith\('GRCh38_'\)"),
        (("", ""), "Keep the genes, and the cells"),
    ],
)
def test_two_species_raise_with_a_remedy(prefixes, remedy):
    names = [*(prefixes[0] + name for name in HUMAN), *(prefixes[1] + name for name in MOUSE[:2])]
    with pytest.raises(ValueError, match=rf"one species, but `adata.var_names` has those of two.*{remedy}"):
        check_single_species(pd.Index(names), "`adata.var_names`")


def test_real_genes_are_of_one_species(data_dir):
    for path in sorted(data_dir.glob("*.h5ad")):
        assert not detect_mixed_species(ad.read_h5ad(path, backed="r").var_names), path.stem
