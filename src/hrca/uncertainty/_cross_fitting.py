"""Cross-fitting: fold models, each trained without one part of the reference, score that part."""

import logging
import numbers
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hrca.data._reference_cells import ReferenceCells
from hrca.module._module import HRCAModule
from hrca.train._checkpoints import check_unused, newest_checkpoint
from hrca.train._config import PhaseName
from hrca.train._random_states import get_random_states, set_random_states
from hrca.train._splitting import Split

from ._held_out import HeldOutScores, score_held_out

logger = logging.getLogger(__name__)

# Maximum number of cells that the fold models score, before rounding up in each fold. A label with a twentieth of the
# cells keeps 500. Not tuned.
MAX_SCORED_CELLS = 10_000


@dataclass(frozen=True)
class Fold:
    """One fold of a cross-fitting.

    Attributes
    ----------
    title
        Name of the fold, e.g. "fold 1/5".
    split
        Split of the fold model: that of the model without the cells of the fold.
    folder
        Folder for the checkpoints of the fold model; None: none are written.
    """

    title: str
    split: Split
    folder: Path | None


def check_n_folds(n_folds: int, n_labelled: int | None = None) -> None:
    """Raise an error if cells cannot be divided into a number of folds.

    Parameters
    ----------
    n_folds
        Number of folds.
    n_labelled
        Number of labelled cells; None: not known yet.

    Raises
    ------
    ValueError
        If `n_folds` is not a whole number from 2 to `n_labelled`.
    """
    is_whole = isinstance(n_folds, numbers.Integral) and not isinstance(n_folds, bool)
    if not is_whole or n_folds < 2 or (n_labelled is not None and n_folds > n_labelled):
        largest = "" if n_labelled is None else f", {n_labelled}"
        raise ValueError(
            f"`n_folds` must be a whole number from 2 to the number of labelled cells{largest}, got {n_folds!r}. "
            "5 is usual; None holds out a fraction of the cells instead."
        )


def check_folds(
    n_folds: int,
    n_labelled: int,
    trained_phases: Collection[str],
    *,
    first_phase: PhaseName,
    folder: Path | None,
    resume: bool,
) -> None:
    """Check before any training that cross-fitting is possible.

    Parameters
    ----------
    n_folds
        Number of folds.
    n_labelled
        Number of labelled cells.
    trained_phases
        Phases that the model was trained in before.
    first_phase
        The first phase of the fold models: "pretrain" or "finetune".
    folder
        The `checkpoint_dir` of the model; None: no checkpoints.
    resume
        If True, the training continues from the checkpoints in `folder`.

    Raises
    ------
    ValueError
        If `n_folds` is not a whole number from 2 to `n_labelled`; the model was trained before, in a phase of the fold
        models; or the folder has checkpoints that the training does not continue, or of a training without these folds.
    """
    check_n_folds(n_folds, n_labelled)
    checkpoint = newest_checkpoint(folder) if resume and folder is not None else None
    if folder is not None and checkpoint is not None and checkpoint["phase"] in (first_phase, "finetune"):
        # the fold models were trained before this phase began
        _check_complete([_fold_folder(folder, fold) for fold in range(n_folds)], folder)
        return
    _check_untrained(trained_phases, first_phase)
    if folder is not None and not resume:
        for used in (folder, *(_fold_folder(folder, fold) for fold in range(n_folds))):
            check_unused(used, first_phase)


def check_no_folds(folder: Path | None, resume: bool) -> None:
    """Check that a training that was started with folds is not continued without them.

    Parameters
    ----------
    folder
        The `checkpoint_dir` of the model; None: no checkpoints.
    resume
        If True, the training continues from the checkpoints in `folder`.

    Raises
    ------
    ValueError
        If the folder has checkpoints of folds.
    """
    if resume and folder is not None and newest_checkpoint(_fold_folder(folder, 0)) is not None:
        raise ValueError(
            f"The training in {folder} was started with `n_folds`, and can only continue with the same number: give "
            "it, or another `checkpoint_dir`."
        )


