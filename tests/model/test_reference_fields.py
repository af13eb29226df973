"""A reference that changes after its setup."""

import anndata as ad
import mudata as md
import numpy as np
import pytest
import scanpy as sc
import scvi
from conftest import QUIET, TINY, synthetic

import hrca

PLAIN = {"key_added": None, "enable_progress_bar": False}


def new_model(adata: ad.AnnData, labels_key: str = "cell_type") -> hrca.HRCA:
    hrca.HRCA.setup_anndata(adata, labels_key=labels_key)
    return hrca.HRCA(adata, **TINY)


def normalise(adata: ad.AnnData) -> None:
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)


def permute_cells(adata: ad.AnnData) -> None:
    adata.X = adata.X[::-1].copy()


def permute_labels(adata: ad.AnnData) -> None:
    adata.obs["cell_type"] = adata.obs["cell_type"].to_numpy()[::-1]


def rename_genes(adata: ad.AnnData) -> None:
    adata.var_names = adata.var_names[::-1]


CHANGES = {
    normalise: "values that are no raw counts. Undo the change, or read the reference again",
    permute_cells: "other counts. To train on it as it is now, call `HRCA.setup_anndata` again",
    permute_labels: r"other labels in obs\['cell_type'\]",
    rename_genes: "other gene names",
    lambda adata: adata._inplace_subset_var(np.arange(20)): "x 20 genes and not",
    lambda adata: adata._inplace_subset_obs(np.arange(50)): "50 cells x",
    lambda adata: adata.obs.drop(columns="cell_type", inplace=True): r"no column obs\['cell_type'\]",
}


@pytest.mark.parametrize(("change", "words"), CHANGES.items())
@pytest.mark.parametrize("is_made_before", [True, False])
def test_a_reference_that_changed_after_its_setup_raises(change, words, is_made_before):
    adata = synthetic(90)
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    if is_made_before:
        model = hrca.HRCA(adata, **TINY)
        change(adata)
    else:
        change(adata)
        model = hrca.HRCA(adata, **TINY)
    for train in (model.train, model.pretrain, model.finetune):
        with pytest.raises(ValueError, match=f"must be as it was at `HRCA.setup_anndata`, but it has .*{words}"):
            train(1, **QUIET)
    assert not model.is_trained


def test_a_reference_that_changed_raises_in_adapt_and_match_query():
    adata = synthetic(90)
    query = synthetic(60)
    model = new_model(adata)
    model.train(1, pretrain_epochs=1, **QUIET)
    permute_labels(adata)
    with pytest.raises(ValueError, match="other labels"):
        model.adapt(query, **QUIET)
    with pytest.raises(ValueError, match="other labels"):
        model.match_query(query)


def test_two_models_of_one_reference_have_their_own_labels():
    adata = synthetic(90)
    adata.obs["coarse"] = np.where(adata.obs["cell_type"] == "type 0", "type 0", "type 1 or 2")
    coarse, fine = new_model(adata, "coarse"), new_model(adata)
    for model, key in ((coarse, "coarse"), (fine, "cell_type"), (coarse, "coarse")):
        model.finetune(1, **QUIET)
        codes = model._reference_cells().codes
        assert [model.labels[code] for code in codes] == adata.obs[key].tolist()


def test_the_setup_of_another_model_does_not_change_the_labels():
    adata = synthetic(90)
    model = new_model(adata)
    scvi.model.SCVI.setup_anndata(adata)
    adata.obs["_scvi_labels"] = 0
    model.finetune(1, **QUIET)
    assert [model.labels[code] for code in model._reference_cells().codes] == adata.obs["cell_type"].tolist()


def test_entries_of_scvi_that_a_user_removed_are_made_again():
    adata = synthetic(90)
    model = new_model(adata)
    adata.obs = adata.obs[["cell_type"]].copy()
    adata.uns.clear()
    model.finetune(1, **QUIET)
    assert [model.labels[code] for code in model._reference_cells().codes] == adata.obs["cell_type"].tolist()


