"""Fields and registry of scvi-tools."""

import pandas as pd
import pytest
import scvi
import torch
from conftest import QUIET, TINY, synthetic
from mudata import MuData
from scvi import REGISTRY_KEYS

import hrca
from hrca.model._registration import anndata_fields, build_registry, mudata_fields, weights_fingerprint

GENES, LABELS = pd.Index(["b", "a", "c"]), ["T/B", "A"]


def test_labels_are_registered_only_if_there_are_any():
    assert [field.registry_key for field in anndata_fields(None, None, "Unknown")] == [REGISTRY_KEYS.X_KEY]
    keys = [REGISTRY_KEYS.X_KEY, REGISTRY_KEYS.LABELS_KEY]
    assert [field.registry_key for field in anndata_fields("counts", "cell_type", "Unknown")] == keys
    fields = mudata_fields(None, "cell_type", "Unknown", rna="rna", labels=None)
    assert [field.registry_key for field in fields] == keys
    assert len(mudata_fields(None, None, "Unknown", rna="rna", labels=None)) == 1


def test_a_built_registry_has_the_entries_of_a_set_up_reference():
    built = build_registry(hrca.HRCA, GENES, LABELS)
    reference = synthetic(9, n_genes=30)[:, :3].copy()
    reference.var_names = GENES
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    expected = hrca.HRCA(reference, **TINY).registry
    assert set(built) == set(expected)
    assert set(built["field_registries"]) == set(expected["field_registries"])
    assert built["setup_args"].keys() == expected["setup_args"].keys()


def test_a_model_of_a_built_registry_has_these_genes_and_labels_in_order():
    model = hrca.HRCA(registry=build_registry(hrca.HRCA, GENES, LABELS), **TINY)
    assert list(model.gene_names) == list(GENES)
    assert model.labels == LABELS
    assert model.unlabeled_category == "Unknown"


@pytest.mark.parametrize(
    "index",
    [
        pytest.param(pd.Index(range(10**6, 10**6 + 60)), id="integers"),
        pytest.param(pd.Index(pd.array([f"g{i}" for i in range(60)], dtype="string")), id="nullable strings"),
        pytest.param(pd.CategoricalIndex([f"g{i}" for i in range(60)]), id="categories"),
        pytest.param(pd.Index(pd.array(range(10**6, 10**6 + 60), dtype="Int64")), id="nullable integers"),
    ],
)
def test_genes_and_cells_of_any_index_have_names_that_are_strings(index):
    reference, query = synthetic(60), synthetic(60, seed=1)
    for adata in (reference, query):
        adata.var.index = adata.obs.index = index
    model = trained(reference)
    assert list(model.gene_names) == [str(name) for name in index]
    expected = trained(synthetic(60)).predict(synthetic(60, seed=1), key_added=None)
    assert list(model.predict(query, key_added=None)) == list(expected)
    assert hrca.pp.check(query, model).n_shared_genes == 60
    assert list(hrca.HRCA.from_pretrained(model, reference, "cell_type").gene_names) == list(model.gene_names)


def trained(reference, **settings):
    scvi.settings.seed = 0
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type", **settings)
    model = hrca.HRCA(reference, **TINY)
    model.train(pretrain_epochs=1, max_epochs=5, **QUIET)
    return model


def with_ids(adata):
    adata = adata.copy()
    adata.var_names = [f"ENSG{i:011}.{i % 7 + 1}" for i in range(adata.n_vars)]
    return adata


# symbols of the genes of `synthetic` by their Ensembl ids, and of genes that it does not have
GENE_MAP = {f"ENSG{i:011}": f"gene{i}" for i in range(90)}


def test_a_reference_of_other_names_gives_the_same_model_by_a_table(tmp_path):
    expected, reference, query = trained(synthetic(60)), with_ids(synthetic(60)), synthetic(60, seed=1)
    model = trained(reference, gene_map=pd.Series(GENE_MAP))
    assert reference.var_names[0] == "ENSG00000000000.1"
    assert list(model.gene_names) == list(expected.gene_names)
    assert model.model_id_ == expected.model_id_
    model.save(tmp_path / "model")
    labels = list(expected.predict(query, key_added=None))
    for loaded in (hrca.HRCA.load(tmp_path / "model"), hrca.HRCA.load(tmp_path / "model", reference)):
        assert list(loaded.gene_names) == list(expected.gene_names)
        # the table of the setup also finds the genes of a query
        for cells in (query, with_ids(query)):
            assert list(loaded.predict(cells, key_added=None)) == labels
    assert hrca.pp.check(reference, gene_map=GENE_MAP).gene_ids == "symbols in lower case"


def test_a_query_of_other_names_gets_the_same_labels_by_a_table(tiny_model):
    query = synthetic(60, seed=1)
    expected = list(tiny_model.predict(query, key_added=None))
    ids = with_ids(query)
    with pytest.raises(ValueError, match="`gene_map`.*hrca.pp.map_genes"):
        tiny_model.predict(ids, key_added=None)
    for table in (GENE_MAP, {symbol: gene for gene, symbol in GENE_MAP.items()}):
        assert list(tiny_model.predict(ids, key_added=None, gene_map=table)) == expected
    (note,) = hrca.pp.check(ids, tiny_model, gene_map=GENE_MAP).notes
    assert note == "60 names were matched by `gene_map`, such as 'ENSG00000000000.1' as 'gene0'."
    ids.var["gene"] = hrca.pp.map_genes(ids, GENE_MAP)
    assert list(tiny_model.predict(ids, key_added=None)) == expected


@pytest.mark.filterwarnings("ignore:.*pull_on_update:FutureWarning")
def test_a_mudata_of_other_names_is_mapped():
    mdata = MuData({"rna": with_ids(synthetic(60))})
    hrca.HRCA.setup_mudata(mdata, labels_key="cell_type", gene_map=GENE_MAP)
    assert list(hrca.HRCA(mdata, **TINY).gene_names) == [f"gene{i}" for i in range(60)]


def test_duplicated_genes_raise():
    with pytest.raises(ValueError, match="the model has 1 duplicated"):
        build_registry(hrca.HRCA, pd.Index(["a", "a"]), LABELS)


def test_the_fingerprint_depends_on_names_and_values():
    module = torch.nn.Linear(2, 2)
    first = weights_fingerprint(module)
    assert len(first) == 12
    assert int(first, 16) >= 0
    assert weights_fingerprint(module) == first
    assert weights_fingerprint(torch.nn.Sequential(module)) != first
    with torch.no_grad():
        module.bias[0] = torch.nextafter(module.bias[0], torch.tensor(9.0))
    assert weights_fingerprint(module) != first