def cross_fit(
    reference: ReferenceCells,
    split: Split,
    n_folds: int,
    fit_fold: Callable[[Fold], HRCAModule],
    *,
    seed: int,
    folder: Path | None,
    keep_validation: bool,
) -> list[HeldOutScores]:
    """Train a fold model for each fold, without its cells, and score these cells with it.

    Parameters
    ----------
    reference
        Counts and label codes of the reference.
    split
        Split of the model.
    n_folds
        Number of folds.
    fit_fold
        Trains a new fold model and returns its module.
    seed
        Seed of the draw of folds.
    folder
        The `checkpoint_dir` of the model, in which each fold model has a folder; None: no checkpoints.
    keep_validation
        If True, validation cells choose the epoch whose weights a fold model keeps; they belong to other folds.

    Returns
    -------
    Scores of the cells of each fold, except cells whose label the fold model has not seen.

    Raises
    ------
    ValueError
        If a checkpoint belongs to other folds; and as :meth:`hrca.HRCA.finetune`.
    """
    codes, labelled = reference.codes, reference.labelled
    # each fold model, and the model after them, draws the random numbers of a training without folds
    random_states, fold_scores = get_random_states(), []
    for i, positions in enumerate(stratified_folds(codes[labelled], n_folds, seed)):
        set_random_states(random_states)
        cells = labelled[positions]
        fold = Fold(
            title=f"fold {i + 1}/{n_folds}",
            split=split.drop_cells(cells, keep_validation=keep_validation),
            folder=None if folder is None else _fold_folder(folder, i),
        )
        logger.debug("Training a fold model: %s.", fold.title)
        train = np.setdiff1d(labelled, cells)
        _check_same_cells(fold.folder, train, labelled)
        module = fit_fold(fold)
        # a label that the fold model has never seen would always be wrong
        scored = cells[np.isin(codes[cells], codes[train])][: -(-MAX_SCORED_CELLS // n_folds)]
        fold_scores.append(score_held_out(module, reference, train, np.sort(scored)))
    set_random_states(random_states)
    return fold_scores


def stratified_folds(codes: np.ndarray, n_folds: int, seed: int) -> list[np.ndarray]:
    """Divide cells into folds, with the cells of each label as evenly as possible.

    scikit-learn's StratifiedKFold rejects labels with fewer cells than folds, and gives the cells of a fold in order.

    Parameters
    ----------
    codes
        Label code of each cell, shape (n_obs,).
    n_folds
        Number of folds.
    seed
        Seed of the draw.

    Returns
    -------
    Indices of the cells of each fold, in random order.

    Examples
    --------
    >>> codes = np.array([7, 7, 9, 9])
    >>> [sorted(codes[fold].tolist()) for fold in stratified_folds(codes, n_folds=2, seed=0)]
    [[7, 9], [7, 9]]
    """
    rng = np.random.default_rng(seed)
    by_label = np.lexsort((rng.random(len(codes)), codes))
    return [rng.permutation(by_label[fold::n_folds]) for fold in range(n_folds)]


def _fold_folder(folder: Path, fold: int) -> Path:
    return folder / f"fold-{fold + 1}"


def _check_complete(fold_folders: list[Path], folder: Path) -> None:
    for fold_folder in fold_folders:
        checkpoint = newest_checkpoint(fold_folder)
        if checkpoint is None or checkpoint["phase"] != "finetune" or not checkpoint["complete"]:
            raise ValueError(
                f"The training in {folder} was not started with `n_folds={len(fold_folders)}`, or the checkpoints of "
                f"its fold models are gone: {fold_folder.name} is not complete. Give the `n_folds` that it was started "
                "with, or another `checkpoint_dir`."
            )


def _check_untrained(trained_phases: Collection[str], first_phase: PhaseName) -> None:
    if "finetune" in trained_phases:
        raise ValueError(
            "`n_folds` needs a model that was not trained on these labels before: a fold model would know the labels "
            "of the cells that it scores. Make a new model, or leave `n_folds` out."
        )
    if first_phase in trained_phases:
        raise ValueError(
            "`train(n_folds=)` pre-trains each fold model without the cells that it scores, but this model was "
            "pre-trained on all of them before. Make a new model, or continue with "
            "`train(pretrain_epochs=0, n_folds=)` or `finetune(n_folds=)`, whose fold models share its Gene-AE."
        )


def _check_same_cells(folder: Path | None, train: np.ndarray, labelled: np.ndarray) -> None:
    checkpoint = None if folder is None else newest_checkpoint(folder)
    if checkpoint is None:
        return
    split = checkpoint["model_state"]["split"]
    cells = np.concatenate([split["train"], split["validation"]])
    if not np.array_equal(np.intersect1d(cells, labelled), train):
        raise ValueError(
            f"The checkpoints in {folder} are of other folds. Give the `n_folds` and the seed (`scvi.settings.seed`) "
            "that they were trained with, or another `checkpoint_dir`."
        )
