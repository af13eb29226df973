"""Cells and groups that are explained, and their labels."""

import numpy as np
import pandas as pd
import pytest

from hrca.explain._label_scores import LabelScores
from hrca.explain._units import Units, check_labels, choose_rows, make_units

LABELS = ["a", "b", "c"]


def scores(total: list[list[float]]) -> LabelScores:
    network = np.array(total)
    return LabelScores(network, np.zeros_like(network), np.zeros_like(network), np.ones(len(network), dtype=bool))


def test_a_cell_is_compared_with_its_runner_up():
    units = make_units(
        scores([[3, 1, 2], [0, 5, -1]]), np.array(["x", "y"]), LABELS, label=None, against=None, grouped=False
    )
    assert list(units.names) == ["x", "y"]
    assert [LABELS[code] for code in units.codes] == ["a", "b"]
    assert [LABELS[code] for code in units.against] == ["c", "a"]


def test_cells_of_the_same_name_stay_apart_and_groups_do_not():
    both = scores([[3, 1, 2], [0, 5, -1]]), np.array(["x", "x"]), LABELS
    assert len(make_units(*both, label=None, against=None, grouped=False).names) == 2
    assert len(make_units(*both, label=None, against=None, grouped=True).names) == 1


def test_a_group_has_the_label_of_most_cells_and_the_next_on_average():
    total = [[1, 0, -9], [1, 0, -9], [-50, 9, 8], [0, 0, 7]]
    units = make_units(scores(total), np.array(["g", "g", "g", "h"]), LABELS, label=None, against=None, grouped=True)
    assert list(units.n_cells) == [3, 1]
    assert [LABELS[code] for code in units.codes] == ["a", "c"]
    # means of the first group: -16, 3, -3.3
    assert [LABELS[code] for code in units.against] == ["b", "a"]


def test_named_labels_hold_for_all():
    units = make_units(
        scores([[3, 1, 2], [0, 5, -1]]), np.array(["x", "y"]), LABELS, label="c", against="a", grouped=False
    )
    assert list(units.codes) == [2, 2]
    assert list(units.against) == [0, 0]


def test_a_label_is_not_compared_with_itself():
    with pytest.raises(ValueError, match="'b' is the most likely label of y"):
        make_units(
            scores([[3, 1, 2], [0, 5, -1]]), np.array(["x", "y"]), LABELS, label=None, against="b", grouped=False
        )


@pytest.mark.parametrize(
    ("labels", "given", "message"),
    [
        (LABELS, {"label": "d", "against": None}, "`label` must be one of the model's 3 labels, got 'd'"),
        (LABELS, {"label": None, "against": "T"}, "`against` must be one of"),
        (LABELS, {"label": "a", "against": "a"}, "different labels, got 'a' for both"),
        (["a"], {}, r"compares two labels, but the model has only \['a'\]"),
    ],
)
def test_wrong_labels_raise(labels, given, message):
    with pytest.raises(ValueError, match=message):
        check_labels(labels, given)


def test_some_cells_of_each_group_are_chosen_by_their_names():
    names = np.array([f"cell{i}" for i in range(50)])
    groups = pd.Series(np.where(np.arange(50) % 5 == 0, "small", "large"), dtype=object)
    groups[7] = None
    rows = choose_rows(groups, np.arange(50), names, 12)
    assert (groups[rows] == ["large"] * 12 + ["small"] * 10).all()
    order = np.random.default_rng(0).permutation(50)
    shuffled = choose_rows(groups[order].reset_index(drop=True), np.arange(50), names[order], 12)
    assert set(names[order][shuffled]) == set(names[rows])
    assert set(choose_rows(groups, np.array([5, 6, 7]), names, 12)) == {5, 6}


def test_blocks_cover_all_cells_and_cut_no_unit():
    unit = np.repeat(np.arange(5), [3, 1, 9, 2, 2])
    units = Units(np.array(list("abcde")), unit, np.arange(5), np.arange(5)[::-1])
    blocks = list(units.blocks(4))
    assert ["".join(block.names) for _, block in blocks] == ["ab", "c", "de"]
    assert [(cells.start, cells.stop) for cells, _ in blocks] == [(0, 4), (4, 13), (13, 17)]
    assert [list(block.unit) for _, block in blocks][2] == [0, 0, 1, 1]
    assert list(blocks[2][1].codes) == [3, 4]


def test_means_are_over_the_cells_of_a_unit():
    units = Units(np.array(["a", "b"]), np.array([0, 0, 1]), np.zeros(2), np.zeros(2))
    np.testing.assert_allclose(units.mean(np.array([[1.0, 2], [3, 4], [5, 6]])), [[2, 3], [5, 6]])
    np.testing.assert_allclose(units.mean(np.array([1.0, 3, 5])), [2, 5])
