"""The settings of a training phase."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.callbacks import Callback

from hrca.module._transforms import CORRUPTIONS

from ._schedule import check_epochs, default_epochs, scaled_schedule
from ._trainingplans import LR_SCHEDULES, SpecifiedPlan

PhaseName = Literal["pretrain", "finetune"]
PHASES: tuple[PhaseName, ...] = ("pretrain", "finetune")

# Arguments of a training method that are passed to its plan.
PLAN_ARGUMENTS = (
    "corruption",
    "lr",
    "lr_factor",
    "lr_patience",
    "lr_hold_epochs",
    "lr_schedule",
    "freeze_encoder_epochs",
    "encoder_lr",
)
# Beginnings of the names of Trainer arguments that `train` uses for fine-tuning only.
FINETUNE_ONLY_KWARGS = ("logger", "early_stopping")


@dataclass(frozen=True)
class PhaseConfig:
    """The settings of a training phase, without the model and its cells.

    Attributes
    ----------
    name
        "pretrain" or "finetune".
    title
        Text before the progress bar.
    max_epochs
        Number of epochs; None: the number of the specification, or fewer for many cells.
    batch_size
        Number of cells in a batch.
    train_size
        Fraction of the cells of each label that train, in (0, 1].
    plan_kwargs
        Arguments of the training plan: the corruption and the learning rates.
    checkpoint_dir
        Folder for checkpoints; None: none are written.
    checkpoint_interval
        Number of epochs between two checkpoints, and between two evaluations of the test set.
    resume
        If True, continue from the newest checkpoint.
    num_workers
        Number of processes that prepare batches.
    tensorboard
        If True, write the history for TensorBoard.
    callbacks
        Further Lightning callbacks.
    trainer_kwargs
        Arguments of scvi-tools' TrainRunner and Trainer.
    """

    name: PhaseName
    title: str
    max_epochs: int | None
    batch_size: int
    train_size: float
    plan_kwargs: dict[str, Any]
    checkpoint_dir: Path | None
    checkpoint_interval: int
    resume: bool
    num_workers: int
    tensorboard: bool
    callbacks: tuple[Callback, ...]
    trainer_kwargs: dict[str, Any]

    @classmethod
    def from_arguments(cls, name: PhaseName, arguments: Mapping[str, Any], **changes: Any) -> "PhaseConfig":
        """Collect the settings of a phase from the arguments of a training method.

        Parameters
        ----------
        name
            "pretrain" or "finetune".
        arguments
            The arguments of :meth:`hrca.HRCA.pretrain`, :meth:`hrca.HRCA.finetune` or :meth:`hrca.HRCA.train` by name.
        changes
            Arguments that replace these.
        """
        chosen = {**arguments, **changes}
        folder = chosen["checkpoint_dir"]
        return cls(
            name=name,
            title=name,
            plan_kwargs={key: chosen[key] for key in PLAN_ARGUMENTS if key in chosen},
            checkpoint_dir=None if folder is None else Path(folder),
            callbacks=tuple(chosen["callbacks"] or ()),
            trainer_kwargs={
                "accelerator": chosen["accelerator"],
                "devices": chosen["devices"],
                **chosen["trainer_kwargs"],
            },
            **{
                key: chosen[key]
                for key in (
                    "max_epochs",
                    "batch_size",
                    "train_size",
                    "checkpoint_interval",
                    "resume",
                    "num_workers",
                    "tensorboard",
                )
            },
        )

    def for_fold(self, title: str, folder: Path | None, *, has_validation: bool) -> "PhaseConfig":
        """Return the settings of the same phase for a fold model.

        Parameters
        ----------
        title
            Name of the fold, placed before the name of the phase.
        folder
            Folder for the fold's checkpoints; None: none are written.
        has_validation
            Whether the fold model has validation cells. Without them, early stopping has nothing to monitor.
        """
        # the user's logger records the model, not the fold models
        dropped = "logger" if has_validation else FINETUNE_ONLY_KWARGS
        return replace(
            self,
            title=f"{title} {self.name}",
            checkpoint_dir=folder,
            tensorboard=False,
            callbacks=(),
            trainer_kwargs=drop_prefixed(self.trainer_kwargs, dropped),
        )

    @property
    def lr_schedule(self) -> str:
        """Schedule of the learning rate, "one_cycle" or "plateau"."""
        return self.plan_kwargs["lr_schedule"]

    @property
    def step_settings(self) -> dict[str, Any]:
        """The settings of a step, which a resumed training must share.

        Hold and patience are left out: they follow the number of epochs, which may grow.
        """
        settings = {"lr_schedule": self.lr_schedule, "batch_size": self.batch_size, **self.plan_kwargs}
        return {name: value for name, value in settings.items() if name not in ("lr_hold_epochs", "lr_patience")}

    def check(self) -> None:
        """Check the settings that need no model and no cells.

        Raises
        ------
        ValueError
            If a setting is out of its range, or `resume` is True without `checkpoint_dir`.
        TypeError
            If `max_epochs` is neither a whole number nor None.
        """
        corruption = self.plan_kwargs["corruption"]
        if corruption not in CORRUPTIONS:
            raise ValueError(f"`corruption` must be one of {list(CORRUPTIONS)}, got {corruption!r}.")
        if self.lr_schedule not in LR_SCHEDULES:
            raise ValueError(f"`lr_schedule` must be one of {list(LR_SCHEDULES)}, got {self.lr_schedule!r}.")
        check_epochs(max_epochs=self.max_epochs)
        if self.max_epochs is not None and self.max_epochs < 1:
            raise ValueError(f"`max_epochs` must be at least 1, got {self.max_epochs}.")
        strategy = str(self.trainer_kwargs.get("strategy", "auto"))
        if self.plan_kwargs.get("freeze_encoder_epochs") and "ddp" in strategy and "unused" not in strategy:
            raise ValueError(
                "A frozen encoder leaves parameters without gradients, which `strategy` must allow, got "
                f"{strategy!r}: `strategy='ddp_find_unused_parameters_true'` does."
            )
        if self.checkpoint_interval < 1:
            raise ValueError(f"`checkpoint_interval` must be at least 1, got {self.checkpoint_interval}.")
        if self.resume and self.checkpoint_dir is None:
            raise ValueError("`resume=True` needs the `checkpoint_dir` of the training that it continues, got None.")


def configs_for_train(
    arguments: Mapping[str, Any], plans: Mapping[PhaseName, type[SpecifiedPlan]], *, n_obs: int, n_labelled: int
) -> list[PhaseConfig]:
    """Return the settings of the phases of :meth:`hrca.HRCA.train`.

    Parameters
    ----------
    arguments
        The arguments of the method by name.
    plans
        The plan of each phase.
    n_obs
        Number of cells.
    n_labelled
        Number of labelled cells.
    """
    batch_size, epochs = arguments["batch_size"], arguments["pretrain_epochs"]
    if epochs is None:
        epochs = default_epochs(plans["pretrain"], n_obs, batch_size)
    configs = []
    if epochs != 0:
        changes = {**scaled_schedule(plans["pretrain"], epochs), "max_epochs": epochs, "callbacks": None}
        trainer_kwargs = drop_prefixed(arguments["trainer_kwargs"], FINETUNE_ONLY_KWARGS)
        configs.append(PhaseConfig.from_arguments("pretrain", arguments, **changes, trainer_kwargs=trainer_kwargs))
    epochs, trainer_kwargs = arguments["max_epochs"], arguments["trainer_kwargs"]
    stops_early = epochs is None and arguments["lr_schedule"] == "plateau" and arguments["train_size"] < 1
    if epochs is None:
        epochs = default_epochs(plans["finetune"], n_labelled, batch_size)
    schedule = scaled_schedule(plans["finetune"], epochs)
    if arguments["max_epochs"] is None:
        # two reductions of the learning rate have had no effect by then, also where a user enables early stopping
        patience = 2 * schedule["lr_patience"] + 1
        trainer_kwargs = {"early_stopping": stops_early, "early_stopping_patience": patience, **trainer_kwargs}
    changes = {**schedule, "max_epochs": epochs, "trainer_kwargs": trainer_kwargs}
    return [*configs, PhaseConfig.from_arguments("finetune", arguments, **changes)]


def drop_prefixed(trainer_kwargs: Mapping[str, Any], prefixes: str | tuple[str, ...]) -> dict[str, Any]:
    """Return the arguments whose names do not begin with a prefix.

    Examples
    --------
    >>> drop_prefixed({"early_stopping": True, "early_stopping_patience": 3, "devices": 1}, "early_stopping")
    {'devices': 1}
    """
    return {name: value for name, value in trainer_kwargs.items() if not name.startswith(prefixes)}