def test_a_copy_that_is_set_up_leaves_the_original_as_it_was():
    adata = synthetic(90)
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    copied = adata.copy()
    hrca.HRCA.setup_anndata(copied, labels_key="cell_type")
    for reference in (adata, copied):
        assert hrca.HRCA(reference, **TINY).adata is reference


@pytest.mark.filterwarnings("ignore:.*pull_on_update:FutureWarning")
def test_a_changed_mudata_raises():
    rna = synthetic(90)
    mdata = md.MuData({"rna": rna})
    hrca.HRCA.setup_mudata(mdata, labels_key="cell_type", modalities={"rna_layer": "rna", "labels_key": "rna"})
    model = hrca.HRCA(mdata, **TINY)
    model.pretrain(1, **QUIET)
    permute_cells(mdata["rna"])
    with pytest.raises(ValueError, match="other counts"):
        model.pretrain(1, **QUIET)


def test_a_training_continues_only_on_its_own_cells(tmp_path):
    adata = synthetic(90)
    model = new_model(adata)
    model.pretrain(2, checkpoint_dir=tmp_path, checkpoint_interval=1, **QUIET)
    other = adata.copy()
    other.X = other.X[::-1].copy()
    twice = ad.concat([adata, adata], index_unique="-")
    relabelled = adata.copy()
    permute_labels(relabelled)
    for changed in (other, twice, relabelled):
        again = new_model(changed)
        with pytest.raises(ValueError, match="other counts or labels of the cells"):
            again.pretrain(3, checkpoint_dir=tmp_path, resume=True, **QUIET)
    same = new_model(adata.copy())
    with pytest.warns(UserWarning, match="ended after 2 epochs"):
        same.pretrain(3, checkpoint_dir=tmp_path, resume=True, **QUIET)
    assert len(same.history["pretrain_train_loss"]) == 2


def test_a_loaded_model_draws_the_cells_of_another_reference_anew(tmp_path):
    model = new_model(synthetic(90))
    model.train(1, pretrain_epochs=1, **QUIET)
    model.save(tmp_path / "model")
    more = ad.concat([synthetic(90), synthetic(60, seed=1)], index_unique="-")
    loaded = hrca.HRCA.load(tmp_path / "model", more)
    with pytest.warns(UserWarning, match="training and validation cells are drawn anew"):
        loaded.finetune(1, **QUIET)
    assert len(loaded.split_.train) + len(loaded.split_.validation) == 150
    # the confidences are then too high
    assert "Validation cells may have been training cells" in loaded.training_warnings_["finetune"][0]


def test_a_reference_is_loaded_in_the_order_of_the_model(tmp_path):
    adata = synthetic(90)
    model = new_model(adata)
    model.train(1, pretrain_epochs=1, **QUIET)
    model.save(tmp_path / "model")
    shuffled = adata[:, np.random.default_rng(0).permutation(60)].copy()
    before = shuffled.copy()
    loaded, same = (hrca.HRCA.load(tmp_path / "model", reference) for reference in (shuffled, adata))
    assert loaded.adata.var_names.equals(adata.var_names)
    assert shuffled.var_names.equals(before.var_names)
    assert shuffled.uns == before.uns
    for again in (loaded, same):
        again.finetune(1, **QUIET)
    np.testing.assert_array_equal(loaded.predict(adata, soft=True, **PLAIN), same.predict(adata, soft=True, **PLAIN))


@pytest.mark.parametrize("genes", [np.arange(59), np.r_[0:60, 60:65]])
def test_a_reference_with_other_genes_is_not_loaded(tmp_path, genes):
    model = new_model(synthetic(90))
    model.train(1, pretrain_epochs=1, **QUIET)
    model.save(tmp_path / "model")
    other = synthetic(90, n_genes=65)[:, genes].copy()
    with pytest.raises(ValueError, match=f"must have the 60 genes of the model, but it has {len(genes)}"):
        hrca.HRCA.load(tmp_path / "model", other)
