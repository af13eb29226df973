"""A saved model is loaded as it was, and nothing of its files is run."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from importlib.metadata import version

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from conftest import QUIET, ROOT, TINY, synthetic
from huggingface_hub import ModelCard
from scvi.hub import HubMetadata, HubModel
from scvi.model.base import BaseModelClass

import hrca
from hrca.model._model_file import read_model, write_model
from hrca.model._registration import weights_fingerprint


def soft(model, query) -> np.ndarray:
    return model.predict(query, soft=True, key_added=None).to_numpy()


def untrained() -> hrca.HRCA:
    reference = synthetic(100)
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    return hrca.HRCA(reference, **TINY)


@pytest.fixture
def saved(tiny_model, tmp_path):
    """The folder of a saved model."""
    tiny_model.save(tmp_path / "model")
    return tmp_path / "model"


# a new process, so that nothing but the files can carry over
IN_A_NEW_PROCESS = """
import sys
import anndata, hrca
model = hrca.HRCA.load(sys.argv[1])
assert model.adata is None
model.predict(anndata.read_h5ad(sys.argv[2]), soft=True, key_added=None).to_pickle(sys.argv[3])
"""


def test_a_loaded_model_predicts_alike_in_a_new_process_without_any_reference(tiny_model, query, saved, tmp_path):
    query.write_h5ad(tmp_path / "query.h5ad")
    paths = [str(tmp_path / name) for name in ("model", "query.h5ad", "probabilities.pkl")]
    subprocess.run([sys.executable, "-c", IN_A_NEW_PROCESS, *paths], check=True)
    expected = tiny_model.predict(query, soft=True, key_added=None)
    pd.testing.assert_frame_equal(pd.read_pickle(paths[2]), expected, check_exact=True)


def test_save_and_load_keep_everything(tiny_model, saved):
    loaded = hrca.HRCA.load(saved)
    assert sorted(path.name for path in saved.iterdir()) == ["README.md", "model.json", "model.safetensors"]
    assert loaded.gene_names.equals(tiny_model.gene_names)
    assert set(loaded.history) == set(tiny_model.history)
    for name, frame in loaded.history.items():
        pd.testing.assert_frame_equal(frame, tiny_model.history[name])
    before, after = tiny_model._plain_attributes(), loaded._plain_attributes()
    assert set(before) == set(after)
    for name, value in before.items():
        np.testing.assert_equal(after[name], value)
        assert type(after[name]) is type(value), name
    for name, value in tiny_model.module.state_dict().items():
        assert torch.equal(loaded.module.state_dict()[name], value)
    with pytest.raises(ValueError, match="loaded without"):
        loaded.finetune(1, **QUIET)
    with pytest.raises(ValueError, match="A query must be given"):
        loaded.predict()


def test_a_model_before_training_and_one_with_all_state_are_kept(tmp_path):
    query = synthetic(30, seed=2)
    reference = synthetic(100)
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type", labels_hierarchy={"type 0": "even", "type 2": "even"})
    model = hrca.HRCA(reference, **TINY)
    model.save(tmp_path / "model")
    assert hrca.HRCA.load(tmp_path / "model").history is None
    model.train(1, pretrain_epochs=1, n_folds=2, query=query, **QUIET)
    model.save(tmp_path / "model", overwrite=True)
    loaded = hrca.HRCA.load(tmp_path / "model")
    assert (loaded.n_folds_, loaded.labels_hierarchy) == (2, model.labels_hierarchy)
    assert loaded.query_match_ == model.query_match_
    np.testing.assert_equal(loaded.conformal_scores_.to_dict(), model.conformal_scores_.to_dict())
    np.testing.assert_equal(loaded.novelty_reference_.to_dict(), model.novelty_reference_.to_dict())
    for options in ({"coverage": 0.9}, {"level": 0}):
        one, other = query.copy(), query.copy()
        model.predict(one, **options)
        loaded.predict(other, **options)
        pd.testing.assert_frame_equal(one.obs, other.obs, check_exact=True)


def test_a_loaded_model_goes_on_training_with_its_reference(reference, tmp_path):
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY)
    model.train(1, pretrain_epochs=1, **QUIET)
    model.save(tmp_path / "model")
    loaded = hrca.HRCA.load(tmp_path / "model", synthetic(100))
    np.testing.assert_array_equal(loaded.split_.train, model.split_.train)
    loaded.finetune(1, **QUIET)
    assert len(loaded.history["finetune_train_loss"]) == 2
    assert loaded.model_id_ != model.model_id_


@pytest.mark.parametrize("folder", sorted((ROOT / "tests" / "assets").glob("saved_*")), ids=lambda folder: folder.name)
def test_a_file_of_either_set_of_versions_loads_in_this_one(folder):
    # made by tests/assets/make_saved.py
    model = hrca.HRCA.load(folder)
    np.testing.assert_allclose(soft(model, synthetic(20, seed=3)), np.load(folder / "probabilities.npy"), atol=1e-6)
    assert len(model.history["finetune_train_loss"]) == 2


def test_there_is_a_file_of_each_set_of_versions():
    assert len(list((ROOT / "tests" / "assets").glob("saved_*"))) >= 2


@pytest.mark.parametrize("backed", [False, True])
def test_a_reference_that_was_saved_comes_back(tmp_path, query, backed):
    reference = synthetic(100)
    if backed:
        reference.write_h5ad(tmp_path / "reference.h5ad")
        reference = ad.read_h5ad(tmp_path / "reference.h5ad", backed="r")
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY)
    model.train(1, pretrain_epochs=1, **QUIET)
    model.save(tmp_path / "model", save_anndata=True, compression="gzip")
    assert not backed or str(reference.filename) == str(tmp_path / "reference.h5ad")
    loaded = hrca.HRCA.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.adata.X.toarray(), synthetic(100).X.toarray())
    np.testing.assert_array_equal(soft(loaded, query), soft(model, query))
    loaded.finetune(1, **QUIET)
    assert hrca.HRCA.load(tmp_path / "model", adata=False).adata is None
    (tmp_path / "model" / "adata.h5ad").unlink()
    with pytest.warns(UserWarning, match=r"saved with the model, but .*adata.h5ad is not there.*loaded without"):
        assert hrca.HRCA.load(tmp_path / "model").adata is None
    assert hrca.HRCA.load(tmp_path / "model", adata=False).adata is None


def test_the_reference_of_an_earlier_model_is_not_taken_for_this_ones(tiny_model, tmp_path):
    tiny_model.save(tmp_path / "model", save_anndata=True)
    tiny_model.save(tmp_path / "model", overwrite=True)
    assert hrca.HRCA.load(tmp_path / "model").adata is None
    tiny_model.save(tmp_path / "model", overwrite=True, save_anndata=True)
    synthetic(100, seed=1).write_h5ad(tmp_path / "model" / "adata.h5ad")
    with pytest.raises(
        ValueError, match=r"adata.h5ad must be the reference that was saved with the model.*adata=False"
    ):
        hrca.HRCA.load(tmp_path / "model")


def test_a_model_without_its_reference_cannot_save_it(saved, tmp_path):
    loaded = hrca.HRCA.load(saved)
    with pytest.raises(ValueError, match="The reference cannot be saved"):
        loaded.save(tmp_path / "other", save_anndata=True)
    assert not (tmp_path / "other").exists()
    with pytest.raises(TypeError, match=r"\['compression'\] are for the reference: they need `save_anndata=True`"):
        loaded.save(tmp_path / "other", compression="gzip")


def log_transform(adata) -> None:
    adata.X = adata.X.log1p()


def permute_labels(adata) -> None:
    adata.obs["cell_type"] = adata.obs["cell_type"].to_numpy()[::-1]


@pytest.mark.parametrize(
    ("change", "words"), [(log_transform, "values that are no raw counts"), (permute_labels, "other labels")]
)
def test_a_reference_that_changed_is_not_saved(reference, tmp_path, change, words):
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY)
    change(reference)
    with pytest.raises(ValueError, match=f"but it has {words}.* Undo the change, or .*`save_anndata=False`"):
        model.save(tmp_path / "model", save_anndata=True)
    assert not (tmp_path / "model").exists()
    model.save(tmp_path / "model")
    assert hrca.HRCA.load(tmp_path / "model").adata is None


def test_the_error_of_a_saved_reference_names_the_way_without_it(tiny_model, tmp_path):
    tiny_model.save(tmp_path / "model", save_anndata=True, pickle=True)
    other = synthetic(100)
    log_transform(other)
    other.write_h5ad(tmp_path / "model" / "adata.h5ad")
    with pytest.raises(ValueError, match="raw counts") as error:
        hrca.HRCA.load(tmp_path / "model", pickle=True)
    assert any("`adata=False` loads the model without it" in note for note in error.value.__notes__)
    assert hrca.HRCA.load(tmp_path / "model", adata=False, pickle=True).adata is None


def test_a_reference_with_other_labels_raises(saved):
    renamed, query = synthetic(100), synthetic(30, seed=2)
    renamed.obs["cell_type"] = renamed.obs["cell_type"].replace("type 0", "HSC")
    query.obs["cell_type"] = ["B", "T"] * 15
    for adata, words in ((renamed, r"\['HSC'\]"), (query, r"\['B', 'T'\]")):
        with pytest.raises(ValueError, match=rf"labels of the model, but obs\['cell_type'\] also has {words}. Rename"):
            hrca.HRCA.load(saved, adata)


@pytest.mark.parametrize(
    ("adata", "words"), [("ref.h5ad", r"'ref.h5ad'. Read it first: `anndata.read_h5ad"), (True, "got True. None loads")]
)
def test_a_reference_that_is_no_object_raises(saved, adata, words):
    with pytest.raises(TypeError, match=words):
        hrca.HRCA.load(saved, adata)
    with pytest.raises(TypeError, match="`adata` must be an AnnData, got"):
        hrca.HRCA.from_pretrained(saved, adata, labels_key="cell_type")


def test_a_folder_is_only_overwritten_on_request(tiny_model, saved):
    with pytest.raises(ValueError, match=r"The folder '.*model' must not exist, but it does. `overwrite=True`"):
        tiny_model.save(saved)


def test_two_models_in_one_folder_have_prefixes(tiny_model, query, tmp_path):
    tiny_model.save(tmp_path / "both", prefix="one_", pickle=True)
    untrained().save(tmp_path / "both", prefix="two_", overwrite=True)
    assert not hrca.HRCA.load(tmp_path / "both", prefix="two_").is_trained_
    for pickled in (False, True):
        loaded = hrca.HRCA.load(tmp_path / "both", prefix="one_", pickle=pickled)
        np.testing.assert_array_equal(soft(loaded, query), soft(tiny_model, query))
    with pytest.raises(ValueError, match="model.json is not there. Name the folder"):
        hrca.HRCA.load(tmp_path / "both")


class Program:
    """A pickle that creates a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return (os.mkdir, (self.folder,))


