"""The training methods of HRCA: matching to a query, pre-training, fine-tuning, adaptation."""

import logging
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from lightning.pytorch.callbacks import Callback

from hrca._docs import docs
from hrca._unsupported import TRAIN_UNSUPPORTED, raises_for
from hrca._warnings import DoubtfulPredictionWarning, recorded_warnings, warn_user
from hrca.data._sources import QueryInput
from hrca.data._target_genes import TargetGenes
from hrca.module._transforms import Corruption
from hrca.train._adaptation import adaptation_batches, prepare_adaptation, reason_not_to_adapt
from hrca.train._config import PhaseConfig, configs_for_train, resolve_batch_size
from hrca.train._query_matching import summarize_query_match
from hrca.train._sampling import n_sampled_cells
from hrca.train._schedule import MAX_CELLS_PER_LABEL
from hrca.train._trainingplans import FinetunePlan, LRSchedule, PretrainPlan

from ._base import PREDICTION_BATCH_SIZE
from ._training_steps import ADAPTATION_SETTINGS, CHECKPOINT_INTERVALS, TrainingSteps, check_train_arguments

logger = logging.getLogger(__name__)


class TrainingMixin(TrainingSteps):
    """The training methods of :class:`hrca.HRCA`."""

    @docs.dedent
    def match_query(self, query: QueryInput, *, layer: str | None = None) -> pd.Series:
        """Match the training that follows to the genes and depths of a query. Labels are not used.

        The networks then use only the genes that the query has, and normalise over them. With ``corruption="thin"``,
        the depths of training cells are drawn from the query's cells. Query cells deeper than the reference are thinned
        by :meth:`predict`. ``train(query=...)`` calls this method. A fine-tuned model must be trained again.

        Parameters
        ----------
        %(query)s
        %(layer)s

        Returns
        -------
        One entry for each part of the fit to the reference: ``n_shared_genes`` of ``n_genes``; ``shared_information``,
        the fraction of the information about the labels that the shared genes carry (Jensen-Shannon divergence of the
        label profiles; NaN without labels); ``query_depth`` and ``reference_depth``, the median counts of a cell on the
        shared genes; and ``kept_fraction``, the mean fraction of a reference cell's counts that remain at the query's
        median depth.

        Raises
        ------
        %(raises_query)s
        ValueError
            If no cell of the query has counts on the model's genes, or the model was loaded without its reference.

        %(example_model)s
        >>> float(model.match_query(reference[:50])["query_depth"])
        648.0
        """
        self._check_reference()
        # all genes, because an earlier match does not restrict the training that follows
        opened = self._open_query(query, layer, TargetGenes(self.gene_names, np.ones(len(self.gene_names))))
        present = opened.alignment.present
        depth = np.concatenate([np.zeros(0), *(x.sum(axis=1) for _, x in opened.batches(PREDICTION_BATCH_SIZE))])
        quantiles, self.query_match_ = summarize_query_match(self._reference_cells(), present, depth)
        self.module.set_query_match(present.astype(np.float32), quantiles)
        self._invalidate()
        fields = self.query_match_.to_dict()
        logger.info("Matched to the query: %s", self.query_match_.sentence())
        return pd.Series(fields, dtype=object)

    # The training methods have more than eight parameters: the call in the specification names most of them, and
    # scvi-tools' models have the others.
    @raises_for(TRAIN_UNSUPPORTED)
    @docs.dedent
    def pretrain(
        self,
        max_epochs: int | None = None,
        *,
        batch_size: int | None = None,
        lr: float = 1e-3,
        lr_factor: float = 0.1,
        lr_patience: int = PretrainPlan.specified_patience,
        lr_hold_epochs: int = PretrainPlan.specified_hold_epochs,
        lr_schedule: LRSchedule = "plateau",
        corruption: Corruption = "thin",
        train_size: float | None = None,
        validation_size: float | None = None,
        accelerator: str = "auto",
        devices: int | list[int] | str = "auto",
        checkpoint_dir: str | Path | None = None,
        checkpoint_interval: int = CHECKPOINT_INTERVALS["pretrain"],
        resume: bool = False,
        tensorboard: bool = False,
        num_workers: int | None = None,
        plan_kwargs: dict[str, Any] | None = None,
        datasplitter_kwargs: dict[str, Any] | None = None,
        callbacks: list[Callback] | None = None,
        **trainer_kwargs: Any,
    ) -> None:
        """Train Gene-AE to reconstruct cells from sparser copies of themselves. Labels are not used.

        Parameters
        ----------
        max_epochs
            Number of epochs. None: the 1,000 of the specification, fewer for more than 20,000 cells.
        %(plateau_schedule)s
        %(pretraining_run)s

        Raises
        ------
        %(raises_pretrain)s

        %(example_model)s
        >>> model.pretrain(1, enable_progress_bar=False)
        """
        config = PhaseConfig.from_arguments("pretrain", self._plans["pretrain"], locals())
        self._check_interval("pretrain", checkpoint_interval, checkpoint_dir)
        self._check_reference()
        self._train_phases([config])

    @raises_for(TRAIN_UNSUPPORTED)
    @docs.dedent
    def finetune(
        self,
        max_epochs: int | None = None,
        *,
        batch_size: int | None = None,
        lr: float = 1e-3,
        lr_factor: float = 0.1,
        lr_patience: int = FinetunePlan.specified_patience,
        lr_hold_epochs: int = FinetunePlan.specified_hold_epochs,
        lr_schedule: LRSchedule = "plateau",
        corruption: Corruption = "thin",
        train_size: float | None = None,
        validation_size: float | None = None,
        n_samples_per_label: int | None = None,
        n_folds: int | None = None,
        freeze_encoder_epochs: int = 0,
        encoder_lr: float | None = None,
        test_adata: QueryInput | None = None,
        test_labels_key: str | None = None,
        accelerator: str = "auto",
        devices: int | list[int] | str = "auto",
        checkpoint_dir: str | Path | None = None,
        checkpoint_interval: int = CHECKPOINT_INTERVALS["finetune"],
        resume: bool = False,
        tensorboard: bool = False,
        num_workers: int | None = None,
        plan_kwargs: dict[str, Any] | None = None,
        datasplitter_kwargs: dict[str, Any] | None = None,
        callbacks: list[Callback] | None = None,
        **trainer_kwargs: Any,
    ) -> None:
        """Train both networks on the labels. Cells of the unlabelled category are left out.

        Parameters
        ----------
        max_epochs
            Number of epochs. None: the 200 of the specification, fewer for more than 20,000 cells.
        %(plateau_schedule)s
        %(n_samples_per_label)s
        n_folds
            Number of fold models. Each is fine-tuned without one part of the labelled cells, and scores that part. All
            cells (at most 10,000; for prediction sets 2,000) then fit the pooling weights and the calibration, in place
            of the held-out fraction. The networks of the model do not depend on `n_folds`. Labels may change, since
            the calibration then corrects for the frequency and the confusion of labels. Fine-tuning takes `n_folds` + 1
            times as long. With `checkpoint_dir`, each fold model has a folder, ``fold-1``, ... The fold models share
            the Gene-AE: if it was pre-trained on their cells, they are slightly overconfident (:meth:`train` pre-trains
            each without its cells). A Gene-AE from :meth:`from_pretrained` that was fine-tuned on this reference would
            reveal the labels. None: no fold models.
        freeze_encoder_epochs
            Number of epochs at the start in which the encoder does not train.
        encoder_lr
            Learning rate of the encoder at the start; None: `lr`.
        test_adata
            Labelled cells, in any form that :meth:`predict` takes. The networks annotate them every
            `checkpoint_interval` epochs, without the count likelihood. Their scores are in :attr:`test_scores`; with
            `checkpoint_dir` also in ``test_scores.csv``, beside the confusion matrices ``confusion_<epoch>.csv`` and
            ``.png``. They take no part in training.
        test_labels_key
            Column of its obs with the true labels; None: `labels_key` of the setup. Cells whose label the reference
            lacks are counted, and not scored.
        %(finetuning_run)s

        Raises
        ------
        %(raises_finetune)s
        %(raises_folds)s
        ValueError
            If `test_adata` cannot be annotated or lacks the column, or `test_labels_key` is given without it.

        %(example_model)s
        >>> model.finetune(1, enable_progress_bar=False)
        """
        config = PhaseConfig.from_arguments("finetune", self._plans["finetune"], locals())
        self._check_reference()
        self._check_has_labels()
        self._check_test_arguments(test_adata, test_labels_key, checkpoint_interval, checkpoint_dir)
        test_set = None if test_adata is None else self._open_test_set(test_adata, test_labels_key)
        self._train_phases([config], n_folds, test_set)

    @raises_for(TRAIN_UNSUPPORTED)
    @docs.dedent
    def train(
        self,
        max_epochs: int | None = None,
        *,
        pretrain_epochs: int | None = None,
        query: QueryInput | None = None,
        batch_size: int | None = None,
        lr: float = 1e-3,
        lr_schedule: LRSchedule = "one_cycle",
        corruption: Corruption = "thin",
        train_size: float | None = None,
        validation_size: float | None = None,
        n_samples_per_label: int | None = None,
        max_cells_per_label: int | None = MAX_CELLS_PER_LABEL,
        n_folds: int | None = None,
        accelerator: str = "auto",
        devices: int | list[int] | str = "auto",
        checkpoint_dir: str | Path | None = None,
        checkpoint_interval: int = CHECKPOINT_INTERVALS["finetune"],
        resume: bool = False,
        tensorboard: bool = False,
        num_workers: int | None = None,
        plan_kwargs: dict[str, Any] | None = None,
        datasplitter_kwargs: dict[str, Any] | None = None,
        callbacks: list[Callback] | None = None,
        **trainer_kwargs: Any,
    ) -> None:
        """Pre-train, then fine-tune.

        With ``lr_schedule="plateau"``, `lr_hold_epochs` and `lr_patience` are scaled to the number of epochs. To choose
        them, name them in `plan_kwargs`, or call :meth:`pretrain` and :meth:`finetune`.

        Parameters
        ----------
        max_epochs
            Number of epochs of :meth:`finetune`, each of all cells that `max_cells_per_label` allows. None: 10 to 200
            epochs of at most 70 batches, about 700 steps in all; with "plateau", fewer if the validation loss stops
            falling.
        pretrain_epochs
            Number of epochs of :meth:`pretrain`, each of all cells. 0: no pre-training. None: 10 to 1,000 epochs of at
            most 40 batches, about 400 steps in all. If `max_epochs` is given, the number is scaled with it, and each
            epoch has all cells.
        query
            Cells that the model will annotate, in any form that :meth:`predict` takes. Training is matched to their
            genes and depths, see :meth:`match_query`. Their counts are in the place where the reference's were; for
            another place, call :meth:`match_query` first. None: an earlier match holds; without one, training uses all
            genes, and depths that are log-uniform between 10 counts and a cell's own.
        %(batch_size)s
        %(lr)s
        %(schedule)s
        %(n_samples_per_label)s
        %(max_cells_per_label)s
        n_folds
            Number of fold models, see :meth:`finetune`. Each is also pre-trained without its cells, so that training
            takes `n_folds` + 1 times as long. With ``pretrain_epochs=0`` they share the Gene-AE of the model.
        %(training_run)s
        callbacks
            Further Lightning callbacks, for fine-tuning only: a callback that reports the end of training would
            otherwise report the end of pre-training.
        %(trainer_kwargs)s `logger` and early stopping are for fine-tuning only.

        Raises
        ------
        %(raises_train)s
        %(raises_query)s
        %(raises_folds)s

        %(example_trained)s
        >>> model.predict(reference[:50]).shape
        (50,)
        """
        arguments = locals()
        self._check_reference()
        self._check_has_labels()
        check_train_arguments(arguments)
        reference = self._reference_cells()
        n_labelled = n_sampled_cells(reference.codes[reference.labelled], n_samples_per_label, max_cells_per_label)
        configs = configs_for_train(arguments, self._plans, n_obs=reference.n_obs, n_labelled=n_labelled)
        if query is not None:
            self.match_query(query)
        self._train_phases(configs, n_folds)

    @raises_for(TRAIN_UNSUPPORTED)
    @docs.dedent
    def adapt(
        self,
        query: QueryInput,
        *,
        layer: str | None = None,
        select: bool = True,
        max_steps: int = 200,
        batch_size: int | None = None,
        lr: float = 3e-4,
        accelerator: str = "auto",
        devices: int | list[int] | str = "auto",
        callbacks: list[Callback] | None = None,
        **trainer_kwargs: Any,
    ) -> Self:
        """Train a copy of the model further on the query's own cells, without labels (self-training).

        The model labels the query. The networks then train on batches that are half reference, with its labels, and
        half query, with the model's probabilities. Each query cell is weighted by its confidence
        :cite:p:`lee2013pseudo`. All labelled cells of the reference take part, also those that training held out. Not
        part of the specification.

        Parameters
        ----------
        %(query)s At most 20,000 cells are used, chosen at random.
        %(layer)s
        select
            If True, return the model as it was where adaptation is likely to make it worse, with a warning: more than a
            fifth of the query's cells are probably of none of the labels, or the fraction of cells on which classifier
            and count likelihood agree does not rise by 5 percentage points. False, or without count likelihood: return
            the adapted model.
        max_steps
            Number of optimiser steps.
        batch_size
            Number of cells in a batch, half reference and half query; even. None: ``scvi.settings.batch_size``.
        lr
            Maximum learning rate of Adam; it rises and falls once.
        %(device)s
        %(callbacks)s
        %(trainer_kwargs)s

        Returns
        -------
        The adapted model, or with `select` perhaps a copy of this model. This model stays unchanged. A model that is
        already adapted is adapted further, with a warning.

        Raises
        ------
        %(raises_query)s
        ValueError
            If the model is not fine-tuned or was loaded without its reference; no cell of the query has counts on its
            genes; `max_steps` is below 1; or `batch_size` is odd or below 4.

        %(example_trained)s
        >>> options = {"max_steps": 1, "enable_progress_bar": False}
        >>> adapted = model.adapt(reference[:50], select=False, **options)
        >>> adapted is model
        False
        """
        self._check_finetuned()
        self._check_reference()
        batch_size = resolve_batch_size(batch_size)
        if max_steps < 1 or batch_size < 4 or batch_size % 2:
            raise ValueError(
                "`max_steps` must be at least 1, and `batch_size` at least 4 and even, got "
                f"{max_steps} and {batch_size}."
            )
        with recorded_warnings() as recorded:
            if self.module.is_adapted:
                warn_user(
                    "This model is already adapted, and a second round made the labels of some queries worse. Adapt "
                    "the model that `train` returned.",
                    DoubtfulPredictionWarning,
                )
            adapted = self._copy()
            trainer_kwargs = {"accelerator": accelerator, "devices": devices, **trainer_kwargs}
            cells = self._open_query(query, layer)
            before = self._predict_probabilities(cells, ADAPTATION_SETTINGS)
            labelled = adapted._soft_labelled(cells, before)
            # with one branch, no agreement tells which model is better
            select = select and self.module.has_fitted_counts
            if select and (reason := reason_not_to_adapt(before.novel_fraction, before.branch_agreement)):
                warn_user(reason)
                return adapted
            batches = adaptation_batches(
                adapted._reference_cells(), labelled, max_steps=max_steps, batch_size=batch_size, seed=self._seed()
            )
            run = prepare_adaptation(
                adapted.module,
                batches,
                max_steps=max_steps,
                lr=lr,
                callbacks=callbacks or (),
                trainer_kwargs=trainer_kwargs,
            )
            adapted._run_adaptation(run)
        adapted.training_warnings_ = {**self.training_warnings_, "adapt": recorded}
        return self._better_model(adapted, cells, before) if select else adapted
