"""Fields and registry of scvi-tools."""

import pandas as pd
import pytest
import torch
from conftest import TINY, synthetic
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


def test_duplicated_genes_are_rejected():
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
