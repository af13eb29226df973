"""Number of epochs and schedule of the learning rate."""

import logging
import numbers

from scvi.model._utils import get_max_epochs_heuristic

from ._config import PhaseConfig
from ._trainingplans import FinetunePlan, PretrainPlan

logger = logging.getLogger(__name__)

# A training for which no epochs are named has at least these, so that every cell of a large reference is seen often.
MIN_EPOCHS = 10


def default_epochs(plan_cls: type[PretrainPlan] | type[FinetunePlan], n_obs: int, batch_size: int) -> int:
    """Return the epochs of a training for which none are named: minutes for a laptop size, on any number of cells.

    Parameters
    ----------
    plan_cls
        The phase's plan, which has the Document's number of epochs and the steps that suffice.
    n_obs
        Number of cells.
    batch_size
        Cells in a batch.

    Returns
    -------
    As many as make the plan's number of optimiser steps, at least 10, at most the Document's number.
    """
    epochs = round(plan_cls.default_steps * batch_size / n_obs)
    return min(max(epochs, MIN_EPOCHS), plan_cls.document_epochs)


def check_epochs(**epochs: int | None) -> None:
    """Refuse what is no number of epochs, such as cells in its place.

    Raises
    ------
    TypeError
        If one is neither a whole number nor None.
    """
    for name, n_epochs in epochs.items():
        if n_epochs is not None and not isinstance(n_epochs, numbers.Integral):
            raise TypeError(
                f"`{name}` must be a whole number or None, got "
                f"{n_epochs if isinstance(n_epochs, (str, numbers.Number)) else type(n_epochs).__name__}. Cells of a "
                "query are given by name: `train(query=adata)`."
            )


def scaled_schedule(plan_cls: type[PretrainPlan] | type[FinetunePlan], max_epochs: int) -> dict[str, int]:
    """Scale the Document's schedule of the learning rate to a number of epochs.

    Parameters
    ----------
    plan_cls
        The phase's plan, which has the Document's numbers.
    max_epochs
        Number of epochs.

    Returns
    -------
    ``lr_hold_epochs`` and ``lr_patience``; the Document's at the Document's number of epochs.
    """
    share = max_epochs / plan_cls.document_epochs
    return {
        "lr_hold_epochs": round(share * plan_cls.document_hold_epochs),
        "lr_patience": max(1, round(share * plan_cls.document_patience)),
    }


def _choose_epochs(phase: PhaseConfig, n_obs: int) -> int:
    if phase.max_epochs is not None:
        # torch's schedules refuse numpy's integers
        return int(phase.max_epochs)
    max_epochs = scaled_epochs(phase.plan_cls.document_epochs, max(n_obs, 1))
    why = "the Training Document's number"
    if max_epochs < phase.plan_cls.document_epochs:
        why += f", {phase.plan_cls.document_epochs}, scaled down by scvi-tools' rule for {n_obs} cells"
    logger.info("%s: %d epochs, %s.", phase.name, max_epochs, why)
    return max_epochs


def scaled_epochs(document_epochs: int, n_obs: int) -> int:
    """Return the Document's number of epochs, or fewer for many cells, by scvi's rule: 20,000 cells see all of them."""
    return get_max_epochs_heuristic(n_obs, epochs_cap=document_epochs)
