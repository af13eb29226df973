"""Models are pushed, pulled and listed, in a local hub and through huggingface_hub; changed files are refused."""

import copy
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import scvi
from conftest import QUIET, TINY, synthetic
from hub_server import serving

import hrca
from hrca.models import list_models, make_card, pull, push, read_card

ODD = {
    "type 0": "T/CD4|naïve_α",
    "type 1": "<b>B</b> & *plasma* `x` [1](y) ~~z~~ #$",
    "type 2": '"quoted": - {a: 1}\\|',
}


@pytest.fixture
def tiny_model(tiny_model):
    """A copy: a model keeps what a card states."""
    return copy.copy(tiny_model)


def soft(model, query):
    return model.predict(query.copy(), soft=True, key_added=None)


@pytest.fixture(scope="module")
def odd_model():
    """A trained model with odd labels."""
    scvi.settings.seed = 0
    adata = synthetic(100)
    adata.obs["cell_type"] = adata.obs["cell_type"].map(ODD)
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    model = hrca.HRCA(adata, **TINY)
    model.train(pretrain_epochs=2, max_epochs=10, lr=1e-2, batch_size=32, **QUIET)
    return model


@pytest.fixture
def hub(tiny_model, tmp_path):
    """A local hub with one model."""
    push(tiny_model, "lab/tiny", hub=tmp_path / "hub", card=make_card(tiny_model, data="made up", species="mouse"))
    return tmp_path / "hub"


def test_a_pulled_model_predicts_the_same_bits_and_has_its_card(tiny_model, query, hub):
    pulled = pull("lab/tiny", hub=hub, accelerator="cpu")
    pd.testing.assert_frame_equal(soft(pulled, query), soft(tiny_model, query), check_exact=True)
    assert (pulled.model_id_, pulled.adata) == (tiny_model.model_id_, None)
    card = read_card("lab/tiny", hub=hub)
    assert card.facts["stated"] == {"data": "made up", "species": "mouse"}
    # the model knows what was stated, and writes the same card
    again = make_card(pulled)
    del card.facts["sha256"]
    assert again.metadata == card.metadata
    assert card.text.startswith(again.text)


def test_odd_labels_survive(odd_model, query, tmp_path):
    push(odd_model, "lab/odd", hub=tmp_path)
    pulled = pull("lab/odd", hub=tmp_path, accelerator="cpu")
    assert pulled.labels == odd_model.labels == sorted(ODD.values())
    pd.testing.assert_frame_equal(soft(pulled, query), soft(odd_model, query), check_exact=True)
    assert list(read_card("lab/odd", hub=tmp_path).facts["labels"]) == odd_model.labels
    assert list_models(hub=tmp_path)["labels"].iloc[0] == odd_model.labels


def test_a_saved_folder_is_pushed_with_its_card_and_without_its_reference(tiny_model, query, tmp_path):
    folder = tmp_path / "model"
    tiny_model.save(folder, save_anndata=True, pickle=True)
    card = folder / "README.md"
    card.write_text(card.read_text() + "\nA sentence of the author.\n")
    path = push(folder, "lab/saved", hub=tmp_path / "hub")
    assert path == str(tmp_path / "hub" / "lab" / "saved")
    names = sorted(file.name for file in (tmp_path / "hub" / "lab" / "saved").iterdir())
    assert set(names) - {"_scvi_required_metadata.json"} == {"README.md", "model.json", "model.safetensors"}
    assert read_card("lab/saved", hub=tmp_path / "hub").text.endswith("A sentence of the author.\n")
    assert read_card(folder) == read_card("lab/saved", hub=tmp_path / "hub")
    np.testing.assert_array_equal(soft(pull("lab/saved", hub=tmp_path / "hub"), query), soft(tiny_model, query))


def flip(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))


def test_tampered_weights_are_refused(hub):
    weights = hub / "lab" / "tiny" / "model.safetensors"
    digest = read_card("lab/tiny", hub=hub).facts["sha256"]["model.safetensors"]
    flip(weights)
    with pytest.raises(ValueError, match=f"model.safetensors must have the SHA-256.*{digest}, but has [0-9a-f]{{64}}"):
        pull("lab/tiny", hub=hub)
    with pytest.raises(ValueError, match="save it again"):
        push(hub / "lab" / "tiny", "lab/other", hub=hub)
    assert not (hub / "lab" / "other").exists()


