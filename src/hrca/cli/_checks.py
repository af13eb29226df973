"""Check the values of flags by the rules of the Python functions, before any file is opened."""

import inspect
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from hrca.annotation._options import PredictOptions
from hrca.annotation._write import check_key
from hrca.data._formats import file_format
from hrca.data._label_arguments import check_unlabeled_category
from hrca.model._model import HRCA
from hrca.model._training_steps import check_train_arguments
from hrca.module._presets import SIZES, check_dropout_rates, resolve_sizes
from hrca.train._config import resolve_batch_size
from hrca.train._random_states import check_seed
from hrca.train._runtime_estimate import n_accelerators, uses_accelerator
from hrca.train._trainer_arguments import check_trainer_arguments

from ._flags import Flag, arguments_of
from ._prediction_flags import EVALUATE_FLAGS, PREDICT_FLAGS
from ._shell_words import naming_file
from ._training_flags import MODEL_FLAGS, SETUP_FLAGS, TRAIN_FLAGS


def device_arguments(device: str) -> tuple[str, str | int]:
    """Return Lightning's accelerator and device for a device of PyTorch.

    Parameters
    ----------
    device
        "auto", "cpu", "gpu", "mps", or one GPU, "cuda:1".

    Returns
    -------
    accelerator
        The name of the accelerator.
    device
        The number of the GPU, or "auto".

    Raises
    ------
    ValueError
        If it is none of these, or PyTorch finds no such device.

    Examples
    --------
    >>> device_arguments("cpu")
    ('cpu', 'auto')
    """
    kind, _, number = device.partition(":")
    accelerator = {"cuda": "gpu"}.get(kind, kind)
    if accelerator not in ("auto", "cpu", "gpu", "mps") or (number and not (number.isdigit() and accelerator == "gpu")):
        raise ValueError(f"`device` must be auto, cpu, gpu, mps or one GPU such as cuda:1, got {device!r}.")
    if accelerator not in ("auto", "cpu") and int(number or 0) >= n_accelerators(accelerator):
        raise ValueError(f"`device` must be one that PyTorch can use, but it finds no {device!r}. Use `--device cpu`.")
    return accelerator, int(number) if number else "auto"


def train_arguments(flags: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments of :meth:`hrca.HRCA.train` without `query`, and those that it passes to the Trainer.

    Parameters
    ----------
    flags
        Values of the flags of training and run.

    Returns
    -------
    arguments
        The arguments of `train` by name.
    trainer_kwargs
        The arguments of the Trainer by name.

    Raises
    ------
    ValueError
        If a value cannot be read, there is no such device, or an argument for the Trainer is one of `train` itself.
    """
    arguments = arguments_of(TRAIN_FLAGS, flags)
    trainer_kwargs = arguments.pop("trainer_kwargs") or {}
    repeated = [name for name in trainer_kwargs if name in inspect.signature(HRCA.train).parameters]
    if repeated:
        raise ValueError(
            f"`trainer_kwargs` must be arguments of the Trainer alone, but has {repeated[0]!r}, an argument of the "
            "training: give it by its own flag."
        )
    accelerator, device = device_arguments(flags["device"])
    devices = [device] if isinstance(device, int) else device
    return {**arguments, "accelerator": accelerator, "devices": devices}, trainer_kwargs


def check_training_flags(flags: Mapping[str, Any]) -> None:
    """Check what a training needs of the flags.

    Parameters
    ----------
    flags
        Values of the flags of setup, model, training and run.

    Raises
    ------
    ValueError, TypeError
        If a value is one that the Python functions do not take, or cannot be read.
    FileNotFoundError
        If a value names a file that does not exist.
    NotADirectoryError
        If `checkpoint_dir` is a file.
    """
    check_seed(flags["seed"])
    check_unlabeled_category(arguments_of(SETUP_FLAGS, flags)["unlabeled_category"])
    sizes = arguments_of(MODEL_FLAGS, flags)
    numbers = {name: sizes[name] for name in SIZES["specification"]}
    resolve_sizes(sizes["size"], numbers, has_accelerator=uses_accelerator("auto"))
    check_dropout_rates(**{name: value for name, value in sizes.items() if name.endswith("dropout_rate")})
    if flags["checkpoint_dir"] is not None:
        check_is_folder("checkpoint_dir", flags["checkpoint_dir"])
    with naming_file(None, TRAIN_FLAGS):
        arguments, trainer_kwargs = train_arguments(flags)
        check_train_arguments({**arguments, "trainer_kwargs": trainer_kwargs, "callbacks": None})
        check_trainer_arguments({name: arguments[name] for name in ("accelerator", "devices")} | trainer_kwargs)


def check_prediction_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Check the flags of :meth:`hrca.HRCA.predict`, and return its arguments.

    Parameters
    ----------
    flags
        Values of the flags of prediction and run.

    Raises
    ------
    ValueError, TypeError, FileNotFoundError
        As :func:`check_evaluation_flags`.
    """
    arguments = _check_common_flags(flags, PREDICT_FLAGS)
    with naming_file(None, PREDICT_FLAGS):
        PredictOptions(**{field.name: arguments[field.name] for field in fields(PredictOptions)}).check_values()
        check_key(arguments["key_added"], None)
    return arguments


def check_evaluation_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Check the flags of :meth:`hrca.HRCA.evaluate`, and return its arguments.

    Parameters
    ----------
    flags
        Values of the flags of prediction and run.

    Raises
    ------
    ValueError, TypeError
        If a value is one that the Python functions do not take, or cannot be read.
    FileNotFoundError
        If a value names a file that does not exist.
    """
    return _check_common_flags(flags, EVALUATE_FLAGS)


def _check_common_flags(flags: Mapping[str, Any], group: tuple[Flag, ...]) -> dict[str, Any]:
    device_arguments(flags["device"])
    check_seed(flags["seed"])
    with naming_file(None, group):
        arguments = arguments_of(group, flags)
        resolve_batch_size(arguments["batch_size"])
    return arguments


def check_cell_files(*paths: Path | None) -> None:
    """Check that files of cells exist and have a known format, without a look at their cells.

    Parameters
    ----------
    paths
        The files; None: not given.

    Raises
    ------
    ValueError
        If a file has no known format.
    OSError
        If a file is not there, or is damaged.
    """
    for path in paths:
        if path is not None:
            with naming_file(path):
                file_format(path)


def check_is_folder(name: str, path: Path) -> None:
    """Raise an error if a path that needs a folder is a file.

    Parameters
    ----------
    name
        Name of the argument that has the path.
    path
        The path, which need not exist.

    Raises
    ------
    NotADirectoryError
        If it is a file.
    """
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"`{name}` needs a folder, but {str(path)!r} is a file. Name another place.")


def prepare_folder(name: str, folder: Path) -> None:
    """Make a folder, and check that files can be written into it.

    Parameters
    ----------
    name
        Name of the argument that has the folder.
    folder
        The folder. It stays if the command then ends with an error.

    Raises
    ------
    OSError
        If it cannot be made, is a file, or is read-only.
    """
    check_is_folder(name, folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{str(folder)!r} is read-only. Name another place.")
