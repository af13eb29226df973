"""Confusions and their genes, groups of novel cells, profiles of a model, and the data of the map."""

import base64

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from conftest import synthetic
from matplotlib.colors import to_hex

from hrca.pl._palette import numeric_colormap
from hrca.reporting._cells import AnnotatedCells, label_table, summary
from hrca.reporting._confusions import confusion_table, confusions
from hrca.reporting._explorer import explorer
from hrca.reporting._model_facts import LabelProfiles, profiles_of
from hrca.reporting._novel_groups import novel_groups, unnoticed_sentence, worst_explained_labels
from hrca.reporting._pictures import frequent_note, sections


@pytest.fixture
def labelled() -> ad.AnnData:
    """90 cells; ten cells of type 0 are called type 1, and express its genes."""
    adata = synthetic(90)
    wrong = np.arange(0, 30, 3)
    adata.obs["hrca"] = adata.obs["cell_type"].where(~np.isin(np.arange(90), wrong), "type 1").astype("category")
    counts = adata.X.toarray()
    counts[wrong, 10:20], counts[wrong, 0:10] = 4, 0
    adata.X = counts
    adata.obs["hrca_confidence"] = np.linspace(0, 1, 90)
    return adata


def test_known_confusions_are_explained_by_the_cells(labelled):
    cells = AnnotatedCells(labelled, "hrca", true_labels_key="cell_type")
    [pair] = confusions(cells)
    assert (pair.label, pair.other_label, pair.n_cells) == ("type 0", "type 1", 10)
    [row] = confusion_table(cells, None)
    # genes of type 0 and type 1 tell them apart; the confused cells are like type 1
    for gene, (correct, confused, other) in row["genes"]:
        number = int(gene.removeprefix("gene"))
        assert number < 20
        assert abs(float(confused) - float(other)) < abs(float(confused) - float(correct))
    labelled.obs["cell_type"] = labelled.obs["hrca"]
    assert confusions(AnnotatedCells(labelled, "hrca", true_labels_key="cell_type")) == []


def test_cells_of_a_label_that_was_never_predicted_are_explained_by_the_confused_cells():
    adata = synthetic(90)
    adata.obs["hrca"] = adata.obs["cell_type"].astype(str).replace("type 0", "type 1").astype("category")
    [row] = confusion_table(AnnotatedCells(adata, "hrca", true_labels_key="cell_type"), None)
    assert (row["label"], row["other_label"], row["depths"][0]) == ("type 0", "type 1", "")
    assert len(row["genes"]) == 3
    for gene, (correct, confused, other) in row["genes"]:
        assert correct is None
        # the genes of type 0 are higher in the confused cells, those of type 1 in the others
        assert (float(confused) > float(other)) == (int(gene.removeprefix("gene")) < 10)


def test_possible_confusions_are_sums_of_probabilities(labelled):
    table = np.tile([0.7, 0.2, 0.1], (90, 1))
    table = np.array([np.roll(row, int(name[-1])) for row, name in zip(table, labelled.obs["hrca"], strict=True)])
    labelled.obsm["hrca_probabilities"] = table
    labelled.uns["hrca"] = {"labels": np.array(["type 0", "type 1", "type 2"])}
    found = confusions(AnnotatedCells(labelled, "hrca"))
    counts = labelled.obs["hrca"].value_counts()
    assert (found[0].label, found[0].other_label) == ("type 1", "type 2")
    assert found[0].n_cells == pytest.approx(0.2 * counts["type 1"])
    assert len(found[0].rows[1]) == round(0.2 * counts["type 1"])
    del labelled.obsm["hrca_probabilities"]
    assert confusions(AnnotatedCells(labelled, "hrca")) == []


def test_genes_that_the_query_lacks_are_named(labelled):
    fractions = np.full((2, 5), 0.05)
    fractions[0, :2] = [0.8, 0.05]
    fractions[1, :2] = [0.05, 0.8]
    genes = pd.Index(["absent", "GENE10", "gene3", "gene4", "gene5"])
    profiles = LabelProfiles(fractions, ["type 0", "type 1"], genes, np.array([False, True, True, True, True]))
    cells = AnnotatedCells(labelled, "hrca", true_labels_key="cell_type")
    [row] = confusion_table(cells, profiles)
    assert row["fraction"] == pytest.approx(0.5)
    (absent, none), (gene10, means) = row["genes"]
    assert (absent, none, gene10) == ("absent", None, "GENE10")
    assert float(means[0]) < float(means[1])
    # found by a table of names: the query has the gene under another name
    [row] = confusion_table(cells, LabelProfiles(fractions, ["type 0", "type 1"], genes, np.ones(5, dtype=bool)))
    assert dict(row["genes"])["absent"] == [None, None, None]
    assert row["fraction"] == 1


