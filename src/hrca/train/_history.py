"""The training history, as data frames and as plain lists."""

from collections.abc import Mapping

import pandas as pd

History = dict[str, pd.DataFrame]
PlainHistory = dict[str, list[float]]


def plain_history(history: Mapping[str, pd.DataFrame] | None) -> PlainHistory:
    """Turn frames into lists: pandas 2 cannot read a frame that pandas 3 has pickled."""
    return {name: frame.iloc[:, 0].tolist() for name, frame in (history or {}).items()}


def framed_history(history: Mapping[str, list[float]]) -> History:
    """Turn the lists of :func:`plain_history` into frames again."""
    return {
        name: pd.DataFrame({name: values}, index=pd.RangeIndex(len(values), name="epoch"))
        for name, values in history.items()
    }


def extended_history(earlier: PlainHistory, phase: str, epochs: Mapping[str, list[float]]) -> PlainHistory:
    """Append the numbers of a phase to a history, under the name of the phase.

    Parameters
    ----------
    earlier
        The history before the phase.
    phase
        "pretrain", "finetune" or "adapt".
    epochs
        Name of a number -> its value in each epoch of the phase.

    Examples
    --------
    >>> extended_history({"pretrain_loss": [3.0]}, "pretrain", {"loss": [2.0]})
    {'pretrain_loss': [3.0, 2.0]}
    """
    added = {f"{phase}_{name}": values for name, values in epochs.items()}
    return {**earlier, **{name: earlier.get(name, []) + values for name, values in added.items()}}
