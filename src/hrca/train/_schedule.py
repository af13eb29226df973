"""Number of epochs, and the schedule of the learning rate."""

import logging
import numbers

from scvi.model._utils import get_max_epochs_heuristic

from ._trainingplans import SpecifiedPlan

logger = logging.getLogger(__name__)

# Minimum default number of epochs. Once in an epoch the validation cells are scored, and a plateau can lower the
# learning rate. An epoch of a large reference draws a part of its cells.
MIN_EPOCHS = 10
# Default maximum number of cells of a label that fine-tuning uses: ten times the 200 with which labels of blood cells
# were as accurate as with all cells (benchmarks/results/cost/cells_per_label.csv).
MAX_CELLS_PER_LABEL = 2000


def check_epochs(name: str, n_epochs: int | None, minimum: int = 1) -> None:
    """Check that a number of epochs is None or a whole number.

    Parameters
    ----------
    name
        Name of the argument.
    n_epochs
        Its value.
    minimum
        The smallest valid number.

    Raises
    ------
    TypeError
        If the value is neither a whole number nor None, such as an AnnData.
    ValueError
        If it is below `minimum`.
    """
    if n_epochs is not None and not isinstance(n_epochs, numbers.Integral):
        shown = repr(n_epochs) if isinstance(n_epochs, (str, numbers.Number)) else type(n_epochs).__name__
        raise TypeError(
            f"`{name}` must be a whole number or None, got {shown}. Cells of a query are given by name: "
            "`train(query=adata)`."
        )
    if n_epochs is not None and n_epochs < minimum:
        raise ValueError(f"`{name}` must be at least {minimum}, got {n_epochs}.")


def default_epochs(plan_cls: type[SpecifiedPlan], n_obs: int, batch_size: int) -> int:
    """Return the default number of epochs of :meth:`hrca.HRCA.train`, which makes a fixed number of optimiser steps.

    A training of laptop size then takes minutes, for any number of cells: see :func:`default_max_cells_per_epoch`.

    Parameters
    ----------
    plan_cls
        The plan of the phase, with the number of epochs of the specification and a sufficient number of steps.
    n_obs
        Number of cells.
    batch_size
        Number of cells in a batch.

    Returns
    -------
    The number of epochs that make the plan's number of optimiser steps; at least 10, at most that of the specification.
    """
    epochs = round(plan_cls.default_steps * batch_size / max(n_obs, 1))
    return min(max(epochs, MIN_EPOCHS), plan_cls.specified_epochs)


def default_max_cells_per_epoch(plan_cls: type[SpecifiedPlan], batch_size: int) -> int:
    """Return the number of cells with which the smallest default number of epochs makes the plan's number of steps.

    Parameters
    ----------
    plan_cls
        The plan of the phase.
    batch_size
        Number of cells in a batch.
    """
    return max(plan_cls.default_steps * batch_size // MIN_EPOCHS, 1)


def specified_epochs(plan_cls: type[SpecifiedPlan], phase: str, n_obs: int) -> int:
    """Return the number of epochs of the specification, or fewer for more than 20,000 cells by scvi-tools' rule.

    Parameters
    ----------
    plan_cls
        The plan of the phase.
    phase
        Name of the phase, for the log.
    n_obs
        Number of cells.
    """
    max_epochs = get_max_epochs_heuristic(n_obs, epochs_cap=plan_cls.specified_epochs)
    reason = "the number of the specification"
    if max_epochs < plan_cls.specified_epochs:
        reason += f", {plan_cls.specified_epochs}, scaled down by scvi-tools' rule for {n_obs:,} cells"
    logger.debug("%s: %d epochs, %s.", phase, max_epochs, reason)
    return max_epochs


def scaled_schedule(plan_cls: type[SpecifiedPlan], max_epochs: int) -> dict[str, int]:
    """Scale the learning-rate schedule of the specification to a number of epochs.

    Parameters
    ----------
    plan_cls
        The plan of the phase, with the numbers of the specification.
    max_epochs
        Number of epochs.

    Returns
    -------
    ``lr_hold_epochs`` and ``lr_patience``; those of the specification at its number of epochs.
    """
    fraction = max_epochs / plan_cls.specified_epochs
    return {
        "lr_hold_epochs": round(fraction * plan_cls.specified_hold_epochs),
        "lr_patience": max(1, round(fraction * plan_cls.specified_patience)),
    }
