"""The steps of a training: folds, phases, runs of scvi-tools' TrainRunner, post-hoc fit."""

import copy
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar, Concatenate, ParamSpec, Self, TypeVar

import numpy as np
import pandas as pd
from lightning.pytorch.callbacks import Callback
from scvi import settings as scvi_settings

from hrca._warnings import recorded_warnings, warn_user
from hrca.annotation._labels import most_likely_labels
from hrca.data._query import Query, known_labels
from hrca.data._sources import QueryInput
from hrca.module._module import HRCAModule
from hrca.prediction._probabilities import CellProbabilities, PredictionSettings
from hrca.train._adaptation import (
    SoftLabelledCells,
    gather_cells,
    query_targets,
    reason_to_discard,
    sample_query_cells,
)
from hrca.train._callbacks import EpochHistory
from hrca.train._checkpoints import check_unused, newest_checkpoint, warn_of_no_checkpoint
from hrca.train._config import PhaseConfig, PhaseName, configs_for_train
from hrca.train._history import extended_history, framed_history, plain_history
from hrca.train._monitoring import MonitorTestSet, TensorBoard, check_tensorboard
from hrca.train._phase import (
    PhaseRun,
    choose_epochs,
    end_without_training,
    log_end,
    prepare_batches,
    prepare_phase,
    restrict,
    warn_if_diverged,
)
from hrca.train._random_states import RandomStream, get_random_states, private_generators, set_random_states
from hrca.train._resume import ResumedState, model_identity, model_state, resume_phase
from hrca.train._runner import PhaseRunner, interruptible, quiet_libraries
from hrca.train._sampling import n_sampled_cells
from hrca.train._splitting import FixedIndexSplitter, Split, split_cells
from hrca.train._trainingplans import FinetunePlan, PretrainPlan, SpecifiedPlan
from hrca.uncertainty._cross_fitting import Fold, check_folds, check_n_folds, check_no_folds, cross_fit
from hrca.uncertainty._held_out import HeldOutScores
from hrca.uncertainty._posthoc_fit import fit_posthoc, novelty_reference_for

from ._base import PREDICTION_BATCH_SIZE, HRCABase
from ._reference_fields import reference_digest
from ._threads import within_cpu_quota

TestSet = tuple[Query, pd.Series]
P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)


def with_own_random_numbers(
    method: Callable[Concatenate["TrainingSteps", P], R],
) -> Callable[Concatenate["TrainingSteps", P], R]:
    """Leave the global generators as a method finds them; the next training of the model continues its numbers."""

    @wraps(method)
    def wrapper(self: "TrainingSteps", *args: P.args, **kwargs: P.kwargs) -> R:
        found = get_random_states()
        with private_generators(self._random_stream):
            try:
                return method(self, *args, **kwargs)
            finally:
                self._random_stream = RandomStream(found, get_random_states())

    return wrapper


# Probabilities that adaptation learns from. It was measured with uncalibrated ones; calibration would reduce the
# weights of uncertain cells.
ADAPTATION_SETTINGS = PredictionSettings(platform_correction=True, open_set=True, calibrated=False)
# Probabilities that are scored while a model trains.
MONITOR_SETTINGS = PredictionSettings(platform_correction=True, open_set=False, calibrated=True)


# Default epochs between checkpoints; `train` has that of fine-tuning.
CHECKPOINT_INTERVALS: dict[PhaseName, int] = {"pretrain": 100, "finetune": 20}


def check_train_arguments(arguments: Mapping[str, Any]) -> None:
    """Check what :meth:`hrca.HRCA.train` can check of its arguments before there are cells.

    Parameters
    ----------
    arguments
        The arguments by name; `query` is not used.

    Raises
    ------
    ValueError, TypeError
        As :func:`hrca.train._config.configs_for_train`; or if `n_folds` is no number of folds, or
        `checkpoint_interval` is given without `checkpoint_dir`.
    ImportError
        If `tensorboard` is True, and the package is not installed.
    """
    # the numbers of cells change the default numbers of epochs alone
    configs_for_train(arguments, TrainingSteps._plans, n_obs=1, n_labelled=1)
    TrainingSteps._check_interval("finetune", arguments["checkpoint_interval"], arguments["checkpoint_dir"])
    if arguments["n_folds"] is not None:
        check_n_folds(arguments["n_folds"])
    if arguments["tensorboard"]:
        check_tensorboard()


