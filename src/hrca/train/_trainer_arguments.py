"""Arguments of the Trainer of scvi-tools and Lightning."""

import inspect
from collections.abc import Collection, Mapping
from typing import Any

from lightning.pytorch import Trainer as LightningTrainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from scvi.train import Trainer

from ._runner import quiet_libraries

# Arguments of scvi-tools' Trainer and of Lightning's, which it passes on; and those that TrainRunner takes out before.
TRAINER_ARGUMENTS = {
    *inspect.signature(Trainer.__init__).parameters,
    *inspect.signature(LightningTrainer.__init__).parameters,
    "ckpt_path",
}
TRAINER_DEFAULTS = {name: p.default for name, p in inspect.signature(Trainer.__init__).parameters.items()}


def flat_trainer_kwargs(trainer_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of the Trainer, with those that a `trainer_config` of scvi-tools has set.

    A config has a value for each argument, also for those that were left at the defaults of other models.
    """
    config = trainer_kwargs.get("trainer_config") or {}
    fields = config if isinstance(config, Mapping) else config.to_kwargs()
    is_set = {name: value for name, value in fields.items() if value != TRAINER_DEFAULTS.get(name)}
    return {**is_set, **{name: value for name, value in trainer_kwargs.items() if name != "trainer_config"}}


def check_names(argument: str | None, given: Mapping[str, Any], allowed: Collection[str]) -> None:
    """Raise an error if a name is none of those that are allowed.

    Parameters
    ----------
    argument
        Name of the argument that holds the names; None: they are arguments of a training method itself.
    given
        The values by name.
    allowed
        The names that are allowed.

    Raises
    ------
    TypeError
        If a name is not allowed.
    """
    unknown = [name for name in given if name not in allowed]
    if not unknown:
        return
    if argument is None:
        raise TypeError(
            f"There is no argument `{unknown[0]}`: it is none of this method, nor of the Trainer of scvi-tools or of "
            "Lightning. Correct or leave out this argument."
        )
    raise TypeError(f"`{argument}` must hold some of {list(allowed)}, got {unknown}.")


def check_trainer_arguments(trainer_kwargs: Mapping[str, Any]) -> None:
    """Raise an error if Lightning makes no Trainer with these arguments.

    Parameters
    ----------
    trainer_kwargs
        Plain values by name. Leave out objects, such as a strategy or a logger: two Trainers cannot share them.

    Raises
    ------
    TypeError
        If an argument is unknown.
    ValueError
        If Lightning raises an error for a value.
    """
    check_names(None, trainer_kwargs, TRAINER_ARGUMENTS)
    accepted = inspect.signature(LightningTrainer.__init__).parameters
    given = {name: value for name, value in trainer_kwargs.items() if name in accepted}
    try:
        with quiet_libraries():
            LightningTrainer(**{"logger": False, "enable_checkpointing": False, **given})
    except (ValueError, TypeError, MisconfigurationException) as error:
        raise ValueError(f"`trainer_kwargs` must be arguments that Lightning's Trainer takes, but: {error}") from error


def drop_prefixed(trainer_kwargs: Mapping[str, Any], prefixes: str | tuple[str, ...]) -> dict[str, Any]:
    """Return the arguments whose names do not begin with a prefix.

    Examples
    --------
    >>> drop_prefixed({"early_stopping": True, "early_stopping_patience": 3, "devices": 1}, "early_stopping")
    {'devices': 1}
    """
    return {name: value for name, value in trainer_kwargs.items() if not name.startswith(prefixes)}
