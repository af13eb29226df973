"""The calls that users of scvi-tools type, and the outcome of each; another model of scvi-tools is the measure."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scvi
from conftest import QUIET, TINY, synthetic
from lightning.pytorch.loggers import CSVLogger
from scvi.train import TrainerConfig

import hrca


def new_model(**sizes) -> hrca.HRCA:
    adata = synthetic(100)
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    return hrca.HRCA(adata, **{**TINY, **sizes})


def n_epochs(model: hrca.HRCA, phase: str) -> int:
    return len(model.history.get(f"{phase}_train_loss", ()))


# Setup


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"batch_key": "batch"}, "networks have no covariates"),
        ({"categorical_covariate_keys": ["batch"]}, "networks have no covariates"),
        ({"continuous_covariate_keys": ["batch"]}, "networks have no covariates"),
        ({"size_factor_key": "batch"}, "normalises each cell by its own counts"),
        ({"label_key": "cell_type"}, "a reference has counts, labels"),
    ],
)
@pytest.mark.parametrize("method", ["setup_anndata", "setup_mudata"])
def test_a_setup_raises_for_what_hrca_lacks_and_says_why(reference, method, arguments, reason):
    (name,) = arguments
    with pytest.raises(TypeError, match=rf"`{method}` takes no `{name}`: .*{reason}") as raised:
        getattr(hrca.HRCA, method)(reference, labels_key="cell_type", **arguments)
    assert str(raised.value).count(". ") == 0
    assert not any(name.startswith("_scvi") for name in reference.obs)


def test_a_setup_takes_the_order_of_scanvi(reference):
    hrca.HRCA.setup_anndata(reference, "cell_type", "Unknown")
    assert hrca.HRCA(reference, **TINY).labels == ["type 0", "type 1", "type 2"]


def test_cells_of_a_query_in_the_reference_stay_unlabelled(reference):
    labels = reference.obs["cell_type"].astype(object)
    labels.iloc[60:] = "Unknown"
    reference.obs["cell_type"] = labels
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type", unlabeled_category="Unknown")
    model = hrca.HRCA(reference, **TINY)
    model.train(1, **QUIET)
    assert model.summary_stats["n_labels"] == 4
    assert len(model.predict(key_added=None)) == 100


def test_sizes_of_scvi_raise_with_one_that_would_do(reference):
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    with pytest.raises(ValueError, match="multiple of `n_heads`, got 10 and 8; 8 would do"):
        hrca.HRCA(reference, n_hidden=128, n_latent=10, n_layers=2)
    with pytest.raises(TypeError, match="gene_likelihood"):
        hrca.HRCA(reference, gene_likelihood="nb")


# Views of a model


def test_a_model_shows_itself_as_scvi_tools_does(tiny_model, capsys):
    repr(tiny_model)
    assert "HRCA with 60 genes, 3 labels" in capsys.readouterr().out
    assert tiny_model.summary_stats["n_cells"] == 100
    assert tiny_model.is_trained
    assert len(tiny_model.train_indices) + len(tiny_model.validation_indices) == 100
    assert len(tiny_model.test_indices) == 0
    assert list(tiny_model.get_var_names()) == list(tiny_model.gene_names)
    tiny_model.view_anndata_setup()
    assert "Setup via `HRCA.setup_anndata`" in (shown := capsys.readouterr().out)
    assert "labels_key" in shown
    assert "n_vars" in shown


def test_a_model_without_its_reference_says_so(tiny_model, tmp_path):
    tiny_model.save(tmp_path / "model")
    loaded = hrca.HRCA.load(tmp_path / "model")
    with pytest.raises(ValueError, match=r"loaded without.*registry\['setup_args'\]"):
        loaded.view_anndata_setup()
    for method in (loaded.train, lambda: loaded.adapt(synthetic(30))):
        with pytest.raises(ValueError, match=r"HRCA.load\(path, adata=reference\)"):
            method()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("load_query_data", "names of its genes, so give it to `predict`"),
        ("prepare_query_anndata", "names of its genes, so give it to `predict`"),
        ("get_elbo", "no distribution to draw from"),
        ("differential_expression", "scanpy.tl.rank_genes_groups"),
        ("get_ranked_features", "returns the contributions of genes"),
        ("get_reconstruction_error", "validation_reconstruction_loss"),
        ("minify_adata", "no posterior"),
        ("from_scvi_model", "from_pretrained"),
        ("no_such_thing", r"has no attribute 'no_such_thing'\.$"),
    ],
)
def test_a_missing_method_says_why(tiny_model, name, reason):
    for owner in (tiny_model, hrca.HRCA):
        assert not hasattr(owner, name)
        assert name not in dir(owner)
        with pytest.raises(AttributeError, match=reason):
            getattr(owner, name)


# Training: length


def test_the_first_position_is_the_number_of_epochs_and_scales_both_phases():
    model = new_model()
    # of 100 cells: 400 steps are 512 epochs; 700 steps would be 896, of which the specification has 200
    model.train(2, **QUIET)
    assert (n_epochs(model, "pretrain"), n_epochs(model, "finetune")) == (round(2 * 512 / 200), 2)


def test_max_epochs_by_name_does_the_same():
    model = new_model()
    model.train(max_epochs=1, **QUIET)
    assert (n_epochs(model, "pretrain"), n_epochs(model, "finetune")) == (round(512 / 200), 1)


def test_a_given_length_of_pretraining_holds():
    model = new_model()
    model.train(2, pretrain_epochs=1, **QUIET)
    assert (n_epochs(model, "pretrain"), n_epochs(model, "finetune")) == (1, 2)


@pytest.mark.parametrize("arguments", [{"max_epochs": 0}, {"max_epochs": -1}])
def test_no_epochs_raise_before_pretraining(arguments):
    model = new_model()
    with pytest.raises(ValueError, match="`max_epochs` must be at least 1"):
        model.train(**arguments, **QUIET)
    assert not model.history


def test_a_query_in_the_first_position_raises(query):
    with pytest.raises(TypeError, match=r"`max_epochs` must be .*got AnnData.*`train\(query=adata\)`"):
        new_model().train(query)


# Training: arguments of each model of scvi-tools


def test_plan_kwargs_reach_both_phases():
    model = new_model()
    model.train(1, pretrain_epochs=1, plan_kwargs={"lr": 1e-2, "lr_schedule": "plateau"}, **QUIET)
    assert [float(model.history[f"{phase}_lr"].iloc[0, 0]) for phase in ("pretrain", "finetune")] == [1e-2, 1e-2]


def test_an_unknown_plan_argument_raises_with_the_known_ones():
    with pytest.raises(TypeError, match=r"`plan_kwargs` must hold some of .*'lr'.*got \['weight_decay'\]"):
        new_model().train(1, plan_kwargs={"weight_decay": 0.1}, **QUIET)


def test_datasplitter_kwargs_reach_the_loader():
    model = new_model()
    model.train(1, pretrain_epochs=1, batch_size=40, datasplitter_kwargs={"drop_last": True}, **QUIET)
    assert model.is_finetuned_
    with pytest.raises(TypeError, match=r"`datasplitter_kwargs` must hold some of .*got \['shuffle'\]"):
        model.train(1, datasplitter_kwargs={"shuffle": False}, **QUIET)


def test_validation_size_leaves_test_cells():
    model = new_model()
    model.train(1, pretrain_epochs=1, train_size=0.7, validation_size=0.2, **QUIET)
    parts = (model.train_indices, model.validation_indices, model.test_indices)
    # rounded for each of the three labels
    np.testing.assert_allclose([len(part) for part in parts], [70, 20, 10], atol=1.5)
    assert sorted(np.concatenate(parts)) == list(range(100))
    with pytest.raises(ValueError, match=r"train_size=0.7, validation_size=0.2` and this one has `train_size=0.7`"):
        model.finetune(1, train_size=0.7, **QUIET)
    with pytest.raises(ValueError, match=r"`validation_size` must be from 0 to 1 - `train_size`, got 0.5"):
        new_model().train(1, train_size=0.7, validation_size=0.5, **QUIET)


def test_train_size_none_is_scvi_tools_default():
    model = new_model()
    model.train(1, pretrain_epochs=1, train_size=None, **QUIET)
    assert len(model.train_indices) == 91  # 0.9 of 34, 33 and 33 cells


def test_batch_size_none_is_scvi_tools_setting(monkeypatch):
    monkeypatch.setattr(scvi.settings, "batch_size", 30)
    model = new_model()
    model.train(1, pretrain_epochs=1, **QUIET)
    query = synthetic(20)
    model.predict(query, batch_size=None)
    assert query.uns["hrca"]["batch_size"] == 30


@pytest.mark.parametrize("schedule", ["one_cycle", "plateau"])
@pytest.mark.parametrize("every", [2, 10, None])
def test_validation_need_not_run_in_every_epoch(every, schedule):
    model = new_model()
    model.train(4, pretrain_epochs=4, check_val_every_n_epoch=every, lr_schedule=schedule, **QUIET)
    assert model.is_finetuned_
    losses = model.history.get("finetune_validation_loss")
    expected = {2: [False, True, False, True], None: [True] * 4}.get(every)
    assert (None if losses is None else losses.iloc[:, 0].notna().tolist()) == expected
    assert model.history["finetune_train_loss"].iloc[:, 0].notna().all()


def test_simple_progress_bar_is_either_bar(capsys):
    new_model().train(1, pretrain_epochs=1, accelerator="cpu", simple_progress_bar=True)
    shown = capsys.readouterr()
    assert "finetune 1/1" in shown.out + shown.err
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers|.*number of training batches", UserWarning)
        new_model().train(1, pretrain_epochs=1, accelerator="cpu", simple_progress_bar=False)
    shown = capsys.readouterr()
    assert "finetune 1/1" not in shown.out + shown.err
    assert "Epoch 0" in shown.out + shown.err


def test_early_stopping_keeps_the_best_epoch(caplog):
    model = new_model()
    with caplog.at_level("INFO", logger="hrca"):
        model.train(60, pretrain_epochs=1, lr=3e-2, early_stopping=True, early_stopping_patience=2, **QUIET)
    losses = model.history["finetune_validation_loss"].iloc[:, 0]
    assert len(losses) < 60
    assert f"kept the weights of epoch {losses.idxmin() + 1}, the lowest validation_loss" in caplog.text


def test_early_stopping_follows_another_monitor(caplog):
    model = new_model()
    monitor = {"early_stopping_monitor": "validation_accuracy", "early_stopping_mode": "max"}
    with caplog.at_level("INFO", logger="hrca"):
        model.train(30, pretrain_epochs=1, lr=1e-2, early_stopping=True, early_stopping_patience=2, **monitor, **QUIET)
    scores = model.history["finetune_validation_accuracy"].iloc[:, 0]
    assert f"kept the weights of epoch {scores.idxmax() + 1}, the highest validation_accuracy" in caplog.text


def test_an_unknown_monitor_raises_with_the_known_ones():
    with pytest.raises(RuntimeError, match="validation_loss"):
        new_model().train(2, pretrain_epochs=1, early_stopping=True, early_stopping_monitor="elbo_validation", **QUIET)


def test_samples_of_each_label_are_drawn_anew_in_each_epoch():
    model = new_model()
    model.train(1, pretrain_epochs=1, n_samples_per_label=5, **QUIET)
    assert model.is_finetuned_
    with pytest.raises(ValueError, match="`n_samples_per_label` must be at least 1"):
        new_model().train(1, n_samples_per_label=0, **QUIET)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("plan_config", {}, "plan of its own for each phase"),
        ("datamodule", None, "reads its cells from the object"),
        ("reduce_lr_on_plateau", True, "lr_schedule='plateau'"),
        ("load_sparse_tensor", True, "dense batches"),
        ("shuffle_set_split", False, "at random"),
        ("external_indexing", [], "`train_size` and `validation_size`"),
        ("use_gpu", True, "`accelerator` and `devices`"),
        ("batch_key", "batch", "networks have no covariates"),
        ("size_factor_key", "n_counts", "normalises each cell by its own counts"),
    ],
)
@pytest.mark.parametrize("method", ["train", "pretrain", "finetune"])
def test_training_raises_for_what_hrca_lacks_and_says_why(method, name, value, reason):
    with pytest.raises(TypeError, match=rf"`{method}` takes no `{name}`: .*{reason}"):
        getattr(new_model(), method)(1, **{name: value})


def test_an_unknown_argument_raises_before_pretraining():
    model = new_model()
    with pytest.raises(TypeError, match="no argument `early_stoping`"):
        model.train(1, early_stoping=True, **QUIET)
    assert not model.history


def test_arguments_of_the_trainer_pass(tmp_path):
    model = new_model()
    config = TrainerConfig(enable_progress_bar=False)
    options = {"gradient_clip_val": 1.0, "accumulate_grad_batches": 2, "max_steps": 3, "logger": CSVLogger(tmp_path)}
    model.train(2, pretrain_epochs=1, trainer_config=config, devices=1, accelerator="cpu", **options)
    assert model.is_finetuned_


def test_the_history_has_lasting_names(tiny_model):
    assert "elbo_train" not in tiny_model.history
    assert {"pretrain_train_loss", "finetune_validation_accuracy"} <= set(tiny_model.history)


def test_the_same_seed_gives_the_same_model():
    ids = []
    for _ in range(2):
        scvi.settings.seed = 3
        model = new_model()
        model.train(1, pretrain_epochs=1, **QUIET)
        ids.append(model.model_id_)
    assert ids[0] == ids[1]


# Prediction


def test_predict_takes_scanvis_positions(tiny_model, query):
    labels = tiny_model.predict(query, None, False, 16, key_added=None)
    assert isinstance(labels, pd.Categorical)
    assert labels.categories[-1] == "Unknown"
    assert tiny_model.predict(query, [0, 1], True, key_added=None).shape == (2, 3)


@pytest.mark.parametrize(
    "form", [list, np.array, lambda rows: np.isin(np.arange(37), rows)], ids=["list", "array", "mask"]
)
def test_indices_are_the_whole_query(tiny_model, query, form):
    rows = list(range(3, 20))
    whole = tiny_model.predict(query[rows].copy(), soft=True, key_added=None)
    some = tiny_model.predict(query, form(rows), soft=True, key_added=None)
    pd.testing.assert_frame_equal(some, whole)


def test_cells_outside_the_indices_have_missing_values(tiny_model, query):
    tiny_model.predict(query)
    rows = [7, 2, 30]
    labels = tiny_model.predict(query, indices=rows, coverage=0.9)
    outside = np.setdiff1d(np.arange(37), rows)
    assert query.obs["hrca"].iloc[rows].tolist() == list(labels)
    for column in ("hrca", "hrca_confidence", "hrca_novelty", "hrca_set_size"):
        assert query.obs[column].iloc[outside].isna().all(), column
        assert query.obs[column].iloc[rows].notna().all(), column
    assert query.obsm["hrca_probabilities"].iloc[outside].isna().all(axis=None)
    assert query.obsm["hrca_set"].dtypes.eq(bool).all()
    assert not query.obsm["hrca_set"].iloc[outside].any(axis=None)
    assert query.uns["hrca"]["n_predicted_cells"] == 3


def test_indices_of_a_list_raise(tiny_model, query):
    with pytest.raises(ValueError, match="`indices` name cells of one query, got a list of 2"):
        tiny_model.predict([query, query.copy()], indices=[0])


@pytest.mark.parametrize("method", ["get_latent_representation", "get_normalized_expression", "get_reconstruction"])
def test_representations_take_indices(tiny_model, query, method):
    whole = np.asarray(getattr(tiny_model, method)(query))
    for rows in ([4, 0, 9], slice(3, 8)):
        # the order of sums depends on the number of cells
        np.testing.assert_allclose(
            np.asarray(getattr(tiny_model, method)(query, rows)), whole[rows], rtol=1e-4, atol=1e-6
        )


def test_normalized_expression_is_on_scvi_tools_scale(tiny_model, query):
    frequencies = tiny_model.get_normalized_expression(query)
    expected = np.clip(np.expm1(tiny_model.get_reconstruction(query).to_numpy(dtype=float)), 0, None)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(frequencies, expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(frequencies.sum(axis=1), 1, rtol=1e-5)
    assert list(frequencies.index) == list(query.obs_names)
    array = tiny_model.get_normalized_expression(
        query, gene_list=["gene7", "gene3"], library_size=1e4, n_samples=3, return_numpy=True
    )
    assert isinstance(array, np.ndarray)
    np.testing.assert_allclose(array, 1e4 * frequencies[["gene7", "gene3"]], rtol=1e-5)
    for arguments in ({"library_size": "latent"}, {"library_size": 0}, {"n_samples": 0}):
        with pytest.raises(ValueError, match="no latent library size"):
            tiny_model.get_normalized_expression(query, **arguments)


@pytest.mark.parametrize(
    ("method", "name", "reason"),
    [
        ("predict", "ig_interpretability", "contributions"),
        ("predict", "use_posterior_mean", "no distribution"),
        ("predict", "dataloader", "reads the query itself"),
        ("get_latent_representation", "give_mean", "no distribution"),
        ("get_normalized_expression", "transform_batch", "no covariates"),
        ("get_normalized_expression", "return_mean", "no distribution"),
    ],
)
def test_prediction_raises_for_what_hrca_lacks_and_says_why(tiny_model, query, method, name, reason):
    with pytest.raises(TypeError, match=rf"`{method}` takes no `{name}`: .*{reason}"):
        getattr(tiny_model, method)(query, **{name: True})


# Files


def test_a_saved_model_loads_with_and_without_its_reference(tiny_model, reference, query, tmp_path):
    tiny_model.save(tmp_path / "model")
    expected = tiny_model.predict(query, soft=True, key_added=None)
    for loaded in (hrca.HRCA.load(tmp_path / "model"), hrca.HRCA.load(tmp_path / "model", reference)):
        pd.testing.assert_frame_equal(loaded.predict(query, soft=True, key_added=None), expected)
    assert hrca.HRCA.load_registry(tmp_path / "model")["model_name"] == "HRCA"
