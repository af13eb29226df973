"""The table of labels that could be missing unnoticed, and its sentence."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from hrca.annotation._left_out_labels import left_out_sentence, left_out_table

LABELS = ["B", "CD4 T", "CD8 T", "NK", "Mono", "pDC"]


def test_the_commonest_label_is_first_and_labels_of_few_cells_are_not_in_the_table():
    novel_probability = np.array([0.9, 0.1, 0.2, 0.3, np.nan, 0.1])
    table = left_out_table(novel_probability, np.array([10, 500, 60, 60, 70, 9]), LABELS)
    pd.testing.assert_frame_equal(
        pd.DataFrame(table),
        pd.DataFrame(
            {
                "label": ["CD4 T", "CD8 T", "NK", "B"],
                "n_cells": [500, 60, 60, 10],
                "novel_probability": [0.1, 0.2, 0.3, 0.9],
            }
        ),
        check_dtype=False,
    )


def test_the_sentence_names_the_three_commonest_and_the_number_of_the_others():
    table = left_out_table(np.array([0.9, 0.1, 0.2, 0.3, 0.4, np.nan]), np.array([10, 500, 60, 50, 40, 0]), LABELS)
    sentence = left_out_sentence(table)
    assert "For 5 labels of this query" in sentence
    assert "It would not for 'CD4 T', 'CD8 T', 'NK' and 1 more: the cells" in sentence
    assert "It would for 1 other label. `left" in sentence


def test_nothing_is_said_where_each_label_would_be_noticed():
    n_known = np.arange(11, 17)
    assert left_out_sentence(left_out_table(np.full(6, 0.5), n_known, LABELS)) is None
    assert left_out_sentence(left_out_table(np.full(6, np.nan), n_known, LABELS)) is None


def test_few_labels_are_all_named():
    table = left_out_table(np.array([0.4, 0.4, 0.5]), np.array([90, 80, 70]), LABELS)
    assert "It would not for 'B', 'CD4 T': the cells" in left_out_sentence(table)


def test_the_sentence_has_no_number_0():
    table = left_out_table(np.array([0.4, 0.4]), np.array([90, 80]), LABELS)
    sentence = left_out_sentence(table)
    assert "with a low novel probability. `left_out_labels` in" in sentence
    one = left_out_sentence(left_out_table(np.array([0.4]), np.array([90]), LABELS))
    assert "For 1 label of this query" in one


def test_the_page_on_results_quotes_the_sentence():
    page = (Path(__file__).parents[2] / "docs" / "guides" / "reading_results.md").read_text()
    quoted = re.search(r'The line in the log that begins with "([^"]+)"', page)[1]
    assert left_out_sentence(left_out_table(np.array([0.4]), np.array([90]), LABELS)).startswith(
        " ".join(quoted.split())
    )
