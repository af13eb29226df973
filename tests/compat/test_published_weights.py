"""Models from published weights, and back; files that do not fit raise an error."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import QUIET, TINY, synthetic
from golden import recipe

import hrca
from hrca.compat._published_weights import (
    assemble_model,
    classifier_of,
    load_published,
    save_published,
    write_gene_ae,
)


def write_golden(golden_dir, folder: Path, gene_ae="gene_ae_g120_h8_l2") -> dict:
    """The golden parameters as the files that the published code leaves."""
    golden = recipe(golden_dir)
    arrays = golden.golden()
    np.save(folder / "features.npy", arrays["annotate.features"])
    np.save(folder / "dictionary.npy", {label: code for code, label in enumerate(arrays["annotate.classes"].tolist())})
    torch.save(golden.torch_state(gene_ae), folder / "AE_200.pth")
    torch.save(golden.torch_state("se_classifier_c7_n3"), folder / "predictor_200.pth")
    return arrays


def test_golden_annotation_is_reproduced(golden_dir, tmp_path):
    golden = write_golden(golden_dir, tmp_path)
    model = load_published(tmp_path)
    assert model.labels == golden["annotate.classes"].tolist()
    query = ad.AnnData(
        golden["annotate.counts"].astype(np.float32),
        obs=pd.DataFrame(index=[f"c{i:02d}" for i in range(24)]),
        var=pd.DataFrame(index=golden["annotate.gene_names"].astype(str)),
    )
    labels = pd.Series(model.predict(query, key_added=None), index=query.obs_names)
    assert len(labels) == 24
    kept = golden["annotate.kept_cells"]
    assert labels[kept].tolist() == golden["annotate.predicted"].tolist()
    probabilities = model.predict(query, soft=True, key_added=None).loc[kept].to_numpy()
    logits = golden["annotate.logits_f64"]
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(probabilities, expected / expected.sum(axis=1, keepdims=True), atol=5e-5)


def test_golden_sizes_come_from_the_shapes(golden_dir, tmp_path):
    write_golden(golden_dir, tmp_path)
    sizes = load_published(tmp_path).init_params_["non_kwargs"]
    assert {name: sizes[name] for name in ("n_hidden", "n_latent", "n_layers", "n_feedforward")} == {
        "n_hidden": 5000,
        "n_latent": 1024,
        "n_layers": 2,
        "n_feedforward": 2048,
    }
    assert sizes["classifier_widths"] == (512, 256, 128, 64)


def same_files(first: Path, second: Path) -> None:
    for name in ("AE_200.pth", "predictor_200.pth"):
        one, other = (torch.load(folder / name, weights_only=True) for folder in (first, second))
        assert set(one) == set(other)
        assert all(torch.equal(one[key], other[key]) for key in one)
    np.testing.assert_array_equal(np.load(first / "features.npy"), np.load(second / "features.npy"))
    one, other = (np.load(folder / "dictionary.npy", allow_pickle=True).item() for folder in (first, second))
    assert one == other


def test_golden_files_are_the_same_after_loading_and_saving(golden_dir, tmp_path):
    write_golden(golden_dir, tmp_path)
    save_published(load_published(tmp_path), tmp_path / "again", epoch=200)
    same_files(tmp_path, tmp_path / "again")


def test_a_model_is_the_same_after_saving_and_loading(published, tiny_networks, query, tmp_path):
    model = load_published(published, n_heads=4)
    assert model.model_id_ == tiny_networks.model_id_
    assert model.labels == tiny_networks.labels
    pd.testing.assert_frame_equal(
        model.predict(query, soft=True, key_added=None), tiny_networks.predict(query, soft=True, key_added=None)
    )
    save_published(model, tmp_path / "again", epoch=200)
    same_files(published, tmp_path / "again")


def test_many_labels_are_loaded_and_assembled(tmp_path):
    reference, query = synthetic(120, n_labels=20, n_genes=200), synthetic(20, n_labels=20, n_genes=200, seed=3)
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY, count_likelihood=False)
    model.train(1, pretrain_epochs=1, **QUIET)
    save_published(model, tmp_path)
    loaded = load_published(tmp_path, n_heads=4)
    assert loaded.registry["setup_args"] == model.registry["setup_args"]
    expected = loaded.predict(query, soft=True, key_added=None)
    assert list(expected) == loaded.labels == model.labels
    gene_ae, se_classifier = model.module.gene_ae, model.module.se_classifier
    gene_ae.gene_names, se_classifier.labels = model.gene_names, model.labels
    joined = assemble_model(gene_ae, se_classifier)
    pd.testing.assert_frame_equal(joined.predict(query, soft=True, key_added=None), expected)
    annotated = hrca.hrca.annotate(query, gene_ae, se_classifier)
    assert annotated["cell_type"].tolist() == expected.idxmax(axis=1).tolist()


def test_a_duplicated_gene_raises(published):
    names = np.load(published / "features.npy")
    names[1] = names[0]
    np.save(published / "features.npy", names)
    with pytest.raises(ValueError, match=r"the model has 1 duplicated: \['gene0'\]"):
        load_published(published, n_heads=4)


def test_the_newest_epoch_of_both_networks_is_loaded(published):
    newer = {}
    for name in ("AE", "predictor"):
        newer[name] = torch.load(published / f"{name}_200.pth", weights_only=True)
        for value in newer[name].values():
            value += 1
        torch.save(newer[name], published / f"{name}_300.pth")
    # a longer pre-training left its Gene-AE in the same folder
    torch.save(torch.load(published / "AE_200.pth", weights_only=True), published / "AE_1000.pth")
    model = load_published(published, n_heads=4)
    assert torch.equal(model.module.gene_ae.encoder_input[0].bias.detach(), newer["AE"]["input_layer.0.layer.bias"])


def test_a_model_that_the_published_code_cannot_run_raises(reference, tmp_path):
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **{**TINY, "n_heads": 1})
    with pytest.raises(ValueError, match="must be fine-tuned"):
        save_published(model, tmp_path / "new")
    model.finetune(1, **QUIET)
    with pytest.raises(ValueError, match="single head"):
        save_published(model, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def rename_key(folder):
    state = torch.load(folder / "AE_200.pth", weights_only=True)
    state["enc.0.attn.w_query.weight"] = state.pop("enc.0.attn.wq.weight")
    torch.save(state, folder / "AE_200.pth")


def drop_layer(folder):
    state = torch.load(folder / "predictor_200.pth", weights_only=True)
    torch.save(
        {key: value for key, value in state.items() if not key.startswith("attn.")}, folder / "predictor_200.pth"
    )


def change_shape(folder):
    state = torch.load(folder / "AE_200.pth", weights_only=True)
    state["enc.0.norm.weight"] = torch.ones(7)
    torch.save(state, folder / "AE_200.pth")


def drop_gene(folder):
    np.save(folder / "features.npy", np.load(folder / "features.npy")[1:])


def drop_label(folder):
    np.save(folder / "dictionary.npy", {"a": 0, "b": 1})


def skip_code(folder):
    np.save(folder / "dictionary.npy", {label: code + 1 for code, label in enumerate("abc")})


def not_a_state_dict(folder):
    torch.save([1, 2, 3], folder / "AE_200.pth")


def truncated(folder):
    path = folder / "AE_200.pth"
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (rename_key, r"enc.0.attn.w_query.weight'\] are unknown"),
        (drop_layer, r"'attn.fc.0', 'attn.fc.2'\] are missing"),
        (change_shape, r"closing_norm.weight: \(7,\), not \(16,\)"),
        (drop_gene, "features.npy must have an entry for each of the weights' 60, but it has 59"),
        (drop_label, "dictionary.npy must have an entry for each of the weights' 3, but it has 2"),
        (skip_code, r"must number its labels 0, 1, 2, ..., got \[1, 2"),
        (not_a_state_dict, "holds a list"),
        (truncated, "cannot be read as one"),
    ],
)
def test_files_that_do_not_fit_raise(published, spoil, words):
    spoil(published)
    with pytest.raises(ValueError, match=words):
        load_published(published, n_heads=4)


def test_a_loaded_model_is_saved_and_loaded_as_any_other(published, tmp_path):
    model = load_published(published, n_heads=4)
    model.save(tmp_path / "model")
    loaded = hrca.HRCA.load(tmp_path / "model")
    assert loaded.model_id_ == model.model_id_
    assert loaded.labels == model.labels


def test_networks_without_names_raise(tiny_networks):
    gene_ae, se_classifier = tiny_networks.module.gene_ae, tiny_networks.module.se_classifier
    with pytest.raises(ValueError, match="must have the names of their genes and labels.*one of them is missing"):
        assemble_model(gene_ae, se_classifier)


def test_a_model_without_labels_has_no_classifier_to_write(reference, tmp_path):
    hrca.HRCA.setup_anndata(reference)
    model = hrca.HRCA(reference, **TINY)
    write_gene_ae(model, tmp_path / "new", epoch=3)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["AE_3.pth", "features.npy"]
    with pytest.raises(ValueError, match="must have labels, but its reference was set up without `labels_key`"):
        classifier_of(model)


def test_a_single_head_gets_identity_output_layers(published):
    model = load_published(published, n_heads=1)
    output = model.module.gene_ae.encoder_layers[0].attention.output
    assert torch.equal(output.weight.detach(), torch.eye(16))
    assert not output.bias.detach().any()