@pytest.mark.parametrize("name", ["model.pt", "model.json", "model.safetensors", "attr.pkl", "var_names.csv"])
def test_a_planted_pickle_is_not_run(saved, tmp_path, query, tiny_model, name):
    program = tmp_path / "it ran"
    for planted in (name, f"{name}.unfinished"):
        (saved / planted).write_bytes(pickle.dumps(Program(program)))
    if name in ("model.json", "model.safetensors"):
        with pytest.raises(ValueError, match=f"{name}.*damaged"):
            hrca.HRCA.load(saved)
    else:
        np.testing.assert_array_equal(soft(hrca.HRCA.load(saved), query), soft(tiny_model, query))
        hrca.HRCA.load_registry(saved)
    assert not program.exists()
    if name == "model.pt":
        # the test can fail: the pickle runs where it is asked for
        with pytest.raises(ValueError, match="must be a model of HRCA as scvi-tools saves it"):
            hrca.HRCA.load(saved, pickle=True)
        assert program.exists()


def test_a_folder_with_a_pickle_alone_raises(saved, tmp_path):
    (tmp_path / "pickled").mkdir()
    torch.save(Program(tmp_path / "it ran"), tmp_path / "pickled" / "model.pt")
    with pytest.raises(
        ValueError, match=r"model.json is not there. model.pt is a pickle.*`HRCA.load\(folder, pickle=Tr"
    ):
        hrca.HRCA.load(tmp_path / "pickled")
    assert not (tmp_path / "it ran").exists()
    with pytest.raises(ValueError, match="a saved model in .*, but model.pt is not there"):
        hrca.HRCA.load(saved, pickle=True)


