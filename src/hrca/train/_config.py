"""The settings of a training phase."""

import inspect
import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.callbacks import Callback
from scvi import settings as scvi_settings

from hrca._paths import user_path
from hrca.data._batches import check_batch_size
from hrca.module._transforms import CORRUPTIONS

from ._schedule import check_epochs, default_epochs, default_max_cells_per_epoch, scaled_schedule
from ._splitting import check_fractions, resolve_train_size
from ._trainer_arguments import TRAINER_ARGUMENTS, check_names, drop_prefixed, flat_trainer_kwargs
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
# Arguments of the data loaders of scvi-tools and torch that do not change which cells train.
LOADER_ARGUMENTS = (
    "drop_dataset_tail",
    "drop_last",
    "multiprocessing_context",
    "num_workers",
    "persistent_workers",
    "pin_memory",
    "prefetch_factor",
)
# Beginnings of the names of Trainer arguments that `train` uses for fine-tuning only.
FINETUNE_ONLY_KWARGS = ("logger", "early_stopping")
# Arguments of the plan that one schedule of the learning rate alone uses.
PLATEAU_ONLY_PLAN = ("lr_factor", "lr_patience", "lr_hold_epochs")
# Arguments of the plan of fine-tuning only.
FINETUNE_ONLY_PLAN = ("freeze_encoder_epochs", "encoder_lr")


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
    validation_size
        Fraction of the validation cells; None: all cells that do not train.
    n_samples_per_label
        Maximum number of cells of a label in an epoch; None: all.
    max_cells_per_label
        Maximum number of cells of a label that train at all; None: all.
    max_cells_per_epoch
        Number of training cells that an epoch draws; None: all.
    loader_kwargs
        Further arguments of the data loaders.
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
    validation_size: float | None = None
    n_samples_per_label: int | None = None
    max_cells_per_label: int | None = None
    max_cells_per_epoch: int | None = None
    loader_kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def has_processes(self) -> bool:
        """Whether several processes share the batches of an epoch."""
        return "ddp" in str(self.trainer_kwargs.get("strategy", "auto"))

    @classmethod
    def from_arguments(
        cls, name: PhaseName, plan_cls: type[SpecifiedPlan], arguments: Mapping[str, Any], **changes: Any
    ) -> "PhaseConfig":
        """Collect the settings of a phase from the arguments of a training method.

        Parameters
        ----------
        name
            "pretrain" or "finetune".
        plan_cls
            The plan of the phase.
        arguments
            The arguments of :meth:`hrca.HRCA.pretrain`, :meth:`hrca.HRCA.finetune` or :meth:`hrca.HRCA.train` by name.
        changes
            Arguments that replace these.

        Raises
        ------
        ValueError
            If an argument of the plateau is given with another schedule, or `batch_size` is below 1.
        TypeError
            If an argument of the plan, the data loader or the Trainer is unknown, or `batch_size` is neither a whole
            number nor None.
        """
        plan_kwargs = dict(changes.pop("plan_kwargs", arguments["plan_kwargs"]) or {})
        loader_kwargs = {"num_workers": arguments["num_workers"], **(arguments["datasplitter_kwargs"] or {})}
        if loader_kwargs["num_workers"] is None:
            loader_kwargs["num_workers"] = scvi_settings.dl_num_workers
        check_names("plan_kwargs", plan_kwargs, PLAN_ARGUMENTS)
        check_names("datasplitter_kwargs", loader_kwargs, LOADER_ARGUMENTS)
        chosen = {**arguments, **changes, **plan_kwargs}
        _check_plateau_only(plan_cls, {**arguments, **plan_kwargs}, chosen["lr_schedule"])
        trainer_kwargs = flat_trainer_kwargs(chosen["trainer_kwargs"])
        check_names(None, trainer_kwargs, TRAINER_ARGUMENTS)
        folder = chosen["checkpoint_dir"]
        return cls(
            name=name,
            title=name,
            plan_kwargs={key: chosen[key] for key in PLAN_ARGUMENTS if key in chosen},
            checkpoint_dir=None if folder is None else user_path(folder),
            callbacks=tuple(chosen["callbacks"] or ()),
            batch_size=resolve_batch_size(chosen["batch_size"]),
            train_size=resolve_train_size(chosen["train_size"], chosen["validation_size"]),
            validation_size=chosen["validation_size"],
            n_samples_per_label=chosen.get("n_samples_per_label"),
            max_cells_per_label=chosen.get("max_cells_per_label"),
            max_cells_per_epoch=chosen.get("max_cells_per_epoch"),
            num_workers=loader_kwargs.pop("num_workers"),
            loader_kwargs=loader_kwargs,
            trainer_kwargs={
                "accelerator": chosen["accelerator"],
                "devices": chosen["devices"],
                **trainer_kwargs,
            },
            **{
                key: chosen[key]
                for key in (
                    "max_epochs",
                    "checkpoint_interval",
                    "resume",
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
        settings = {
            "lr_schedule": self.lr_schedule,
            "batch_size": self.batch_size,
            "n_samples_per_label": self.n_samples_per_label,
            "scvi.settings.seed": scvi_settings.seed,
            "max_cells_per_label": self.max_cells_per_label,
            "max_cells_per_epoch": self.max_cells_per_epoch,
            **self.plan_kwargs,
        }
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
        check_epochs("max_epochs", self.max_epochs)
        check_fractions(self.train_size, self.validation_size)
        if self.batch_size < 2:
            raise ValueError(
                f"A batch must have at least 2 cells, but `batch_size` is {self.batch_size}. A usual value is 128."
            )
        if self.num_workers < 0:
            raise ValueError(f"`num_workers` must be at least 0, got {self.num_workers}.")
        strategy = str(self.trainer_kwargs.get("strategy", "auto"))
        if self.plan_kwargs.get("freeze_encoder_epochs") and "ddp" in strategy and "unused" not in strategy:
            raise ValueError(
                "A frozen encoder leaves parameters without gradients, which `strategy` must allow, got "
                f"{strategy!r}: `strategy='ddp_find_unused_parameters_true'` does."
            )
        if self.n_samples_per_label is not None and (self.n_samples_per_label < 1 or "ddp" in strategy):
            raise ValueError(
                "`n_samples_per_label` must be at least 1, and trains in one process only, got "
                f"{self.n_samples_per_label} and the `strategy` {strategy!r}."
            )
        for name in ("lr", "encoder_lr"):
            rate = self.plan_kwargs.get(name)
            if rate is not None and not (isinstance(rate, numbers.Real) and 0 < float(rate) < math.inf):
                raise ValueError(f"`{name}` must be a number above 0, got {rate!r}. A usual value is 1e-3.")
        if self.max_cells_per_label is not None and self.max_cells_per_label < 1:
            raise ValueError(f"`max_cells_per_label` must be at least 1 or None, got {self.max_cells_per_label}.")
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
        Number of labelled cells that an epoch draws.

    Raises
    ------
    ValueError, TypeError
        As :meth:`PhaseConfig.check` and :meth:`PhaseConfig.from_arguments`.
    """
    arguments = {**arguments, "trainer_kwargs": flat_trainer_kwargs(arguments["trainer_kwargs"])}
    plan_kwargs, epochs = arguments["plan_kwargs"] or {}, arguments["pretrain_epochs"]
    check_epochs("max_epochs", arguments["max_epochs"])
    check_epochs("pretrain_epochs", epochs, minimum=0)
    batch_size, n_cells = resolve_batch_size(arguments["batch_size"]), {"pretrain": n_obs, "finetune": n_labelled}
    defaults = {name: default_epochs(plans[name], n_cells[name], batch_size) for name in PHASES}
    # a user's own number counts epochs of all cells
    max_cells_per_epoch = {name: default_max_cells_per_epoch(plans[name], batch_size) for name in PHASES}
    has_default = arguments["max_epochs"] is None
    if epochs is None:
        # fewer epochs than the default are for a shorter training, of both phases alike
        ratio = 1.0 if arguments["max_epochs"] is None else arguments["max_epochs"] / defaults["finetune"]
        epochs = max(1, round(ratio * defaults["pretrain"]))
    configs = []
    if epochs != 0:
        changes = {**scaled_schedule(plans["pretrain"], epochs), "max_epochs": epochs, "callbacks": None}
        changes["trainer_kwargs"] = drop_prefixed(arguments["trainer_kwargs"], FINETUNE_ONLY_KWARGS)
        changes["plan_kwargs"] = {k: v for k, v in plan_kwargs.items() if k not in FINETUNE_ONLY_PLAN}
        changes["n_samples_per_label"] = changes["max_cells_per_label"] = None
        changes["max_cells_per_epoch"] = (
            max_cells_per_epoch["pretrain"] if has_default and arguments["pretrain_epochs"] is None else None
        )
        configs.append(PhaseConfig.from_arguments("pretrain", plans["pretrain"], arguments, **changes))
    epochs, trainer_kwargs = arguments["max_epochs"], arguments["trainer_kwargs"]
    lr_schedule = plan_kwargs.get("lr_schedule", arguments["lr_schedule"])
    train_size = resolve_train_size(arguments["train_size"], arguments["validation_size"])
    stops_early = epochs is None and lr_schedule == "plateau" and train_size < 1
    if epochs is None:
        epochs = defaults["finetune"]
    schedule = scaled_schedule(plans["finetune"], epochs)
    if arguments["max_epochs"] is None:
        # two reductions of the learning rate have had no effect by then, also where a user enables early stopping
        patience = 2 * schedule["lr_patience"] + 1
        trainer_kwargs = {"early_stopping": stops_early, "early_stopping_patience": patience, **trainer_kwargs}
    changes = {**schedule, "max_epochs": epochs, "trainer_kwargs": trainer_kwargs}
    changes["max_cells_per_epoch"] = max_cells_per_epoch["finetune"] if has_default else None
    configs.append(PhaseConfig.from_arguments("finetune", plans["finetune"], arguments, **changes))
    for config in configs:
        config.check()
    return configs


def resolve_batch_size(batch_size: int | None) -> int:
    """Return the number of cells in a batch; None: that of ``scvi.settings``.

    Raises
    ------
    TypeError
        If it is neither a whole number nor None.
    ValueError
        If it is below 1.
    """
    if batch_size is not None and not isinstance(batch_size, numbers.Integral):
        raise TypeError(f"`batch_size` must be a whole number or None, got {batch_size!r}. A usual value is 128.")
    if batch_size is None:
        return scvi_settings.batch_size
    check_batch_size(batch_size)
    return batch_size


def _check_plateau_only(plan_cls: type[SpecifiedPlan], given: Mapping[str, Any], lr_schedule: str) -> None:
    """Raise an error if an argument of the plateau would have no effect, since another schedule is chosen."""
    if lr_schedule == "plateau":
        return
    defaults = {"lr_patience": plan_cls.specified_patience, "lr_hold_epochs": plan_cls.specified_hold_epochs}
    defaults["lr_factor"] = inspect.signature(plan_cls.__init__).parameters["lr_factor"].default
    changed = [key for key in PLATEAU_ONLY_PLAN if given.get(key, defaults[key]) != defaults[key]]
    if changed:
        name, value = changed[0], given[changed[0]]
        raise ValueError(
            f"`{name}={value!r}` needs `lr_schedule='plateau'`, got {lr_schedule!r}. Choose 'plateau', or leave out "
            f"`{name}`."
        )