def test_profiles_of_a_model_know_which_genes_the_query_has(tiny_model):
    profiles = profiles_of(tiny_model, pd.Index([f"GENE{i}" for i in range(30)]), 30)
    np.testing.assert_allclose(profiles.fractions.sum(axis=1), 1)
    assert profiles.present.tolist() == [True] * 30 + [False] * 30
    chosen = profiles.genes[profiles.distinguishing_genes("type 0", "type 2", 2)]
    first, second = (int(gene[4:]) // 10 for gene in chosen)
    assert {first, second} <= {0, 2}
    # found by a table of names: no name is the same
    assert profiles_of(tiny_model, pd.Index(["ENSG1"]), 60).present.all()


def test_the_groups_of_novel_cells_are_those_of_the_prediction():
    adata = synthetic(60)
    adata.obs["hrca"] = adata.obs["cell_type"].astype("category")
    adata.obs["hrca_novel_probability"] = 1.0
    assert novel_groups(AnnotatedCells(adata, "hrca")) is None
    table = {"n_cells": np.array([40, 9]), "label": np.array(["B", "T"]), "genes": np.array(["MS4A1, CD19", ""])}
    adata.uns["hrca"] = {"novel_groups": table}
    assert novel_groups(AnnotatedCells(adata, "hrca")) == [
        {"n_cells": 40, "label": "B", "genes": "MS4A1, CD19"},
        {"n_cells": 9, "label": "T", "genes": ""},
    ]


def test_labels_that_the_reference_explains_worst_are_those_with_a_red_end():
    adata = synthetic(60)
    adata.obs["hrca"] = ["B"] * 20 + ["T"] * 20 + ["rare"] * 5 + ["Unknown"] * 15
    cells = AnnotatedCells(adata, "hrca")
    assert worst_explained_labels(cells) == []
    # 4 of 20 B cells and 3 of 20 T cells are in the last twentieth
    adata.obs["hrca_novelty"] = [0.95] * 4 + [0.94] * 16 + [0.99] * 3 + [0.1] * 17 + [1.0] * 20
    assert worst_explained_labels(cells) == [("B", 0.2, 20)]
    adata.obs["hrca_novelty"] = [np.nan] * 10 + [0.99] * 30 + [1.0] * 20
    assert worst_explained_labels(cells) == [("B", 1.0, 10), ("T", 1.0, 20)]


@pytest.fixture
def with_unseen(labelled) -> ad.AnnData:
    """The 30 cells of type 2 are called by a name that the model does not know."""
    labelled.uns["hrca"] = {"labels": np.array(["type 0", "type 1", "type 2"])}
    labelled.obs["cell_type"] = labelled.obs["cell_type"].astype(str).replace("type 2", "Type two")
    return labelled


def test_cells_with_labels_that_the_model_does_not_know_are_not_scored(with_unseen):
    cells = AnnotatedCells(with_unseen, "hrca", true_labels_key="cell_type")
    found = {name: (value, text) for name, value, text in summary(cells)}
    value, text = found["Correct labels"]
    assert value == f"{50 / 60:.0%}"
    assert text.endswith("of 60 cells; not scored: 30 cells with a label that the model does not know")
    assert set(cells.known_cells.true_labels) == {"type 0", "type 1"} and len(cells.known_cells.confidence) == 60
    [pair] = confusions(cells)
    assert (pair.label, pair.other_label, pair.n_cells) == ("type 0", "type 1", 10)
    assert cells.unseen_warning.startswith("30 of 90 labelled cells are not scored: the model does not know")
    assert "'Type two'" in cells.unseen_warning


def test_the_scores_are_those_of_evaluate(tiny_model):
    adata = synthetic(200, seed=3)
    adata.obs["cell_type"] = adata.obs["cell_type"].astype(str).replace("type 2", "Type two")
    with pytest.warns(UserWarning, match="labelled cells are not scored") as caught:
        scores = tiny_model.evaluate(adata, "cell_type")
    tiny_model.predict(adata, enable_progress_bar=False)
    cells = AnnotatedCells(adata, "hrca", true_labels_key="cell_type")
    assert [str(warning.message) for warning in caught] == [cells.unseen_warning]
    assert len(cells.known_cells.rows) == scores["n_obs"]
    found = {name: (value, text) for name, value, text in summary(cells)}
    assert found["Correct labels"][0] == f"{scores['accuracy']:.0%}"
    assert found["Correct labels"][1].startswith(f"macro-F1 {scores['macro_f1']:.2f}, of {scores['n_obs']:,.0f} cells")


def test_few_cells_that_are_not_scored_cause_no_warning(labelled):
    labelled.uns["hrca"] = {"labels": np.array(["type 0", "type 1", "type 2"])}
    labelled.obs["cell_type"] = labelled.obs["cell_type"].astype(str)
    labelled.obs.iloc[:9, labelled.obs.columns.get_loc("cell_type")] = "other"
    cells = AnnotatedCells(labelled, "hrca", true_labels_key="cell_type")
    assert cells.unseen_warning is None and len(cells.known_cells.rows) == 81


def test_summary_and_labels_count_the_cells(labelled):
    labelled.obs["hrca"] = labelled.obs["hrca"].cat.add_categories("Unknown")
    labelled.obs.iloc[0, labelled.obs.columns.get_loc("hrca")] = "Unknown"
    cells = AnnotatedCells(labelled, "hrca", true_labels_key="cell_type")
    numbers = {name: value for name, value, _ in summary(cells)}
    assert numbers["Cells"] == "90" and numbers["Without a label"] == "1.1%" and numbers["Predicted labels"] == "3"
    assert numbers["Correct labels"] == f"{80 / 90:.0%}"
    table = label_table(cells).set_index("Label")
    assert table.loc["type 1", "Cells"] == "39" and table.loc["Unknown", "Cells"] == "1"
    assert table["Cells"].astype(int).is_monotonic_decreasing
    in_reference = label_table(cells, {"type 0": 1200, "type 1": 2}).set_index("Label")["Cells in the reference"]
    assert in_reference.to_dict() == {"type 0": "1,200", "type 1": "2", "type 2": "–", "Unknown": "–"}


def test_novel_cells_that_were_not_estimated_have_no_number(labelled):
    labelled.obs["hrca_novel_probability"] = np.nan
    cells = AnnotatedCells(labelled, "hrca")
    assert {name: value for name, value, _ in summary(cells)}["Novel cells"] == "–"
    assert "Novel cells" not in label_table(cells)
    labelled.obs["hrca_novel_probability"] = 0.1
    assert {name: value for name, value, _ in summary(AnnotatedCells(labelled, "hrca"))}["Novel cells"] == "0%"


def test_the_number_of_labels_says_of_how_many(labelled):
    def number() -> tuple[str, str]:
        return next(tuple(rest) for name, *rest in summary(AnnotatedCells(labelled, "hrca")) if "labels" in name)

    labelled.uns["hrca"] = {"labels": np.array(["type 0", "type 1", "type 2", "type 3"])}
    assert number() == ("3 of 4", "labels of the model that at least one cell has")
    # of a higher level
    labelled.obs["hrca"] = labelled.obs["hrca"].cat.rename_categories({"type 0": "class"})
    assert number() == ("3", "different labels of the cells")


def test_the_confidence_is_that_of_the_predicted_cells(labelled):
    labelled.obs["hrca_confidence"] = [np.nan] * 80 + [0.2] * 4 + [0.8] * 6
    found = {name: (value, text) for name, value, text in summary(AnnotatedCells(labelled, "hrca"))}
    assert found["Mean confidence"] == ("0.56", "40% of the predicted cells below .5")
    labelled.obs["hrca_confidence"] = np.nan
    assert "Mean confidence" not in [name for name, _, _ in summary(AnnotatedCells(labelled, "hrca"))]


def test_the_table_and_the_summary_have_the_mean_confidence(labelled):
    labelled.obs["hrca"] = "type 0"
    labelled.obs["hrca_confidence"] = [1.0] * 60 + [0.4] * 30
    cells = AnnotatedCells(labelled, "hrca")
    assert {name: value for name, value, _ in summary(cells)}["Mean confidence"] == "0.80"
    assert label_table(cells)["Mean confidence"].tolist() == ["0.80"]


def test_the_map_has_the_places_in_equal_scale():
    adata = synthetic(4)
    adata.obs["hrca"] = pd.Categorical(["b", "a", "b", None], ["a", "b", "Unknown"])
    adata.obs["hrca_confidence"] = [0.5, 1.0, 0.0, 0.0]
    adata.obsm["spatial"] = np.array([[10.0, 10], [20, 10], [20, 15], [np.nan, 0]])
    data, note = explorer(AnnotatedCells(adata, "hrca"))
    assert note == ""
    x, y = (np.frombuffer(base64.b64decode(data[axis]), "<u2") for axis in "xy")
    [number] = data["numbers"]
    assert number["name"] == "confidence" and len(number["shades"]) == 101
    label, confidence = (np.frombuffer(base64.b64decode(text), np.uint8) for text in (data["label"], number["percent"]))
    cells = {(data["names"][c], int(q)): (int(a), int(b)) for c, q, a, b in zip(label, confidence, x, y, strict=True)}
    assert cells == {("b", 50): (0, 0), ("a", 100): (65535, 0), ("b", 0): (65535, 32768)}
    assert data["sides"] == [[1.0, 0.5]] and data["counts"] == [1, 2]
    del adata.obsm["spatial"]
    assert explorer(AnnotatedCells(adata, "hrca")) == (None, "")


def test_the_map_has_the_novel_probability_in_the_colors_of_the_pictures():
    adata = synthetic(3)
    adata.obs["hrca"], adata.obsm["spatial"] = "B", np.arange(6.0).reshape(3, 2)
    adata.obs["hrca_novel_probability"] = [0.25, np.nan, 1.0]
    adata.obs["hrca_confidence"] = np.nan
    data, _ = explorer(AnnotatedCells(adata, "hrca"))
    [number] = data["numbers"]
    assert number["name"] == "novel probability"
    assert sorted(np.frombuffer(base64.b64decode(number["percent"]), np.uint8)) == [25, 100, 255]
    colors = numeric_colormap("hrca_novel_probability")([0.0, 0.25, 1.0])
    assert [number["shades"][i] for i in (0, 25, 100)] == [to_hex(color) for color in colors]


def test_the_map_says_what_it_leaves_out():
    adata = synthetic(600)
    adata.obsm["spatial"] = np.random.default_rng(0).random((600, 2))
    adata.obs["hrca"] = [f"label {i % 300}" for i in range(600)]
    data, note = explorer(AnnotatedCells(adata, "hrca"))
    assert data is None and "the cells have 300 labels: more than 255" in note
    adata.obs["hrca"] = "B"
    # 60 samples of one cell, and 270 of two
    adata.obs["sample"] = [f"small {i}" if i < 60 else f"sample {i // 2:03}" for i in range(600)]
    data, note = explorer(AnnotatedCells(adata, "hrca", sample_key="sample"))
    assert note == "This map has the 255 largest of the 330 samples."
    assert len(data["samples"]) == 255 and all(name.startswith("sample") for name in data["samples"])
    codes = np.frombuffer(base64.b64decode(data["sample"]), np.uint8)
    assert np.bincount(codes).tolist() == [2] * 255


def test_pictures_say_what_they_leave_out():
    adata = synthetic(130)
    adata.obsm["spatial"] = np.random.default_rng(0).random((130, 2))
    adata.obs["hrca"], adata.obs["sample"] = "B", [f"sample {i % 13}" for i in range(130)]
    [(_, caption)] = sections(AnnotatedCells(adata, "hrca", sample_key="sample"), 1)
    assert caption.endswith("The 12 largest of the 13 samples are drawn.")
    labels = pd.Series([f"label {i % 61}" for i in range(130)])
    assert frequent_note(labels) == " The 60 most frequent of the 61 labels are drawn."
    assert frequent_note(labels.iloc[:60]) == ""


def test_labels_that_could_be_missing_unnoticed_are_in_the_table_and_in_a_sentence(labelled):
    adata = labelled
    assert unnoticed_sentence(AnnotatedCells(adata, "hrca")) is None
    assert "Noticed if missing" not in label_table(AnnotatedCells(adata, "hrca"))
    table = {"label": ["type 1", "type 0"], "n_cells": [9, 8], "novel_probability": [0.5, 0.1]}
    adata.uns["hrca"] = {"left_out_labels": {name: np.array(values) for name, values in table.items()}}
    cells = AnnotatedCells(adata, "hrca")
    noticed = label_table(cells).set_index("Label")["Noticed if missing"]
    assert noticed[["type 0", "type 1"]].tolist() == ["no", "yes"]
    assert set(noticed.drop(["type 0", "type 1"])) <= {"–"}
    assert "It would not for 'type 0': the cells would get other labels" in unnoticed_sentence(cells)
