"""A new classifier on an existing Gene-AE."""

import numpy as np
import pytest
import torch
from conftest import QUIET, TINY, synthetic

import hrca


@pytest.fixture
def source() -> hrca.HRCA:
    """Pre-trained without labels."""
    adata = synthetic(60)
    hrca.HRCA.setup_anndata(adata)
    model = hrca.HRCA(adata, **TINY)
    model.pretrain(2, **QUIET)
    return model


def new_reference():
    """50 of the source's genes, shuffled among 10 of its own; its labels under another name."""
    adata = synthetic(80, n_genes=70, seed=4)
    genes = np.random.default_rng(2).permutation(np.r_[10:70])
    adata = adata[:, genes].copy()
    adata.obs["annotation"] = adata.obs.pop("cell_type")
    return adata


def test_shared_genes_bring_their_parameters_and_new_ones_start_fresh(source, caplog):
    reference = new_reference()
    with caplog.at_level("INFO", logger="hrca"):
        model = hrca.HRCA.from_pretrained(source, reference, "annotation")
    assert "Gene-AE has weights for 50 of 60 genes; 10 start untrained." in caplog.text
    assert sorted(model.labels) == ["type 0", "type 1", "type 2"]
    old, new = source.module.gene_ae, model.module.gene_ae
    for position, gene in enumerate(reference.var_names):
        if gene in source.gene_names:
            where = source.gene_names.get_loc(gene)
            assert torch.equal(new.encoder_input[0].weight[:, position], old.encoder_input[0].weight[:, where])
            assert torch.equal(new.decoder[4].weight[position], old.decoder[4].weight[where])
            assert torch.equal(new.decoder[4].bias[position], old.decoder[4].bias[where])
        else:
            assert not new.decoder[4].bias[position].any()
    for name, value in old.state_dict().items():
        if name not in ("encoder_input.0.weight", "decoder.4.weight", "decoder.4.bias"):
            assert torch.equal(new.state_dict()[name], value), name


def test_the_same_genes_give_the_same_latent_space(source):
    cells = synthetic(30, seed=7)
    model = hrca.HRCA.from_pretrained(source, synthetic(60), "cell_type")
    np.testing.assert_array_equal(model.get_latent_representation(cells), source.get_latent_representation(cells))


def test_it_goes_on_to_predict(source, query):
    model = hrca.HRCA.from_pretrained(source, new_reference(), "annotation", classifier_widths=(12,))
    assert len(model.module.se_classifier.stages) == 1
    with pytest.raises(ValueError, match="trained on labels"):
        model.predict(query)
    model.finetune(2, **QUIET)
    assert len(model.predict(query)) == query.n_obs


def test_a_folder_serves_as_well(source, tmp_path):
    source.save(tmp_path / "model")
    first = hrca.HRCA.from_pretrained(tmp_path / "model", synthetic(60), "cell_type")
    cells = synthetic(10, seed=8)
    np.testing.assert_array_equal(first.get_latent_representation(cells), source.get_latent_representation(cells))


def test_an_untrained_model_and_foreign_genes_raise(source):
    reference = new_reference()
    reference.var_names = "ENSG" + reference.var_names
    with pytest.raises(ValueError, match="share none"):
        hrca.HRCA.from_pretrained(source, reference, "annotation")
    adata = synthetic(60)
    hrca.HRCA.setup_anndata(adata)
    with pytest.raises(ValueError, match="trained first"):
        hrca.HRCA.from_pretrained(hrca.HRCA(adata, **TINY), new_reference(), "annotation")


def encoder_state(model) -> dict:
    return {name: p.detach().clone() for name, p in model.module.named_parameters() if "encoder" in name}


def test_a_frozen_encoder_stays_and_then_moves():
    from lightning.pytorch.callbacks import Callback

    class Moved(Callback):
        def __init__(self):
            self.moved = []

        def on_train_epoch_end(self, trainer, pl_module):
            now = dict(pl_module.module.named_parameters())
            self.moved.append([not torch.equal(value, now[name].detach()) for name, value in before.items()])

    adata = synthetic(60)
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    model, moved = hrca.HRCA(adata, **TINY), Moved()
    before = encoder_state(model)
    model.finetune(3, freeze_encoder_epochs=2, callbacks=[moved], **QUIET)
    assert not any(moved.moved[0] + moved.moved[1])
    assert all(moved.moved[2])


def test_the_encoder_has_a_learning_rate_of_its_own():
    from lightning.pytorch.callbacks import Callback

    class Rates(Callback):
        def on_train_start(self, trainer, pl_module):
            self.rates = [group["lr"] for group in trainer.optimizers[0].param_groups]

    adata = synthetic(60)
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    rates = Rates()
    hrca.HRCA(adata, **TINY).finetune(1, lr=1e-2, encoder_lr=1e-4, callbacks=[rates], **QUIET)
    assert rates.rates == [1e-4, 1e-2]


def test_genes_are_found_by_the_table_of_the_pretrained_model(reference):
    table = {name: f"ENSG{i:011}" for i, name in enumerate(reference.var_names)}
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type", gene_map=table)
    pretrained = hrca.HRCA(reference, **TINY)
    pretrained.pretrain(1, **QUIET)
    assert list(pretrained.gene_names) == list(table.values())
    again = hrca.HRCA.from_pretrained(pretrained, reference.copy(), "cell_type")
    assert again.gene_names.equals(pretrained.gene_names)
    by_id = reference.copy()
    by_id.var_names = list(table.values())
    other = hrca.HRCA.from_pretrained(pretrained, by_id, "cell_type")
    for new in (again, other):
        for name, value in new.module.gene_ae.state_dict().items():
            torch.testing.assert_close(value, pretrained.module.gene_ae.state_dict()[name])