@pytest.mark.parametrize("change", ["missing", "unknown", "shape", "parameter"])
def test_a_pickle_of_an_earlier_version_raises_in_one_sentence(tiny_model, tmp_path, change):
    tiny_model.save(tmp_path / "model", pickle=True)
    path = tmp_path / "model" / "model.pt"
    content = torch.load(path, weights_only=False)
    weights = content["model_state_dict"]
    if change == "missing":
        del weights["gene_mask"]
    elif change == "unknown":
        weights["gene_weights"] = weights["gene_mask"]
    elif change == "shape":
        weights["gene_mask"] = weights["gene_mask"][1:]
    else:
        content["attr_dict"]["init_params_"]["non_kwargs"]["n_blocks"] = 3
    torch.save(content, path)
    with pytest.raises(
        ValueError, match=r"another version \(model.pt\).*(gene_mask|gene_weights|n_blocks).*train it again"
    ):
        hrca.HRCA.load(tmp_path / "model", pickle=True)


def test_scvis_own_tools_read_the_pickle(tiny_model, query, tmp_path):
    folder = str(tmp_path / "model")
    tiny_model.save(folder, pickle=True, save_anndata=True)
    metadata = HubMetadata.from_dir(folder, version("anndata"), model_parent_module="hrca")
    assert metadata.model_cls_name == "HRCA"
    # scvi-tools writes a card for its own classes alone
    card = ModelCard("# A model of HRCA")
    hub = HubModel(folder, metadata=metadata, model_card=card)
    np.testing.assert_array_equal(soft(hub.model, query), soft(tiny_model, query))
    registry = BaseModelClass.load_registry(folder)
    np.testing.assert_equal(registry, hrca.HRCA.load_registry(folder))
    # what the hub downloads is the pickle alone
    for name in ("model.json", "model.safetensors"):
        (tmp_path / "model" / name).unlink()
    np.testing.assert_array_equal(soft(hrca.HRCA.load(folder, pickle=True), query), soft(tiny_model, query))


