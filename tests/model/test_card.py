"""The card as a file: written by `save`, read again, kept apart from other texts."""

import copy

import pytest
import yaml
from conftest import TINY

import hrca
from hrca.model._card import ModelCard
from hrca.models import make_card, read_card


@pytest.fixture
def tiny_model(tiny_model):
    """A copy: a model keeps what a card states."""
    return copy.copy(tiny_model)


def test_save_writes_a_card_with_the_digests_of_the_files(tiny_model, tmp_path):
    import hashlib

    tiny_model.save(tmp_path / "model")
    card = read_card(tmp_path / "model")
    for name in ("model.json", "model.safetensors"):
        assert card.facts["sha256"][name] == hashlib.sha256((tmp_path / "model" / name).read_bytes()).hexdigest()
    made = make_card(tiny_model)
    assert card.text.startswith(made.text)
    assert card.facts == {**made.facts, "sha256": card.facts["sha256"]}


def test_huggingface_hub_reads_the_card(tiny_model, tmp_path):
    hub = pytest.importorskip("huggingface_hub", reason="the extra `hub` is not installed")
    tiny_model.save(tmp_path / "model")
    card = read_card(tmp_path / "model")
    theirs = hub.ModelCard.load(tmp_path / "model" / "README.md")
    assert theirs.data.to_dict() == card.metadata
    assert theirs.text.strip() == card.text.strip()


@pytest.mark.parametrize(
    "text",
    ["a\n---\nhrca: 1\n---\n", "---", "a: b # c", "'\"", "x" * 5000, "naïve α 细胞", "- [1]\n| 2 |", "yes", "1e3"],
)
def test_what_a_user_states_comes_back(tiny_model, tmp_path, text):
    card = make_card(tiny_model, data=text, species=text, tissue=text, description=text, license=text)
    (tmp_path / "README.md").write_text(str(card), encoding="utf-8")
    assert ModelCard.read(tmp_path / "README.md") == card
    assert card.facts["stated"]["data"] == text


@pytest.mark.parametrize("wrong", ["", "  ", 3, ["mouse"]])
def test_a_fact_that_is_no_text_raises(tiny_model, wrong):
    with pytest.raises(TypeError, match="`species` must be a text or None"):
        make_card(tiny_model, species=wrong)


def test_what_was_stated_is_kept_and_can_be_changed(tiny_model, tmp_path):
    tiny_model.save(tmp_path / "a", card=make_card(tiny_model, data="atlas", tissue="brain"))
    loaded = hrca.HRCA.load(tmp_path / "a", adata=False)
    loaded.save(tmp_path / "b")
    assert read_card(tmp_path / "b").facts["stated"] == {"data": "atlas", "tissue": "brain"}
    card = make_card(loaded, tissue="cortex")
    assert card.facts["stated"] == {"data": "atlas", "tissue": "cortex"}
    assert loaded.stated_facts_ == {"data": "atlas", "tissue": "brain"}


def test_another_readme_stays(tiny_model, tmp_path):
    (tmp_path / "README.md").write_text("# My project\n")
    with pytest.warns(UserWarning, match="is another text, and stays"):
        tiny_model.save(tmp_path, overwrite=True)
    assert (tmp_path / "README.md").read_text() == "# My project\n"
    with pytest.raises(ValueError, match="must be the card of a model of HRCA"):
        hrca.models.push(tmp_path, "lab/x", hub=tmp_path / "hub")


def test_the_card_of_a_replaced_model_is_removed(tiny_model, reference, tmp_path):
    tiny_model.save(tmp_path / "model")
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    untrained = hrca.HRCA(reference, **TINY)
    untrained.save(tmp_path / "model", overwrite=True)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["model.json", "model.safetensors"]
    with pytest.raises(ValueError, match="`card` must be that of the model ''"):
        untrained.save(tmp_path / "model", overwrite=True, card=make_card(tiny_model))


def test_each_prefix_has_its_card(tiny_model, tmp_path):
    for prefix in ("one_", "two_"):
        tiny_model.save(tmp_path / "model", prefix=prefix, overwrite=True)
        card = ModelCard.read(tmp_path / "model" / f"{prefix}README.md")
        assert list(card.facts["sha256"]) == [f"{prefix}model.json", f"{prefix}model.safetensors"]


def test_a_card_of_windows_is_read(tiny_model, tmp_path):
    card = make_card(tiny_model)
    (tmp_path / "README.md").write_bytes(str(card).replace("\n", "\r\n").encode())
    assert ModelCard.read(tmp_path / "README.md") == card


def test_a_front_matter_executes_nothing(tmp_path):
    (tmp_path / "README.md").write_text("---\nhrca: !!python/object/apply:os.mkdir [made]\n---\n")
    with pytest.raises(ValueError, match="must be YAML"):
        ModelCard.read(tmp_path / "README.md")
    assert yaml.safe_load("a: 1") == {"a": 1}


def test_a_notebook_shows_the_page(tiny_model):
    card = make_card(tiny_model)
    assert card._repr_markdown_() == card.text
    assert not card.text.startswith("---")


def test_a_card_that_was_read_has_its_files_once(tiny_model, tmp_path):
    tiny_model.save(tmp_path / "a")
    path = tmp_path / "a" / "README.md"
    path.write_text(path.read_text() + "\n## Notes\n\nA sentence of the author.\n")
    card = read_card(tmp_path / "a")
    tiny_model.save(tmp_path / "b", prefix="other_", card=card)
    again = ModelCard.read(tmp_path / "b" / "other_README.md")
    assert again.text.count("## Files") == 1
    for name, digest in again.facts["sha256"].items():
        assert f"| `{name}` | `{digest}` |\n" in again.text
    assert "`model.json`" not in again.text
    assert again.text.endswith("\n## Notes\n\nA sentence of the author.\n")
    assert card.with_digests(card.facts["sha256"]) == card


def test_a_failed_save_leaves_what_was_stated(tiny_model, tmp_path):
    card = make_card(tiny_model, data="atlas")
    (tmp_path / "file").write_text("")
    before = dict(tiny_model.stated_facts_)
    with pytest.raises(OSError):
        tiny_model.save(tmp_path / "file" / "model", card=card)
    assert tiny_model.stated_facts_ == before
    tiny_model.save(tmp_path / "model", card=card)
    assert tiny_model.stated_facts_ == hrca.HRCA.load(tmp_path / "model").stated_facts_ == {"data": "atlas"}
