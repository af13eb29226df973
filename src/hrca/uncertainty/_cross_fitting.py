"""Cross-fitting: copies that are each trained without a part of the reference, so that all of it can be held out."""

import copy
import logging
import numbers
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scvi import REGISTRY_KEYS, settings
from scvi.model.base import BaseModelClass

from hrca.train._checkpoints import check_unused, newest_checkpoint
from hrca.train._random_states import get_random_states, set_random_states

from ._held_out import HeldOutScores, score_held_out

logger = logging.getLogger(__name__)

# Cells that the copies speak of, at most (but for rounding up in each fold): of a label with a twentieth of the cells,
# this leaves 500. Not tuned.
MAX_SCORED_CELLS = 10_000


def check_folds(
    model: BaseModelClass,
    n_folds: int,
    codes: np.ndarray,
    folder: Path | None,
    resume: bool,
    *,
    before: str = "finetune",
) -> None:
    """Refuse folds that cannot be, before any training.

    Parameters
    ----------
    model
        The model.
    n_folds
        What the user asked for.
    codes
        Index of each cell's label, shape (n_obs,); n_labels for a cell without.
    folder
        The `checkpoint_dir`, or None.
    resume
        Whether its checkpoints are to be gone on with.
    before
        The phase of the model that comes after its copies: "finetune", or "pretrain" where they are pre-trained, too.

    Raises
    ------
    ValueError
        If `n_folds` is no whole number from 2 to the number of labelled cells, the model was trained on labels before
        (or pre-trained, where its copies are to be), or the folder has checkpoints that are not to be gone on with, or
        of a training without these folds.
    """
    n_labelled = int((codes < len(model.labels)).sum())
    is_whole = isinstance(n_folds, numbers.Integral) and not isinstance(n_folds, bool)
    if not is_whole or not 2 <= n_folds <= n_labelled:
        raise ValueError(
            f"`n_folds` must be a whole number from 2 to that of the labelled cells, {n_labelled}, got {n_folds!r}. "
            "5 is usual; None holds out a share of the cells in place of folds."
        )
    state = newest_checkpoint(folder) if resume and folder is not None else None
    if state is not None and state["phase"] in (before, "finetune"):
        # the copies were trained before that began
        for own_folder in (_folder(folder, fold) for fold in range(n_folds)):
            own = newest_checkpoint(own_folder)
            if own is None or own["phase"] != "finetune" or not own["complete"]:
                raise ValueError(
                    f"The training in {folder} was not begun with `n_folds={n_folds}`, or what its copies left is "
                    f"gone: {own_folder.name} is not complete. Give the `n_folds` that it was begun with, or another "
                    "`checkpoint_dir`."
                )
        return
    trained = {name.split("_")[0] for name in model.history_ or {}}
    if "finetune" in trained:
        raise ValueError(
            "`n_folds` needs a model that was not trained on these labels before: what it knows of a cell's label it "
            "would tell of a cell that it is to judge. Make a new model, or leave `n_folds` out."
        )
    if before in trained:
        raise ValueError(
            "`train(n_folds=)` pre-trains each copy without the cells that it is to judge, but this model was "
            "pre-trained on all of them before. Make a new model, or go on with `train(0, n_folds=)` or "
            "`finetune(n_folds=)`, whose copies share its Gene-AE."
        )
    if folder is not None and not resume:
        for used in (folder, *(_folder(folder, fold) for fold in range(n_folds))):
            check_unused(used, before)


def check_no_folds(folder: Path | None, resume: bool) -> None:
    """Refuse to go on without folds where a training was begun with them.

    Parameters
    ----------
    folder
        The `checkpoint_dir`, or None.
    resume
        Whether its checkpoints are to be gone on with.

    Raises
    ------
    ValueError
        If the folder has checkpoints of folds.
    """
    if resume and folder is not None and newest_checkpoint(_folder(folder, 0)) is not None:
        raise ValueError(
            f"The training in {folder} was begun with `n_folds`, and goes on with the same alone: give it, or another "
            "`checkpoint_dir`."
        )


