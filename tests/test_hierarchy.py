"""Hierarchies of every kind become the parents of labels; probabilities are summed along them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hrca
from hrca._hierarchy import LabelTree, lineage, read_hierarchy

PARENTS = {"CD4": "T", "CD8": "T", "naive": "CD4", "memory": "CD4", "T": "lymphoid", "B": "lymphoid"}
LEAVES = ["naive", "memory", "CD8", "B", "Mono"]
# Terms of the Cell Ontology, with one link that makes the graph no tree.
OBO = """format-version: 1.2

[Term]
id: CL:0000084
name: T cell
is_a: CL:0000542 ! lymphocyte

[Term]
id: CL:0000236
name: B cell
is_a: CL:0000542 ! lymphocyte

[Term]
id: CL:0000542
name: lymphocyte
is_a: CL:0000738 ! leukocyte

[Term]
id: CL:0000624
name: CD4-positive, alpha-beta T cell
is_a: CL:0000789

[Term]
id: CL:0000625
name: CD8-positive, alpha-beta T cell
is_a: CL:0000789

[Term]
id: CL:0000789
name: alpha-beta T cell
is_a: CL:0000084
relationship: part_of CL:0000576

[Term]
id: CL:0000576
name: monocyte
is_a: CL:0000738
is_a: CL:0000113

[Term]
id: CL:0000113
name: mononuclear phagocyte
is_a: CL:0000738

