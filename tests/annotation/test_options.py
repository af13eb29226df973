"""Options of a prediction: each invalid one raises an error, before any cell is predicted."""

import re

import pytest

from hrca.annotation._options import LabelSpace, PredictOptions, check_ontology_terms

FLAT = LabelSpace(["B", "CD4", "CD8"], {}, "Unknown")
NESTED = LabelSpace(["B", "CD4", "CD8"], {"CD4": "T", "CD8": "T", "T": "lymphoid", "B": "lymphoid"}, "Unknown")
ALL = {"writes_results": True, "has_novelty_reference": True, "has_conformal_scores": True}


def test_the_tree_of_a_label_space_has_its_ancestors():
    assert NESTED.tree.nodes == ["B", "CD4", "CD8", "T", "lymphoid"]
    assert FLAT.tree.nodes == FLAT.labels


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"level": 0},
        {"level": 2, "min_confidence": 1.0},
        {"novelty_fpr": 0.05},
        {"coverage": 0.9, "class_conditional": True},
        {"coverage": 0.9, "reweight_to_query": True},
    ],
)
def test_valid_options_pass(options):
    PredictOptions(**options).check(NESTED, **ALL)


@pytest.mark.parametrize(
    ("options", "label_space", "without", "message"),
    [
        ({"level": 0}, FLAT, None, "`level` needs a hierarchy of the labels, got 0"),
        ({"level": 3}, NESTED, None, "from 0, the coarsest, to 2, the finest .* got 3"),
        ({"level": -1}, NESTED, None, "got -1"),
        ({"level": 1.0}, NESTED, None, "got 1.0"),
        ({"min_confidence": -0.1}, FLAT, None, "from 0 to 1, got -0.1"),
        ({"min_confidence": 1.1}, FLAT, None, "from 0 to 1, got 1.1"),
        ({"novelty_fpr": 0}, FLAT, None, "`novelty_fpr` must be between 0 and 1, got 0"),
        ({"novelty_fpr": 1}, FLAT, None, "`novelty_fpr` must be between 0 and 1, got 1"),
        ({"novelty_fpr": 0.05}, FLAT, "has_novelty_reference", "this model holds none.*`model.finetune()`"),
        ({"coverage": 0}, FLAT, None, "`coverage` must be between 0 and 1, got 0"),
        ({"coverage": 1}, FLAT, None, "`coverage` must be between 0 and 1, got 1"),
        ({"coverage": 0.9}, FLAT, "writes_results", "`coverage` needs a `key_added`, got None"),
        ({"coverage": 0.9}, FLAT, "has_conformal_scores", "a smaller `train_size`"),
        ({"class_conditional": True}, FLAT, None, "`class_conditional` is .* needs a `coverage`, got None"),
        ({"reweight_to_query": True}, FLAT, None, "`reweight_to_query` is .* needs a `coverage`, got None"),
        ({"coverage": 0.9, "class_conditional": True, "reweight_to_query": True}, FLAT, None, "got both"),
    ],
)
def test_invalid_options_raise(options, label_space, without, message):
    message = re.escape(message).replace(r"\.\*", ".*")
    with pytest.raises(ValueError, match=message):
        PredictOptions(**options).check(label_space, **{**ALL, **({without: False} if without else {})})


@pytest.mark.parametrize(
    "options", [{"level": -1}, {"level": 0.5}, {"min_confidence": 2.0}, {"novelty_fpr": 1}, {"class_conditional": True}]
)
def test_values_are_checked_without_a_model(options):
    with pytest.raises(ValueError, match=f"`{next(iter(options))}`"):
        PredictOptions(**options).check_values()
    PredictOptions(level=9, novelty_fpr=0.05, coverage=0.9).check_values()


@pytest.mark.parametrize("options", [{"min_confidence": 0.5}, {"novelty_fpr": 0.05}])
def test_options_of_labels_are_of_no_use_for_probabilities_alone(options):
    [(name, value)] = options.items()
    words = f"`{name}={value}` changes labels, but `soft=True` .* Leave out `{name}`, or give a `key_added`."
    with pytest.raises(ValueError, match=words):
        PredictOptions(**options).check_used_for_probabilities()
    PredictOptions(level=1).check_used_for_probabilities()


def test_settings_leave_out_the_options_of_sets_without_sets():
    options = {"class_conditional": True, "reweight_to_query": False}
    assert PredictOptions(coverage=0.9, **options).settings().items() >= options.items()
    assert PredictOptions(**options).settings() == {
        "level": None,
        "min_confidence": 0.0,
        "novelty_fpr": None,
        "coverage": None,
        "class_conditional": None,
        "reweight_to_query": None,
    }


LEAF_TERMS = {"B": "CL:0000236", "CD4": "CL:0000624", "CD8": "CL:0000625"}


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({}, []),
        ({"level": 1}, ["T"]),
        ({"level": 0}, ["lymphoid"]),
        ({"min_confidence": 0.5}, ["T", "lymphoid"]),
        ({"level": 1, "min_confidence": 0.5}, ["T", "lymphoid"]),
    ],
)
def test_each_label_that_can_be_predicted_needs_an_id(options, missing):
    options = PredictOptions(**options)
    if missing:
        with pytest.raises(ValueError, match=re.escape(f"lacks {missing}")):
            check_ontology_terms(NESTED, options, LEAF_TERMS, writes_results=True)
    terms = {**LEAF_TERMS, **dict.fromkeys(missing, "unknown")}
    check_ontology_terms(NESTED, options, terms, writes_results=True)


def test_ids_need_results_that_are_written():
    with pytest.raises(ValueError, match="`ontology_terms` needs a `key_added`, got None"):
        check_ontology_terms(FLAT, PredictOptions(), LEAF_TERMS, writes_results=False)


def test_an_invalid_option_raises_through_predict(tiny_model, query):
    with pytest.raises(ValueError, match="`level` needs a hierarchy"):
        tiny_model.predict(query, level=0)
    assert not list(query.obs)