def test_the_pickle_of_a_replaced_model_is_removed(tiny_model, tmp_path):
    tiny_model.save(tmp_path / "model", pickle=True)
    tiny_model.save(tmp_path / "model", overwrite=True)
    assert not (tmp_path / "model" / "model.pt").exists()


def test_the_arguments_of_the_setup_are_shown(saved, capsys):
    hrca.HRCA.view_setup_args(saved)
    assert "cell_type" in capsys.readouterr().out


@pytest.mark.parametrize("gene_map", ["genes.csv", ["A", "B"]])
def test_a_model_that_names_a_file_of_genes_is_refused(saved, tmp_path, monkeypatch, gene_map):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "genes.csv").write_text("a,b\n")
    content = read_model(saved, "")
    content.attributes["registry_"]["setup_args"]["gene_map"] = gene_map
    write_model(content, saved, "")
    with pytest.raises(ValueError, match=r"must hold its table of genes, but `gene_map` in .*model' is"):
        hrca.HRCA.load(saved)


def test_a_model_of_another_class_raises(tmp_path):
    reference = synthetic(100)
    scvi.model.SCVI.setup_anndata(reference)
    scvi.model.SCVI(reference, n_hidden=4).save(tmp_path / "model")
    with pytest.raises(ValueError, match="must be of the class HRCA, but is of the class SCVI"):
        hrca.HRCA.load(tmp_path / "model", pickle=True)