[Term]
id: CL:0000738
name: leukocyte
"""


def obs(*labels: str, **columns) -> pd.DataFrame:
    return pd.DataFrame({"cell_type": labels, **columns})


def test_a_mapping_is_kept_whole_also_for_fewer_labels():
    given = {**PARENTS, "elsewhere": "nowhere"}
    assert read_hierarchy(given, obs(*LEAVES), "cell_type", "Unknown") == given
    assert read_hierarchy(given, obs(*LEAVES[:2]), "cell_type", "Unknown") == given
    assert LabelTree(LEAVES, given).nodes == LabelTree(LEAVES, PARENTS).nodes


def test_an_unused_child_is_logged(caplog):
    read_hierarchy({**PARENTS, "elsewhere": "nowhere"}, obs(*LEAVES), "cell_type", "Unknown")
    assert "parents for ['elsewhere'], which are no labels" in caplog.text
    caplog.clear()
    read_hierarchy(PARENTS, obs(*LEAVES), "cell_type", "Unknown")
    assert not caplog.text


def test_a_separator_nests_names():
    read = read_hierarchy("/", obs("T/CD4/naive", "T/CD8", "B"), "cell_type", "Unknown")
    assert read == {"T/CD4/naive": "T/CD4", "T/CD4": "T", "T/CD8": "T"}


def test_columns_from_coarse_to_fine():
    table = obs("naive", "CD8", "B", "Unknown", coarse=["T", "T", "B", None], middle=["CD4", "CD8", "B", None])
    read = read_hierarchy(["coarse", "middle", "cell_type"], table, "cell_type", "Unknown")
    assert read == {"naive": "CD4", "CD4": "T", "CD8": "T"}


def test_a_label_that_is_its_own_coarser_label_has_the_parent_of_that():
    table = obs("a", "c", "d", coarse=["a", "x", "x"], top=["t", "t", "t"])
    read = read_hierarchy(["top", "coarse", "cell_type"], table, "cell_type", "Unknown")
    assert read == {"a": "t", "c": "x", "d": "x", "x": "t"}


def test_an_ontology_is_reduced_to_a_tree_of_the_labels(tmp_path):
    path = tmp_path / "cl.obo"
    path.write_text(OBO)
    labels = obs("CL:0000624", "CL:0000625", "CL:0000236", "CL:0000576")
    read = read_hierarchy(path, labels, "cell_type", "Unknown")
    # alpha-beta T cell and T cell have the same labels below them: the finer one stays; "mononuclear phagocyte" has one
    assert read == {
        "CL:0000624": "CL:0000789",
        "CL:0000625": "CL:0000789",
        "CL:0000789": "CL:0000542",
        "CL:0000236": "CL:0000542",
        "CL:0000542": "CL:0000738",
        "CL:0000576": "CL:0000738",
    }
    with pytest.raises(ValueError, match="lacks \\['T'\\]"):
        read_hierarchy(path, obs("T", "CL:0000236"), "cell_type", "Unknown")
    with pytest.raises(ValueError, match="No term of the ontology is an ancestor of two of them"):
        read_hierarchy(path, obs("CL:0000236"), "cell_type", "Unknown")


@pytest.mark.parametrize(
    ("hierarchy", "table", "words"),
    [
        ({"a": "b", "b": "a"}, obs("a", "c"), "its own ancestor"),
        ({"x": "y"}, obs("a", "c"), r"labels are \['a', 'c'\]. It has parents for \['x'\]"),
        ("/", obs("a", "c"), "None of them has the separator '/'"),
        (["coarse", "cell_type"], obs("a", "c", coarse=["a", "c"]), "hold the same names"),
        ({"x": "y"}, obs(*"abcd"), r"labels are \['a', 'b', 'c'\] \(of 4\)"),
        ({"T": ["a", "c"]}, obs("a", "c"), r"has \['a', 'c'\] for 'T'. Leave out .* list several children one by one"),
        ({"a": "T", "T": None}, obs("a", "c"), "has None for 'T'. Leave out a label without a parent"),
        ({"a": "T", "T": np.nan}, obs("a", "c"), "has nan for 'T'. Leave out a label without a parent"),
        ({"a": "Unknown"}, obs("a", "c"), "cannot be a parent"),
        ("", obs("a", "c"), "must not be empty"),
        (["coarse", "cell_type"], obs("a", "c"), "must end with 'cell_type'"),
        (["cell_type", "coarse"], obs("a", "c", coarse=["x", "x"]), "must end with 'cell_type'"),
        (["coarse", "cell_type"], obs("a", "a", coarse=["x", "y"]), "must have one parent"),
        (
            ["coarse", "cell_type"],
            obs("a", "a", "a", "c", coarse=["a", "a", "x", "x"]),
            r"one parent, but 'a' of obs\['cell_type'\] has 'a' \(2 cells\) and 'x' \(1 cells\)",
        ),
        (
            ["top", "coarse", "cell_type"],
            obs("a", "c", top=["y", "y"], coarse=["c", "c"]).assign(cell_type=["c", "c"], coarse=["c", "x"]),
            "one parent, but 'c'",
        ),
        ({"a": "nan"}, obs("a", "c"), r"must be cell types, but `labels_hierarchy` has \['nan'\]"),
        (["coarse", "cell_type"], obs("a", "c", coarse=["x", "Unassigned"]), r"has \['Unassigned'\]"),
        (["coarse", "cell_type"], obs("a", "c", coarse=["x", None]), "some entries are missing"),
    ],
)
def test_an_invalid_hierarchy_raises(hierarchy, table, words):
    with pytest.raises(ValueError, match=words):
        read_hierarchy(hierarchy, table, "cell_type", "Unknown")


def probabilities(n: int, labels: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(labels, 0.5), size=n)


def search(row: np.ndarray, min_confidence: float) -> tuple[str | None, float]:
    """Back off one cell, written out."""
    by_leaf = dict(zip(LEAVES, row, strict=True))
    sums = {node: sum(p for leaf, p in by_leaf.items() if node in lineage(leaf, PARENTS)) for node in LEAVES}
    sums |= {"CD4": by_leaf["naive"] + by_leaf["memory"], "T": 1 - by_leaf["B"] - by_leaf["Mono"]}
    sums["lymphoid"] = 1 - by_leaf["Mono"]
    candidates, predicted = ["lymphoid", "Mono"], None
    confidence = max(sums[node] for node in candidates)
    while candidates:
        best = max(candidates, key=sums.get)
        if sums[best] < min_confidence:
            break
        predicted, confidence = best, sums[best]
        candidates = [child for child, parent in PARENTS.items() if parent == best]
    return predicted, confidence


@pytest.mark.parametrize("min_confidence", [0.0, 0.6, 0.95])
def test_back_off_searches_from_the_coarsest_nodes(min_confidence):
    tree, table = LabelTree(LEAVES, PARENTS), probabilities(200)
    predicted, confidence = tree.back_off(table, min_confidence)
    for cell, row in enumerate(table):
        expected, probability = search(row, min_confidence)
        assert (tree.nodes[predicted[cell]] if predicted[cell] >= 0 else None) == expected
        assert confidence[cell] == pytest.approx(probability)


def test_parent_and_child_never_disagree():
    table, full = probabilities(300), LabelTree(LEAVES, PARENTS)
    finest = [full.nodes[i] for i in full.back_off(table)[0]]
    for level in range(4):
        tree, summed = full.at_level(table, level)
        np.testing.assert_allclose(summed.sum(axis=1), 1)
        coarse = [tree.nodes[i] for i in tree.back_off(summed)[0]]
        assert all(node in lineage(leaf, PARENTS) for node, leaf in zip(coarse, finest, strict=True))
    for min_confidence in (0.5, 0.7, 0.9):
        backed_off = [full.nodes[i] if i >= 0 else None for i in full.back_off(table, min_confidence)[0]]
        assert all(x is None or x in lineage(leaf, PARENTS) for x, leaf in zip(backed_off, finest, strict=True))


def test_a_label_with_children_competes_with_them():
    tree = LabelTree(["T", "CD4", "B"], {"CD4": "T"})
    predicted, confidence = tree.back_off(np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]]))
    assert [tree.nodes[i] for i in predicted] == ["T", "CD4"]
    np.testing.assert_allclose(confidence, [0.8, 0.6])


def test_without_a_hierarchy_the_most_probable_label_is_predicted():
    table = probabilities(100)
    predicted, confidence = LabelTree(LEAVES, {}).back_off(table)
    np.testing.assert_array_equal(predicted, table.argmax(axis=1))
    np.testing.assert_array_equal(confidence, table.max(axis=1))


def test_a_hierarchy_needs_labels(reference):
    with pytest.raises(ValueError, match="needs labels"):
        hrca.HRCA.setup_anndata(reference, labels_hierarchy=Path("cl.obo"))


def test_aggregate_sums_labels_to_all_nodes():
    tree = LabelTree(["T", "CD4", "B"], {"CD4": "T", "T": "lymphoid", "B": "lymphoid"})
    np.testing.assert_allclose(tree.aggregate(np.array([[0.5, 0.3, 0.2]])), [[0.8, 0.3, 0.2, 1.0]])
    assert tree.nodes == ["T", "CD4", "B", "lymphoid"]
    assert tree.n_levels == 3


def test_a_label_above_the_level_stays():
    tree, summed = LabelTree(LEAVES, PARENTS).at_level(np.array([[0.1, 0.2, 0.3, 0.1, 0.3]]), 2)
    assert tree.labels == ["CD4", "CD8", "B", "Mono"]
    np.testing.assert_allclose(summed, [[0.3, 0.3, 0.1, 0.3]])


def test_no_hierarchy_has_no_parents():
    assert read_hierarchy(None, obs("a"), "cell_type", "Unknown") is None


def test_back_off_of_no_cells():
    predicted, confidence = LabelTree(LEAVES, PARENTS).back_off(np.zeros((0, 5)), 0.5)
    assert predicted.shape == confidence.shape == (0,)
