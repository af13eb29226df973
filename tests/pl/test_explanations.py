"""The plot of explanations shows the contributions."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from hrca.pl import explain


def contributions() -> pd.DataFrame:
    """A cell and a group; of the cell, one gene speaks for the label in both branches, one against it in one."""
    cell = {"cells": "cell1", "n_cells": 1, "label": "B", "against": "T", "flips": False}
    rows = [
        ("MS4A1", "counts", 3.0, 2.0, True),
        ("MS4A1", "network", 3.0, 1.0, True),
        ("CD3E", "counts", 1.0, -1.5, False),
        ("CD3E", "network", 1.0, 0.5, False),
        ("ACTB", "counts", 9.0, 0.1, False),
        ("ACTB", "network", 9.0, 0.2, False),
        ("(other genes)", "counts", 40.0, -0.25, False),
        ("(no expression)", "network", np.nan, 0.75, False),
    ]
    columns = ["gene", "branch", "count", "contribution", "flips"]
    table = pd.DataFrame([cell | dict(zip(columns, row, strict=True)) for row in rows])
    return pd.concat([table, table.assign(cells="B cells", n_cells=50)], ignore_index=True)


def bars_of(ax) -> dict[str, float]:
    """The sum of the widths at each bar's name."""
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    widths = dict.fromkeys(names, 0.0)
    for bar in ax.patches:
        widths[names[round(bar.get_y() + bar.get_height() / 2)]] += bar.get_width()
    return widths


def test_explain_draws_the_contributions():
    ax = explain(contributions(), "cell1", ax=Figure().subplots())
    widths = {"MS4A1 * (3)": 3, "ACTB (9)": 0.3, "CD3E (1)": -1, "(other genes)": -0.25, "(no expression)": 0.75}
    assert bars_of(ax) == pytest.approx(widths)
    # the first gene is at the top
    assert ax.yaxis_inverted()
    assert list(bars_of(ax))[0] == "MS4A1 * (3)"
    assert ax.get_title() == "cell1: B, against T"
    assert "sum of all rows: +2.8" in ax.get_xlabel()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["Count likelihood", "Networks"]
    assert ax.get_legend().get_title().get_text() == "* Deleting these\nchanges the label"


def test_names_with_dollars_are_drawn_as_they_are(tmp_path):
    table = contributions().replace({"B": "$x_ B$", "T": "T $ and $ y^", "MS4A1": "$MS_4A1$", "cell1": "$cell^$"})
    ax = explain(table, "$cell^$", ax=Figure().subplots(), save=tmp_path / "names.png")
    assert ax.get_title().replace("\\$", "$") == "$cell^$: $x_ B$, against T $ and $ y^"
    assert (tmp_path / "names.png").is_file()


def test_explain_stacks_the_branches_without_overlap():
    ax = explain(contributions(), "cell1", ax=Figure().subplots())
    row = [bar for bar in ax.patches if round(bar.get_y() + bar.get_height() / 2) == 0 and bar.get_width()]
    assert sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in row) == [(0, 2), (2, 3)]


def test_genes_that_are_not_shown_are_in_one_bar():
    ax = explain(contributions(), "cell1", n_genes=1, ax=Figure().subplots())
    assert bars_of(ax) == pytest.approx({"MS4A1 * (3)": 3, "(other genes)": -0.95, "(no expression)": 0.75})


def test_explain_of_a_group_says_how_many_cells():
    ax = explain(contributions(), "B cells", ax=Figure().subplots())
    assert ax.get_title() == "B cells, mean of 50 cells: B, against T"


def test_explain_makes_a_figure_that_is_tall_enough():
    many = pd.DataFrame({"gene": [f"g{i}" for i in range(60)], "contribution": np.arange(60.0), "count": 1.0})
    ax = explain(many.assign(cells="c", n_cells=1, label="B", against="T", branch="counts", flips=False), n_genes=60)
    assert ax.figure.get_figheight() > 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"must have one cell or group, got 2. `cells=` names .*'cell1', 'B cells'"),
        ({"cells": "cell2"}, "`cells` must be in the table, got 'cell2'"),
        ({"cells": "cell1", "n_genes": 0}, "`n_genes` must be at least 1, got 0"),
    ],
)
def test_explain_of_wrong_arguments_raises(options, message):
    with pytest.raises(ValueError, match=message):
        explain(contributions(), **options)


def test_explain_of_other_tables_raises():
    with pytest.raises(ValueError, match=r"result of `model.explain`, but it lacks the columns \['against', 'branch'"):
        explain(pd.DataFrame({"gene": ["A"]}))


def test_explain_of_an_empty_table_raises():
    with pytest.raises(ValueError, match="must have one cell or group, got 0"):
        explain(contributions().iloc[:0])