def test_tampered_weights_are_refused_where_the_card_was_adapted(hub):
    from hrca.model._card import file_digest

    folder = hub / "lab" / "tiny"
    old = file_digest(folder / "model.safetensors")
    flip(folder / "model.safetensors")
    card = (folder / "README.md").read_text().replace(old, file_digest(folder / "model.safetensors"))
    (folder / "README.md").write_text(card)
    with pytest.raises(ValueError, match="damaged, changed or of two models"):
        pull("lab/tiny", hub=hub)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "README.md").unlink(), "must have a card"),
        (lambda folder: (folder / "README.md").write_text("# Mine"), "must be the card of a model of HRCA"),
        (lambda folder: (folder / "README.md").write_text("---\nhrca: [\n---\n"), "must be YAML"),
        (
            lambda folder: (folder / "README.md").write_text("---\nhrca: {}\n---\n"),
            "must have the SHA-256 of model.json",
        ),
        (lambda folder: (folder / "model.safetensors").unlink(), "must have the file model.safetensors"),
    ],
    ids=["no card", "another text", "no YAML", "no digests", "no weights"],
)
def test_an_incomplete_model_is_refused(hub, change, message):
    change(hub / "lab" / "tiny")
    with pytest.raises(ValueError, match=message):
        pull("lab/tiny", hub=hub)


def test_models_are_listed_by_their_cards(tiny_model, odd_model, hub):
    push(odd_model, "other-lab/Odd.1", hub=hub)
    # what is no model is left out
    (hub / "lab" / "notes").mkdir()
    (hub / "lab" / "notes" / "README.md").write_text("# Notes")
    table = list_models(hub=hub)
    assert list(table.index) == ["lab/tiny", "other-lab/Odd.1"]
    row = table.loc["lab/tiny"]
    assert (row["n_labels"], row["n_genes"], row["n_obs"], row["species"], row["data"]) == (
        3,
        60,
        100,
        "mouse",
        "made up",
    )
    assert row["accuracy"] == make_card(tiny_model).facts["scores"]["accuracy"]
    assert pd.isna(row["license"]) and row["labels"] == tiny_model.labels
    assert list(list_models("LAB", hub=hub).index) == ["lab/tiny"]
    assert list(list_models(hub=hub, search="odd").index) == ["other-lab/Odd.1"]
    assert list_models("nobody", hub=hub).empty
    with pytest.raises(FileNotFoundError, match="no_such_hub"):
        list_models(hub=hub / "no_such_hub")


def test_a_model_without_held_out_cells_is_shared(tiny_model, query, tmp_path):
    model = copy.copy(tiny_model)
    model.conformal_scores_ = None
    push(model, "lab/bare", hub=tmp_path)
    np.testing.assert_array_equal(soft(pull("lab/bare", hub=tmp_path), query), soft(tiny_model, query))
    assert read_card("lab/bare", hub=tmp_path).facts["scores"] is None
    assert "No cells of the reference were held out" in read_card("lab/bare", hub=tmp_path).text
    assert list_models(hub=tmp_path)["accuracy"].isna().all()


def test_a_model_that_is_not_trained_is_refused(reference, tmp_path):
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY)
    with pytest.raises(ValueError, match="is not trained on labels"):
        push(model, "lab/untrained", hub=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["tiny", "a/b/c", "../x", "lab/..", "lab/a--b", "lab/", "/x", "lab/a b", "lab/.a"])
def test_a_name_that_is_no_name_is_refused(tiny_model, tmp_path, name):
    for call in (lambda: push(tiny_model, name, hub=tmp_path), lambda: pull(name, hub=tmp_path)):
        with pytest.raises(ValueError, match='must be "owner/name"'):
            call()
    assert list(tmp_path.iterdir()) == []


def test_mistakes_name_the_way_out(tiny_model, hub):
    with pytest.raises(FileNotFoundError, match="must have the model 'lab/none'.*list_models"):
        pull("lab/none", hub=hub)
    with pytest.raises(TypeError, match="leave out `card`"):
        push(hub / "lab" / "tiny", "lab/b", hub=hub, card=make_card(tiny_model))
    other = copy.copy(tiny_model)
    other.model_id_ = "0" * 12
    with pytest.raises(ValueError, match="`card` must be that of the model '000000000000'"):
        push(other, "lab/b", hub=hub, card=make_card(tiny_model))