def cross_fit(
    model: BaseModelClass,
    n_folds: int,
    fit_copy: Callable[[BaseModelClass, Path | None], None],
    *,
    codes: np.ndarray,
    folder: Path | None,
    chooses_epoch: bool,
) -> list[HeldOutScores]:
    """Train a copy of the model for each fold, without its cells, and let it speak of them; the model stays as it is.

    Parameters
    ----------
    model
        The model before training, or before fine-tuning, with its split drawn.
    n_folds
        Number of copies.
    fit_copy
        Trains a copy, with checkpoints in this folder.
    codes
        Index of each cell's label, shape (n_obs,); n_labels for a cell without.
    folder
        The model's `checkpoint_dir`; each copy has one of its own in it. None: no checkpoints.
    chooses_epoch
        Whether validation cells choose the epoch whose weights are kept: they are then cells of other folds.

    Returns
    -------
    What each copy says of its fold, but for the only cell of a label.

    Raises
    ------
    ValueError
        If a checkpoint is of other folds; or as fine-tuning does.
    """
    seed = 0 if settings.seed is None else settings.seed
    counts = model.adata_manager.get_from_registry(REGISTRY_KEYS.X_KEY)
    labelled = np.flatnonzero(codes < len(model.labels))
    # each copy, and the model after them, draws as the model would without folds
    random_states, testimonies = get_random_states(), []
    for fold, places in enumerate(stratified_folds(codes[labelled], n_folds, seed)):
        set_random_states(random_states)
        cells, own = labelled[places], copy.copy(model)
        own.fold_ = f"fold {fold + 1}/{n_folds}"
        logger.info("Training a copy: %s.", own.fold_)
        train = np.setdiff1d(labelled, cells)
        own.module = copy.deepcopy(model.module)
        own.split_ = drop_cells(model.split_, cells, chooses_epoch=chooses_epoch)
        own_folder = None if folder is None else _folder(folder, fold)
        _check_same_cells(own_folder, train, labelled)
        fit_copy(own, own_folder)
        # of a label that this copy has never seen, it can only be wrong
        asked = cells[np.isin(codes[cells], codes[train])][: -(-MAX_SCORED_CELLS // n_folds)]
        testimonies.append(score_held_out(own.module, counts, codes, train, np.sort(asked)))
        # it holds the copy; a collection of all garbage here would take a second of each fold
        own.trainer = None
    set_random_states(random_states)
    return testimonies


def stratified_folds(codes: np.ndarray, n_folds: int, seed: int) -> list[np.ndarray]:
    """Share cells out among folds, those of each label as evenly as they go.

    Parameters
    ----------
    codes
        Label of each cell, shape (n_obs,).
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


def drop_cells(split: dict, cells: np.ndarray, *, chooses_epoch: bool) -> dict:
    """Return a split of a reference without some of its cells.

    Parameters
    ----------
    split
        ``train_size``, and the indices of the ``train`` and ``validation`` cells.
    cells
        Indices of those that are left out.
    chooses_epoch
        Whether there is something to choose by validation cells; without, all others train.
    """
    train, validation = (np.setdiff1d(split[name], cells) for name in ("train", "validation"))
    if not chooses_epoch:
        train, validation = np.sort(np.concatenate([train, validation])), np.zeros(0, dtype=int)
    return {"train_size": split["train_size"], "train": train, "validation": validation}


def _folder(folder: Path, fold: int) -> Path:
    return folder / f"fold-{fold + 1}"


def _check_same_cells(folder: Path | None, train: np.ndarray, labelled: np.ndarray) -> None:
    state = None if folder is None else newest_checkpoint(folder)
    if state is None:
        return
    split = state["model_state"]["split"]
    if not np.array_equal(np.intersect1d(split["train"] + split["validation"], labelled), train):
        raise ValueError(
            f"The checkpoints in {folder} are of other folds. Give the `n_folds` and the seed (`scvi.settings.seed`) "
            "that they were trained with, or another `checkpoint_dir`."
        )