class TrainingSteps(HRCABase):
    """The steps that the training methods call; they alone write the state of a model."""

    _plans: ClassVar[dict[PhaseName, type[SpecifiedPlan]]] = {"pretrain": PretrainPlan, "finetune": FinetunePlan}
    _data_splitter_cls = FixedIndexSplitter

    @staticmethod
    def _check_interval(phase: PhaseName, interval: int, folder: str | Path | None) -> None:
        """Raise an error if an interval is given, but no checkpoints are written."""
        # `PhaseConfig.check` rejects intervals below 1
        if folder is None and interval >= 1 and interval != CHECKPOINT_INTERVALS[phase]:
            raise ValueError(
                f"`checkpoint_interval` needs a `checkpoint_dir`, got {interval} and no folder: nothing would be "
                "written."
            )

    def _check_test_arguments(
        self, test_adata: object, test_labels_key: str | None, interval: int, folder: str | Path | None
    ) -> None:
        """Raise an error if arguments of :meth:`hrca.HRCA.finetune` have no effect without cells that test it."""
        if test_adata is not None:
            return
        if test_labels_key is not None:
            raise ValueError(f"`test_labels_key` needs the `test_adata` that has it, got {test_labels_key!r} alone.")
        self._check_interval("finetune", interval, folder)

    @within_cpu_quota()
    @with_own_random_numbers
    def _train_phases(
        self, configs: Sequence[PhaseConfig], n_folds: int | None = None, test_set: TestSet | None = None
    ) -> None:
        """Train phases in order; after fine-tuning, fit the post-hoc parts."""
        last, fold_scores = configs[-1], None
        if last.tensorboard:
            check_tensorboard()
        if last.resume and last.checkpoint_dir is not None:
            warn_of_no_checkpoint(last.checkpoint_dir)
        with recorded_warnings() as recorded:
            if last.name == "finetune" and n_folds is None:
                check_no_folds(last.checkpoint_dir, last.resume)
            elif n_folds is not None:
                fold_scores = self._cross_fit(configs, n_folds)
            for config in configs:
                split = self._train_phase(config, test_set if config is last else None)
        # a new pre-training replaces all earlier warnings, a new fine-tuning all except those of the pre-training
        kept = ("pretrain",) if configs[0].name == "finetune" else ()
        earlier = {name: texts for name, texts in self.training_warnings_.items() if name in kept}
        self.training_warnings_ = {**earlier, last.name: recorded}
        if last.name == "finetune":
            self._fit_posthoc(split, fold_scores)

    def _cross_fit(self, configs: Sequence[PhaseConfig], n_folds: int) -> list[HeldOutScores]:
        """Train a copy of the model for each fold, and return its scores of the cells of the fold."""
        last, reference = configs[-1], self._reference_cells()
        check_folds(
            n_folds,
            reference.n_labelled,
            {name.split("_")[0] for name in self.history_ or {}},
            first_phase=configs[0].name,
            folder=last.checkpoint_dir,
            resume=last.resume,
        )
        self.split_ = split = self._split(last)
        # without a choice of epochs, validation cells have no use
        has_validation = last.lr_schedule == "plateau" or bool(last.trainer_kwargs.get("early_stopping"))

        def fit_fold(fold: Fold) -> HRCAModule:
            fold_model = copy.copy(self)
            fold_model.module = copy.deepcopy(self.module)
            fold_model.split_ = fold.split
            for config in configs:
                fold_model._train_phase(config.for_fold(fold.title, fold.folder, has_validation=has_validation))
            return fold_model.module

        return cross_fit(
            reference,
            split,
            n_folds,
            fit_fold,
            seed=self._seed(),
            folder=last.checkpoint_dir,
            keep_validation=has_validation,
        )

    def _train_phase(self, config: PhaseConfig, test_set: TestSet | None = None) -> Split:
        """Train a phase, or restore it if it has ended. Return the split that it used."""
        reference, plan_cls = self._reference_cells(), self._plans[config.name]
        self.split_ = split = self._split(config)
        history = EpochHistory()
        monitor = None if test_set is None else self._monitor(config, test_set)
        config = _with_monitoring(config, history, monitor)
        config.check()
        is_labelled = reference.codes < reference.n_labels
        cell_mask = np.full(reference.n_obs, True) if config.name == "pretrain" else is_labelled
        n_cells = n_sampled_cells(reference.codes[cell_mask], config.n_samples_per_label)
        max_epochs = choose_epochs(config, plan_cls, n_cells)
        checkpoint, is_complete = None, False
        if config.checkpoint_dir is not None and config.resume:
            checkpoint = newest_checkpoint(config.checkpoint_dir)
        elif config.checkpoint_dir is not None:
            check_unused(config.checkpoint_dir, config.name)
        if checkpoint is not None:
            resumed = resume_phase(checkpoint, config, self._identity(), split=split, max_epochs=max_epochs)
            self._restore(resumed)
            split, is_complete = resumed.split, resumed.is_complete
        if checkpoint is not None and is_complete:
            end_without_training(config, checkpoint)
        else:
            self._run_phase(config, split, cell_mask, checkpoint, max_epochs=max_epochs, history=history)
        self._mark_fitted(is_finetuned=self.is_finetuned_)
        if monitor is not None:
            self.test_scores_ = monitor.evaluations
        return split

    def _split(self, config: PhaseConfig) -> Split:
        return split_cells(
            self.split_,
            self._reference_cells().codes,
            reference_digest(self.adata_manager),
            train_size=config.train_size,
            validation_size=config.validation_size,
            seed=scvi_settings.seed,
        )

    def _identity(self) -> dict[str, Any]:
        """Return the properties that the model must share with its checkpoints."""
        return model_identity(self.module, self.gene_names, self.labels, reference_digest(self.adata_manager))

    def _restore(self, resumed: ResumedState) -> None:
        self.split_ = resumed.split
        if resumed.history is not None:
            self.history_ = framed_history(resumed.history)
        if resumed.weights is not None:
            self.module.load_state_dict(resumed.weights)
            self._invalidate()
            self.is_trained_ = True
        if resumed.random_states is not None:
            set_random_states(resumed.random_states)
        if resumed.is_complete or resumed.weights is not None:
            self.module.eval()

    def _run_phase(
        self,
        config: PhaseConfig,
        split: Split,
        cell_mask: np.ndarray,
        checkpoint: dict[str, Any] | None,
        *,
        max_epochs: int,
        history: EpochHistory,
    ) -> None:
        if checkpoint is not None and checkpoint["phase"] != config.name:
            # this checkpoint ends the previous phase, and `_restore` has loaded it
            checkpoint = None
        if checkpoint is not None:
            state = checkpoint["model_state"]
        else:
            state = model_state(split, plain_history(self.history_), self._identity(), config)
        cells = prepare_batches(
            config,
            self.adata_manager,
            restrict(split, cell_mask),
            splitter_cls=self._data_splitter_cls,
            codes=self._reference_cells().codes,
        )
        run = prepare_phase(
            config,
            self.module,
            cells,
            plan_cls=self._plans[config.name],
            max_epochs=max_epochs,
            history=history,
            model_state=state,
            checkpoint=checkpoint,
        )
        self.module.reset_posthoc()
        self.conformal_scores_ = self.novelty_reference_ = self.n_folds_ = self.label_counts_ = None
        self._run(run)
        if config.name == "finetune":
            reference = self._reference_cells()
            label_counts = np.bincount(reference.codes[reference.labelled], minlength=reference.n_labels)
            n_steps = max_epochs * -(-cells.n_drawn // config.batch_size)
            warn_if_diverged(run, label_counts, n_steps=n_steps)

    def _run(self, run: PhaseRun) -> None:
        """Train through scvi-tools' TrainRunner, and append the history under the name of the phase.

        After an error or an interruption the model has the weights of a whole epoch, in eval mode.

        Of a second run, scvi-tools keeps only the numbers that a first run had logged, and replaces the others
        (scvi-tools 1.4.2, ``TrainRunner._update_history``). The history is therefore HRCA's own.
        """
        earlier, was_trained = plain_history(self.history_), self.is_trained_
        self.history_, self.is_trained_ = None, False
        # the weights are no longer the fine-tuned ones, also if the run fails
        self._invalidate()
        callbacks = [run.history, *run.callbacks]
        logger.info("%s: %s.", run.title, run.length)
        start = time.perf_counter()
        try:
            with quiet_libraries(), interruptible():
                PhaseRunner(
                    self, run.plan, run.cells, max_epochs=run.max_epochs, callbacks=callbacks, **run.trainer_kwargs
                )()
            was_trained = True
            log_end(run, time.perf_counter() - start)
        except BaseException:
            self._mark_fitted(is_finetuned=False)
            raise
        finally:
            self.module.eval()
            self.history_ = framed_history(extended_history(earlier, run.name, run.history.epochs))
            self.is_trained_ = was_trained
            # Lightning's objects refer to each other, and keep the batches until Python's next collection
            run.cells.teardown("fit")

    @within_cpu_quota()
    @with_own_random_numbers
    def _run_adaptation(self, run: PhaseRun) -> None:
        self._run(run)
        self.module.is_adapted.fill_(True)
        self._mark_fitted(is_finetuned=True)

    def _fit_posthoc(self, split: Split, fold_scores: list[HeldOutScores] | None) -> None:
        reference = self._reference_cells()
        self.novelty_reference_ = novelty_reference_for(self.module, reference)
        self.conformal_scores_ = fit_posthoc(self.module, reference, split, fold_scores).conformal_scores
        self.n_folds_ = None if fold_scores is None else len(fold_scores)
        counts = np.bincount(reference.codes[reference.labelled], minlength=reference.n_labels)
        self.label_counts_ = counts.tolist()
        self._mark_fitted(is_finetuned=True)

    def _copy(self) -> Self:
        """Return a copy with a module of its own."""
        other = copy.copy(self)
        other.module = copy.deepcopy(self.module)
        return other

    def _better_model(self, adapted: Self, query: Query, before: CellProbabilities) -> Self:
        """Return the adapted model or a copy of this one; `before` are this model's probabilities of the query."""
        # with the settings of `before`: the platform factors, and so the agreement, depend on them
        after = adapted._predict_probabilities(query, ADAPTATION_SETTINGS)
        reason = reason_to_discard(before.branch_agreement, after.branch_agreement)
        if reason is None:
            return adapted
        warn_user(reason)
        return self._copy()

    def _soft_labelled(self, query: Query, cells: CellProbabilities) -> SoftLabelledCells:
        cell_mask = sample_query_cells(cells.has_counts, self._seed())
        targets = query_targets(cells.probabilities[cell_mask])
        return SoftLabelledCells(gather_cells(query.batches(PREDICTION_BATCH_SIZE), cell_mask), targets)

    def _open_test_set(self, adata: QueryInput, labels_key: str | None) -> TestSet:
        labels_key = labels_key or self.registry["setup_args"]["labels_key"]
        query = self._open_query(adata, None)
        return query, known_labels(query.adata.obs, labels_key, self.unlabeled_category)

    def _monitor(self, config: PhaseConfig, test_set: TestSet) -> MonitorTestSet:
        query, true_labels = test_set
        return MonitorTestSet(
            lambda: most_likely_labels(self._label_space(), self._predict_probabilities(query, MONITOR_SETTINGS))[0],
            true_labels,
            self.labels,
            interval=config.checkpoint_interval,
            folder=config.checkpoint_dir,
        )


def _with_monitoring(config: PhaseConfig, history: EpochHistory, monitor: MonitorTestSet | None) -> PhaseConfig:
    callbacks: list[Callback] = [] if monitor is None else [monitor]
    if config.tensorboard:
        logs = (config.checkpoint_dir or Path(scvi_settings.logging_dir)) / "tensorboard"
        callbacks.append(TensorBoard(logs, config.name, history, monitor))
    return replace(config, callbacks=(*callbacks, *config.callbacks))