def test_weights_that_are_no_numbers_raise(tiny_model, tmp_path):
    model = untrained()
    first = "gene_ae.encoder_input.0.weight"
    for name, broken in ((first, "nan"), (first, "inf"), ("gene_mask", "nan"), ("output.weight", "inf")):
        weights = {k: v.clone() for k, v in tiny_model.module.state_dict().items()}
        name = next(key for key in weights if key.endswith(name))
        weights[name][(0,) * weights[name].ndim] = float(broken)
        model.module.load_state_dict(weights)
        model._mark_fitted(is_finetuned=True)
        model.save(tmp_path / "model", overwrite=True)
        with pytest.raises(ValueError, match=rf"must be numbers, but .* NaN or infinite: \['{name}'\]"):
            hrca.HRCA.load(tmp_path / "model")


def test_another_models_weights_raise(tiny_model, saved, tmp_path):
    other = untrained()
    other._mark_fitted(is_finetuned=True)
    other.save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", saved)
    with pytest.raises(ValueError, match="of two models: their digest is not the one that was saved"):
        hrca.HRCA.load(saved)
    # weights beside the id of others, with a digest that fits
    other.model_id_ = tiny_model.model_id_
    other.save(tmp_path / "other", overwrite=True)
    with pytest.raises(ValueError, match=f"are not those of its model {tiny_model.model_id_}"):
        hrca.HRCA.load(tmp_path / "other")
    assert weights_fingerprint(tiny_model.module) == tiny_model.model_id_


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_every_changed_bit_is_found(saved, query, tiny_model, name):
    path, rng = saved / name, np.random.default_rng(0)
    written = path.read_bytes()
    for position in [*range(8), *rng.integers(8, len(written), 70), len(written) - 1]:
        changed = bytearray(written)
        changed[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=name):
            hrca.HRCA.load(saved)
    for length in (0, 7, 100, len(written) // 2, len(written) - 1):
        path.write_bytes(written[:length])
        with pytest.raises(ValueError, match=name):
            hrca.HRCA.load(saved)
    path.write_bytes(written)
    np.testing.assert_array_equal(soft(hrca.HRCA.load(saved), query), soft(tiny_model, query))


@pytest.mark.parametrize(
    ("number", "words"),
    [(2, "format 2, of a newer version .*Update HRCA"), (0, "format 0, of an older version .*Train the model again")],
)
def test_a_model_of_another_format_says_so(saved, number, words):
    document = json.loads((saved / "model.json").read_text())
    document["format"] = number
    (saved / "model.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match=f"must have format 1, but .*{words}"):
        hrca.HRCA.load(saved)


@pytest.mark.parametrize("document", ["[]", "{}", '{"format": "1"}', "[" * 100_000, '{"format": 1}', "not JSON"])
def test_a_file_of_another_kind_raises(saved, document):
    (saved / "model.json").write_text(document)
    with pytest.raises(ValueError, match="must be as `model.save` wrote"):
        hrca.HRCA.load(saved)


def test_a_full_disk_leaves_the_earlier_model(tiny_model, saved, query):
    resource = pytest.importorskip("resource", reason="no limit on the size of files")
    expected = soft(tiny_model, query)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (2_000, 30_000):  # smaller than model.json, and than model.safetensors
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                tiny_model.save(saved, overwrite=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert sorted(path.name for path in saved.iterdir()) == ["README.md", "model.json", "model.safetensors"]
        np.testing.assert_array_equal(soft(hrca.HRCA.load(saved), query), expected)
