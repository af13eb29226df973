"""The course of a training."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from hrca._docs import docs

from ._axes import LEGEND_FONT_SIZE, finish, new_panels

PHASES = {"pretrain": "Pre-training", "finetune": "Fine-tuning", "adapt": "Adaptation"}
METRICS = ("loss", "accuracy")

# Inches.
PANEL_WIDTH, PANEL_HEIGHT = 3.6, 3.0


@docs.dedent
def training(
    history: Mapping[str, pd.DataFrame],
    metric: str | Sequence[str] | None = None,
    *,
    ax: Axes | None = None,
    show: bool = False,
    save: str | Path | None = None,
) -> Axes | list[Axes]:
    """Plot loss and accuracy by epoch, of the training cells and of the validation cells.

    A loss of the validation cells that rises while that of the training cells falls indicates overfitting. Training
    cells are made sparser and validation cells are not, so that their levels differ.

    Parameters
    ----------
    history
        The ``history`` of a trained model: tables with one row for each epoch.
    metric
        Phase and number, such as "finetune_accuracy", or a list of these with a panel each. None: the losses of all
        phases, and the accuracies.
    ax
        Axes to draw on. If None, axes of a new pyplot figure.
    %(plot_show)s
    %(plot_save)s

    Returns
    -------
    The axes; a list of them for several panels.

    Raises
    ------
    ValueError
        If the history has no such number, or `ax` is given for several panels.

    Examples
    --------
    >>> import hrca
    >>> import pandas as pd
    >>> losses = pd.DataFrame({"pretrain_train_loss": [2.0, 1.0]})
    >>> hrca.pl.training({"pretrain_train_loss": losses}).get_title()
    'Pre-training: loss'
    """
    found = [f"{phase}_{name}" for phase in PHASES for name in METRICS if _curves(history, f"{phase}_{name}")]
    metrics = found if metric is None else [metric] if isinstance(metric, str) else list(metric)
    missing = [name for name in metrics if not _curves(history, name)]
    if missing or not metrics:
        raise ValueError(
            f"`metric` must name numbers of the history, got {missing or metrics}; it has {found}. `model.train()` "
            "fills `model.history`."
        )
    if ax is not None and len(metrics) > 1:
        raise ValueError(f"`ax` can hold one panel, but {len(metrics)} were asked for; `metric=` chooses one.")
    axes = [ax] if ax is not None else new_panels(len(metrics), PANEL_WIDTH, PANEL_HEIGHT)
    for one, name in zip(axes, metrics, strict=True):
        for label, values in _curves(history, name).items():
            # an epoch is a step of 1: the first has ended at 1
            one.plot(values.index + 1, values, label=label, marker="o" if len(values) == 1 else None)
        phase, _, number = name.partition("_")
        one.set(xlabel="Epoch", ylabel=number.replace("_", " ").capitalize())
        one.set_title(f"{PHASES.get(phase, phase)}: {number.replace('_', ' ')}", fontsize="medium")
        one.spines[["top", "right"]].set_visible(False)
        one.legend(fontsize=LEGEND_FONT_SIZE, frameon=False)
    finish(axes, show=show, save=save)
    return axes[0] if len(axes) == 1 else axes


def _curves(history: Mapping[str, pd.DataFrame], name: str) -> dict[str, pd.Series]:
    """Return the curves of training and validation cells, those that the history has."""
    phase, _, number = name.partition("_")
    keys = {"Training cells": f"{phase}_train_{number}", "Validation cells": f"{phase}_validation_{number}"}
    return {
        label: history[key].iloc[:, 0].astype(float).dropna().reset_index(drop=True)
        for label, key in keys.items()
        if history and key in history
    }