def test_scvis_hub_opens_a_pushed_model(tiny_model, query, hub):
    scvi_hub = pytest.importorskip("scvi.hub", reason="the extra `hub` is not installed")
    opened = scvi_hub.HubModel(str(hub / "lab" / "tiny"))
    assert (opened.metadata.model_cls_name, opened.metadata.scvi_version) == ("HRCA", scvi.__version__)
    assert opened.model_card.data.to_dict()["hrca"] == read_card("lab/tiny", hub=hub).facts
    opened.load_model(adata=False, accelerator="cpu")
    np.testing.assert_array_equal(soft(opened.model, query), soft(tiny_model, query))


def test_a_local_hub_needs_no_huggingface_hub(tiny_model, query, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    monkeypatch.delitem(__import__("sys").modules, "scvi.hub", raising=False)
    push(tiny_model, "lab/tiny", hub=tmp_path)
    np.testing.assert_array_equal(soft(pull("lab/tiny", hub=tmp_path), query), soft(tiny_model, query))
    with pytest.raises(ImportError, match=r"pip install \"hrca\[hub\]\""):
        pull("lab/tiny")


def test_hugging_face_takes_gives_and_lists_a_model(tiny_model, query, tmp_path, monkeypatch):
    with serving(monkeypatch, str(tmp_path / "cache")) as server:
        card = make_card(tiny_model, license="CC BY 4.0", tissue="brain")
        url = push(tiny_model, "lab/tiny", card=card, private=True, token="hf_none")
        assert url == f"{server.url}/lab/tiny"
        # older versions of huggingface_hub send `private`, newer ones the visibility
        assert server.created[0].get("private") or server.created[0]["visibility"] == "private"
        names = {"README.md", "model.json", "model.safetensors", "_scvi_required_metadata.json"}
        assert set(server.repositories["lab/tiny"]) == names
        pulled = pull("lab/tiny", accelerator="cpu")
        np.testing.assert_array_equal(soft(pulled, query), soft(tiny_model, query))
        assert read_card("lab/tiny").metadata["license"] == "cc-by-4.0"
        server.repositories["lab/other"] = {"README.md": b"---\ntags: [hrca]\n---\n"}
        table = list_models(author="lab")
        assert list(table.index) == ["lab/tiny"] and table["tissue"].tolist() == ["brain"]
        with pytest.raises(OSError, match="lab/none"):
            pull("lab/none")


def test_a_tampered_file_of_the_cache_is_refused_and_fetched_again(tiny_model, query, tmp_path, monkeypatch):
    with serving(monkeypatch, str(tmp_path / "cache")):
        push(tiny_model, "lab/tiny", token="hf_none")
        pull("lab/tiny", accelerator="cpu")
        (cached,) = (tmp_path / "cache").glob("models--lab--tiny/snapshots/*/model.safetensors")
        flip(cached.resolve())
        with pytest.raises(ValueError, match="force_download=True"):
            pull("lab/tiny")
        pulled = pull("lab/tiny", force_download=True, accelerator="cpu")
        np.testing.assert_array_equal(soft(pulled, query), soft(tiny_model, query))


def test_without_a_network_the_cache_is_used(tiny_model, query, tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants", reason="the extra `hub` is not installed")
    # the layout of a repository that huggingface_hub has downloaded
    repository = tmp_path / "cache" / "models--lab--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    source = push(tiny_model, "lab/tiny", hub=tmp_path / "hub")
    shutil.copytree(source, repository / "snapshots" / ("0" * 40))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    np.testing.assert_array_equal(soft(pull("lab/tiny"), query), soft(tiny_model, query))
    with pytest.raises(OSError, match="outgoing traffic has been disabled"):
        pull("lab/none")
    with pytest.raises(OSError, match="offline"):
        push(tiny_model, "lab/new")


def test_a_later_push_replaces_the_model(tiny_model, odd_model, query, hub):
    push(odd_model, "lab/tiny", hub=hub)
    np.testing.assert_array_equal(soft(pull("lab/tiny", hub=hub), query), soft(odd_model, query))
    metadata = json.loads((hub / "lab" / "tiny" / "_scvi_required_metadata.json").read_text())
    assert metadata["model_parent_module"] == "hrca"


MALFORMED = [
    "labels: 5",
    "labels: [B, T]",
    "labels: {1: 5}",
    "labels: {B: many}",
    "stated: x",
    "stated: {species: [mouse]}",
    "scores: [1]",
    "scores: {accuracy: high}",
    "scores: {accuracy: true}",
    "n_genes: many",
    "n_obs: 1.5",
    "n_obs: -1",
    "n_obs: 100000000000000000000",
    "versions: 1",
]


@pytest.mark.parametrize("fact", MALFORMED)
def test_a_malformed_card_is_left_out_of_the_list_and_named_when_it_is_read(hub, fact):
    folder = hub / "lab" / "foreign"
    folder.mkdir()
    (folder / "README.md").write_text(f"---\nhrca: {{{fact}}}\n---\n\n# Foreign\n")
    assert list(list_models(hub=hub).index) == ["lab/tiny"]
    name = fact.partition(":")[0]
    with pytest.raises(ValueError, match=rf"`{name}` must be .*lab/foreign/README.md"):
        read_card("lab/foreign", hub=hub)


@pytest.mark.parametrize("value", ["!!timestamp x", '!!int ""', "!!bool x"])
def test_a_card_with_a_wrong_type_in_yaml_is_left_out_of_the_list(hub, value):
    (hub / "lab" / "foreign").mkdir()
    (hub / "lab" / "foreign" / "README.md").write_text(f"---\nhrca: {{n_genes: {value}}}\n---\n")
    assert list(list_models(hub=hub).index) == ["lab/tiny"]


def test_a_malformed_card_on_hugging_face_is_left_out_of_the_list(tiny_model, tmp_path, monkeypatch):
    with serving(monkeypatch, str(tmp_path / "cache")) as server:
        push(tiny_model, "lab/tiny", token="hf_none")
        for i, fact in enumerate(MALFORMED):
            server.repositories[f"lab/other{i}"] = {"README.md": f"---\ntags: [hrca]\nhrca: {{{fact}}}\n---\n".encode()}
        assert "lab/tiny" in list_models().index
        # JSON has names of text alone: a label 1 is then "1"
        assert [i for i in range(len(MALFORMED)) if f"lab/other{i}" in list_models().index] == [2]


def test_scores_that_a_card_lacks_are_missing_in_the_list(hub):
    (hub / "lab" / "foreign").mkdir()
    (hub / "lab" / "foreign" / "README.md").write_text("---\nhrca: {scores: {accuracy: null, macro_f1: 1}}\n---\n")
    row = list_models(hub=hub).loc["lab/foreign"]
    assert pd.isna(row["accuracy"]) and row["macro_f1"] == 1 and row["n_labels"] == 0


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda _, hub: pull("lab/tiny", hub=hub, revision="v1"), "`revision`"),
        (lambda _, hub: pull("lab/tiny", hub=hub, force_download=True, token="x"), "`token` and `force_download`"),
        (lambda _, hub: read_card("lab/tiny", hub=hub, revision="v1"), "`revision`"),
        (lambda _, hub: read_card(hub / "lab" / "tiny", revision="v1"), "`revision`"),
        (lambda _, hub: list_models(hub=hub, token="x"), "`token`"),
        (lambda model, hub: push(model, "lab/new", hub=hub, private=True), "`private`"),
        (lambda model, hub: push(model, "lab/new", hub=hub, token="x", commit_message="m"), "`token` and `commit_mess"),
    ],
)
def test_arguments_of_hugging_face_are_refused_for_a_folder(tiny_model, hub, call, names):
    with pytest.raises(ValueError, match=f"^{names}.* must be left out"):
        call(tiny_model, hub)
    assert not (hub / "lab" / "new").exists()


