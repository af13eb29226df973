"""The page of a card, as a parser of Markdown shows it."""

import copy
from dataclasses import replace

import numpy as np
import pytest
from held_out_cells import held_out_cells
from markdown_it import MarkdownIt

from hrca.model._card import ModelCard
from hrca.model._card_facts import card_facts
from hrca.model._card_text import escape, summary_lines
from hrca.models import make_card

ODD = ["T/CD4|naïve_α", "<b>B</b> & *plasma* `x` [1](y) ~~z~~ #$ &amp;", '"quoted": - {a: 1}\\|', "a\\", "_x_", "1. b"]


@pytest.fixture
def tiny_model(tiny_model):
    """A copy: a model keeps what a card states."""
    return copy.copy(tiny_model)


def tables_of(text):
    """Every table of the page: its rows, as lists of what a reader sees."""
    found = []
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and found and token.map and found[-1] and token.level > 2:
            assert all(child.type in ("text", "code_inline", "text_special") for child in token.children), token
            found[-1][-1].append("".join(child.content for child in token.children))
    return found


def section(text, title):
    return text.split(f"## {title}\n")[1].split("\n#")[0]


@pytest.mark.parametrize("label", ODD)
def test_an_escaped_label_is_shown_as_it_is(label):
    (table,) = tables_of(f"| a | b |\n|---|---|\n| {escape(label)} | c |\n")
    assert table[1] == [label, "c"]
    assert escape("a\n b") == "a b"


def test_the_page_shows_the_numbers_of_the_tables(tiny_model):
    model = copy.copy(tiny_model)
    # the model has three of the four labels
    scores = held_out_cells()
    scores = scores.subset(scores.codes < 3)
    probabilities = scores.probabilities[:, :3] / scores.probabilities[:, :3].sum(axis=1, keepdims=True)
    model.conformal_scores_ = replace(scores, probabilities=probabilities)
    facts, text = card_facts(model, {}).held_out, make_card(model).text
    (by_label,) = tables_of(section(text, "By label"))
    assert [row[0] for row in by_label[1:]] == model.labels
    for row in by_label[1:]:
        expected = facts.by_label.loc[row[0]]
        assert int(row[2]) == expected["n_held_out"]
        shown = [np.nan if x == "–" else float(x) for x in row[3:]]
        np.testing.assert_allclose(shown, expected[1:].astype(float), atol=5.1e-4)
    (by_depth,) = tables_of(section(text, "By depth"))
    assert [row[0] for row in by_depth[1:]] == list(facts.by_depth.index)
    assert [int(row[1].replace(",", "")) for row in by_depth[1:]] == facts.by_depth["n_obs"].tolist()
    accuracy = [float(row[2]) for row in by_depth[1:]]
    np.testing.assert_allclose(accuracy, facts.by_depth["accuracy"], atol=5.1e-4)
    (crossed,) = tables_of(section(text, "By label and depth"))
    assert crossed[0][1:] == list(facts.by_depth.index)
    for row in crossed[1:]:
        for depth, cell in zip(crossed[0][1:], row[1:], strict=True):
            expected = facts.by_label_and_depth.loc[(row[0], depth)]
            assert cell == f"{expected['accuracy']:.2f} / {expected['confidence']:.2f}"
    (confused,) = tables_of(section(text, "Commonest confusions"))
    assert len(confused) - 1 == len(facts.confusions) > 0


@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("CC BY 4.0", {"license": "cc-by-4.0"}),
        ("cc0-1.0", {"license": "cc0-1.0"}),
        ("MIT", {"license": "mit"}),
        ("HCA data use terms", {"license": "other", "license_name": "hca-data-use-terms"}),
    ],
)
def test_a_licence_has_the_name_of_hugging_face(tiny_model, name, entries):
    metadata = make_card(tiny_model, license=name).metadata
    assert {key: metadata[key] for key in ("license", "license_name") if key in metadata} == entries
    assert f"| licence of the model | {name} |" in make_card(tiny_model, license=name).text


def test_what_is_not_stated_is_said_so(tiny_model):
    card = make_card(tiny_model)
    assert "license" not in card.metadata
    facts = dict(row for row in tables_of(section(card.text, "Reference"))[0] if row != ["", ""])
    assert {facts[name] for name in ("data", "licence of the data", "species", "tissue")} == {"not stated"}


def test_folds_and_adaptation_are_told(tiny_model):
    model = copy.copy(tiny_model)
    model.module = copy.deepcopy(model.module)
    model.n_folds_ = 5
    model.module.is_adapted.fill_(True)
    text = make_card(model).text
    assert "a cross-fitting with 5 folds" in text and "was adapted to a query after these scores" in text
    assert "folds" not in make_card(tiny_model).text


def test_key_facts_are_shown_of_a_card_that_lacks_some():
    assert summary_lines(ModelCard({"hrca": {}}, ""))[-2:] == ["held-out cells: none", "written by not stated"]
    card = ModelCard({"hrca": {"scores": {"n_obs": 1200, "accuracy": 0.5, "macro_f1": None}}}, "")
    assert summary_lines(card)[-2] == "1,200 held-out cells: accuracy 0.500"
