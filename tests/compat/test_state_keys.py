"""Keys of the networks' parameters: both tables cover a network, in both directions."""

import pytest
from conftest import TINY

from hrca.compat._state_keys import GENE_AE_KEYS, SE_CLASSIFIER_KEYS, expand_key_table, rename_keys
from hrca.module._networks import GeneAE, SEClassifier

N_STAGES = 3


def networks():
    sizes = {name: TINY[name] for name in ("n_hidden", "n_latent", "n_heads", "n_feedforward")}
    gene_ae = GeneAE(n_genes=7, n_layers=2, dropout_rate=0.1, **sizes)
    return gene_ae, SEClassifier(n_latent=16, n_labels=4, widths=(8, 4, 4)[:N_STAGES], dropout_rate=0.5)


@pytest.mark.parametrize(
    ("which", "table"), [(0, GENE_AE_KEYS), (1, SE_CLASSIFIER_KEYS)], ids=["Gene-AE", "classifier"]
)
def test_a_table_covers_each_parameter_in_both_directions(which, table):
    state = networks()[which].state_dict()
    layers = expand_key_table(table, state)
    published = rename_keys(state, {ours: theirs for theirs, ours in layers.items()}, "file")
    assert len(published) == len(state)
    assert expand_key_table(table, published) == layers
    assert list(rename_keys(published, layers, "file")) == list(state)


def test_the_output_layer_is_the_stage_after_the_last():
    layers = expand_key_table(SE_CLASSIFIER_KEYS, networks()[1].state_dict())
    assert layers[f"SEres.{N_STAGES}"] == "output"
    assert layers[f"SEres.{N_STAGES - 1}.layer.0.1"] == f"stages.{N_STAGES - 1}.plain.1"


def test_unknown_and_missing_keys_are_named():
    with pytest.raises(ValueError, match=r"\['c.weight'\] are unknown and \['b'\] are missing; 1 and 1 in all"):
        rename_keys({"a.weight": 0, "c.weight": 1}, {"a": "x", "b": "y"}, "AE_1.pth")
