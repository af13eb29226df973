"""The table of labels that could be missing unnoticed, and its sentence."""

import numpy as np
import pandas as pd

from hrca.annotation._left_out_labels import left_out_sentence, left_out_table

LABELS = ["B", "CD4 T", "CD8 T", "NK", "Mono", "pDC"]


def test_the_commonest_label_is_first_and_labels_without_cells_are_left_out():
    novelty = np.array([0.9, 0.1, 0.2, 0.3, 0.8, np.nan])
    table = left_out_table(novelty, np.array([10, 500, 60, 60, 70, 0]), LABELS)
    pd.testing.assert_frame_equal(
        pd.DataFrame(table),
        pd.DataFrame(
            {
                "label": ["CD4 T", "Mono", "CD8 T", "NK", "B"],
                "n_cells": [500, 70, 60, 60, 10],
                "novel_probability": [0.1, 0.8, 0.2, 0.3, 0.9],
            }
        ),
        check_dtype=False,
    )


def test_the_sentence_names_the_three_commonest_and_the_number_of_the_others():
    table = left_out_table(np.array([0.9, 0.1, 0.2, 0.3, 0.4, np.nan]), np.array([10, 500, 60, 50, 40, 0]), LABELS)
    assert "Had it lacked 'CD4 T', 'CD8 T', 'NK' or 1 more of the 5 labels in this query," in left_out_sentence(table)


def test_nothing_is_said_where_each_label_would_be_noticed():
    n_by_label = np.arange(6)
    assert left_out_sentence(left_out_table(np.full(6, 0.5), n_by_label, LABELS)) is None
    assert left_out_sentence(left_out_table(np.full(6, np.nan), n_by_label, LABELS)) is None


def test_few_labels_are_all_named():
    table = left_out_table(np.array([0.4, 0.4, 0.5]), np.array([9, 8, 7]), LABELS)
    assert "Had it lacked 'B' or 'CD4 T' of the 3 labels" in left_out_sentence(table)
    table = left_out_table(np.array([0.4, 0.6, 0.5]), np.array([9, 8, 7]), LABELS)
    assert "Had it lacked 'B' of the 3 labels" in left_out_sentence(table)