def test_the_home_directory_can_be_named_by_a_tilde(tiny_model, query, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert push(tiny_model, "lab/tiny", hub="~/hub") == str(tmp_path / "hub" / "lab" / "tiny")
    assert list(list_models(hub="~/hub").index) == ["lab/tiny"]
    np.testing.assert_array_equal(soft(pull("lab/tiny", hub="~/hub"), query), soft(tiny_model, query))
    tiny_model.save("~/model")
    assert hrca.HRCA.load_registry("~/model")["model_name"] == "HRCA"
    assert hrca.HRCA.load("~/model").labels == tiny_model.labels
    assert read_card("~/model").facts["model_id"] == read_card("lab/tiny", hub="~/hub").facts["model_id"]
    push("~/model", "lab/saved", hub="~/hub")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hub", "model"]


def test_metadata_of_an_earlier_version_do_not_stay(tiny_model, odd_model, hub, monkeypatch):
    assert (hub / "lab" / "tiny" / "_scvi_required_metadata.json").is_file()
    # without huggingface_hub, no metadata are written
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    monkeypatch.delitem(__import__("sys").modules, "scvi.hub", raising=False)
    push(odd_model, "lab/tiny", hub=hub)
    names = {path.name for path in (hub / "lab" / "tiny").iterdir()}
    assert names == {"README.md", "model.json", "model.safetensors"}
