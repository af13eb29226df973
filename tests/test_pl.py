"""The confusion matrix shows the shares that it says."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from hrca.pl import confusion


def test_confusion_draws_the_shares_of_each_label():
    labels = ["B"] * 4 + ["T"] * 2
    ax = confusion(labels, ["B", "B", "B", "T", "T", "Unknown"])
    drawn = ax.collections[0].get_array().reshape(2, 3)
    np.testing.assert_allclose(drawn, [[0.75, 0.25, 0], [0, 0.5, 0.5]])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["B", "T", "Unknown"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["B (4)", "T (2)"]
    assert [text.get_text() for text in ax.texts] == ["0.75", "0.25", "", "", "0.50", "0.50"]


def test_confusion_draws_on_given_axes():
    ax = Figure().subplots()
    assert confusion(["B"], ["B"], ax=ax) is ax


def test_confusion_is_what_pyplot_shows():
    import matplotlib.pyplot as plt

    ax = confusion(["B", "T"], ["B", "T"])
    assert plt.gcf() is ax.figure
    plt.close(ax.figure)


def test_confusion_refuses_nothing():
    with pytest.raises(ValueError, match="at least one"):
        confusion([], [])
