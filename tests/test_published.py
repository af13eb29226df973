"""Published weights: read, written back, and refused where something is wrong."""

import os
import pickle
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import QUIET, TINY, synthetic
from golden import recipe

import hrca
from hrca.compat._published_weights import assemble_model, load_published, save_published


def write_golden(golden_dir, folder: Path, gene_ae="gene_ae_g120_h8_l2") -> dict:
    """The golden parameters as the files that the published code leaves."""
    golden = recipe(golden_dir)
    arrays = golden.golden()
    np.save(folder / "features.npy", arrays["annotate.features"])
    np.save(folder / "dictionary.npy", {label: code for code, label in enumerate(arrays["annotate.classes"].tolist())})
    torch.save(golden.torch_state(gene_ae), folder / "AE_200.pth")
    torch.save(golden.torch_state("se_classifier_c7_n3"), folder / "predictor_200.pth")
    return arrays


@pytest.fixture
def published(tmp_path, tiny_networks) -> Path:
    """A tiny model as published files: 60 genes, 4 heads, 3 labels."""
    save_published(tiny_networks, tmp_path, epoch=200)
    return tmp_path


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


def test_there_and_back_is_the_identity_on_golden_files(golden_dir, tmp_path):
    write_golden(golden_dir, tmp_path)
    save_published(load_published(tmp_path), tmp_path / "again", epoch=200)
    same_files(tmp_path, tmp_path / "again")


def test_there_and_back_is_the_same_model(published, tiny_networks, query, tmp_path):
    model = load_published(published, n_heads=4)
    assert model.model_id_ == tiny_networks.model_id_
    assert model.labels == tiny_networks.labels
    pd.testing.assert_frame_equal(
        model.predict(query, soft=True, key_added=None), tiny_networks.predict(query, soft=True, key_added=None)
    )
    save_published(model, tmp_path / "again", epoch=200)
    same_files(published, tmp_path / "again")


def test_many_labels_are_read_and_joined(tmp_path):
    reference, query = synthetic(120, n_labels=20, n_genes=200), synthetic(20, n_labels=20, n_genes=200, seed=3)
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY, count_likelihood=False)
    model.train(1, 1, **QUIET)
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


def test_genes_that_stand_twice_are_refused(published):
    names = np.load(published / "features.npy")
    names[1] = names[0]
    np.save(published / "features.npy", names)
    with pytest.raises(ValueError, match=r"the model has 1 duplicated: \['gene0'\]"):
        load_published(published, n_heads=4)


def test_the_newest_epoch_of_both_is_read(published):
    newer = {}
    for name in ("AE", "predictor"):
        newer[name] = torch.load(published / f"{name}_200.pth", weights_only=True)
        for value in newer[name].values():
            value += 1
        torch.save(newer[name], published / f"{name}_300.pth")
    # what pre-training for longer left in the same folder
    torch.save(torch.load(published / "AE_200.pth", weights_only=True), published / "AE_1000.pth")
    model = load_published(published, n_heads=4)
    assert torch.equal(model.module.gene_ae.encoder_input[0].bias.detach(), newer["AE"]["input_layer.0.layer.bias"])


def test_networks_of_different_epochs_are_not_joined(published):
    (published / "AE_200.pth").rename(published / "AE_1000.pth")
    with pytest.raises(FileNotFoundError, match=r"has AE of \[1000\] and predictor of \[200\]"):
        load_published(published)


def test_what_the_published_code_cannot_run_is_not_written(reference, tmp_path):
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **{**TINY, "n_heads": 1})
    with pytest.raises(ValueError, match="must be fine-tuned"):
        save_published(model, tmp_path / "new")
    model.finetune(1, **QUIET)
    with pytest.raises(ValueError, match="single head"):
        save_published(model, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({0: "a", 1: "b", 2: "c"}, id="by code"),
        pytest.param({label: np.int64(code) for code, label in enumerate("abc")}, id="numpy codes"),
        pytest.param(list("abc"), id="a list"),
    ],
)
def test_other_ways_to_write_the_labels(published, content):
    np.save(published / "dictionary.npy", content)
    assert load_published(published, n_heads=4).labels == list("abc")


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
        (rename_key, r"enc.0.attn.w_query.weight.*unknown"),
        (drop_layer, r"'attn.fc.0', 'attn.fc.2'\] are missing"),
        (change_shape, r"closing_norm.weight: \(7,\), not \(16,\)"),
        (drop_gene, "features.npy must have an entry for each of the weights' 60, but it has 59"),
        (drop_label, "dictionary.npy must have an entry for each of the weights' 3, but it has 2"),
        (skip_code, r"must number its labels 0, 1, 2, ..., got \[1, 2"),
        (not_a_state_dict, "holds a list"),
        (truncated, "cannot be read as one"),
    ],
)
def test_spoilt_files_are_refused_with_what_is_wrong(published, spoil, words):
    spoil(published)
    with pytest.raises(ValueError, match=words):
        load_published(published, n_heads=4)


class Program:
    """A pickle that makes a folder when it is read."""

    def __init__(self, folder: Path):
        self.folder = str(folder)

    def __reduce__(self):
        return (os.mkdir, (self.folder,))


@pytest.mark.parametrize("name", ["AE_200.pth", "predictor_200.pth", "features.npy", "dictionary.npy"])
def test_a_file_that_is_a_program_is_refused_and_not_run(published, name):
    program = Program(published / "it ran")
    if name.endswith(".pth"):
        (published / name).write_bytes(pickle.dumps(program, protocol=2))
    else:
        np.save(published / name, np.array(program, dtype=object))
    with pytest.raises(ValueError, match=name.split("_")[0]):
        load_published(published, n_heads=4)
    assert not (published / "it ran").exists()


@pytest.mark.parametrize("name", ["AE_200.pth", "predictor_200.pth", "features.npy", "dictionary.npy"])
def test_a_missing_file_is_named(published, name):
    (published / name).unlink()
    with pytest.raises(FileNotFoundError, match=name.split("_200")[0]):
        load_published(published, n_heads=4)


def test_what_is_neither_a_folder_nor_a_repository_is_refused():
    with pytest.raises(FileNotFoundError, match="must be a folder, or the id of a Hugging Face repository"):
        load_published("no such/folder/at all")


def test_a_hugging_face_repository_is_read_from_its_cache(published, tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants", reason="the extra `hub` is not installed")
    # a repository as huggingface_hub lays it out once it has been downloaded
    repository = tmp_path / "cache" / "models--owner--name"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    for path in published.glob("*.np*"):
        path.rename(snapshot / path.name)
    for path in published.glob("*.pth"):
        path.rename(snapshot / path.name)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert len(load_published("owner/name", n_heads=4).labels) == 3


def test_a_loaded_model_is_saved_and_loaded_as_any_other(published, tmp_path):
    model = load_published(published, n_heads=4)
    model.save(tmp_path / "model")
    loaded = hrca.HRCA.load(tmp_path / "model")
    assert loaded.model_id_ == model.model_id_
    assert loaded.labels == model.labels
