"""Named sizes of the networks."""

from collections.abc import Mapping
from typing import Any

SIZES: dict[str, dict[str, Any]] = {
    "specification": {
        "n_hidden": 5000,
        "n_latent": 1024,
        "n_heads": 8,
        "n_layers": 8,
        "n_feedforward": 2048,
        "classifier_widths": (512, 256, 128),
    },
    "workstation": {
        "n_hidden": 2048,
        "n_latent": 512,
        "n_heads": 8,
        "n_layers": 4,
        "n_feedforward": 1024,
        "classifier_widths": (256, 128, 64),
    },
    "laptop": {
        "n_hidden": 512,
        "n_latent": 128,
        "n_heads": 8,
        "n_layers": 2,
        "n_feedforward": 256,
        "classifier_widths": (128, 64),
    },
}

"""Sizes of :class:`~hrca.HRCA` for three kinds of machine, by the name that its argument `size` takes.

"specification" is the size of the networks in the HRCA Training Document, the specification of the algorithm. Cost at
1,000 / 5,000 / 20,000 genes on two CPU cores (benchmarks/results/cost/training.csv):

=============  =======================  =====================================  =========================
size           parameters (millions)    seconds per epoch of 10,000 cells      memory in training (GB)
=============  =======================  =====================================  =========================
specification  90 / 130 / 280           55 / 85 / 197                          2.5 / 3.5 / 7.4
workstation    15 / 32 / 93             19 / 20 / 59                           0.4 / 0.9 / 2.5
laptop         1.5 / 5.6 / 21           2.4 / 4.2 / 17                         0.1 / 0.2 / 0.6
=============  =======================  =====================================  =========================
"""


# The size that "auto" stands for, without and with an accelerator: on a CPU, an epoch takes 12 to 23 times as long
# with the size "specification" as with the size "laptop" (the table above).
AUTO_SIZES = ("laptop", "specification")


def resolve_sizes(size: str, numbers: Mapping[str, Any], *, has_accelerator: bool) -> tuple[str, dict[str, Any]]:
    """Return the name of a size and its numbers.

    Parameters
    ----------
    size
        "auto", "specification", "workstation" or "laptop".
    numbers
        Numbers by name that replace those of the size; None: not replaced.
    has_accelerator
        Whether there is an accelerator, which "auto" depends on.

    Returns
    -------
    The name of the size, never "auto", and its numbers by name.

    Raises
    ------
    ValueError
        If there is no such size, or as for :func:`check_sizes`.

    Examples
    --------
    >>> name, sizes = resolve_sizes("auto", {"n_latent": 64, "n_heads": None}, has_accelerator=False)
    >>> name, sizes["n_latent"], sizes["n_heads"]
    ('laptop', 64, 8)
    """
    name = AUTO_SIZES[has_accelerator] if size == "auto" else size
    if name not in SIZES:
        raise ValueError(f"`size` must be one of {list(SIZES)} or 'auto', got {size!r}.")
    sizes = {**SIZES[name], **{key: value for key, value in numbers.items() if value is not None}}
    check_sizes(**sizes)
    return name, sizes


def describe_sizes(sizes: Mapping[str, Any]) -> str:
    """Return sizes as text: ``n_hidden: 512, n_latent: 128, ...``."""
    return ", ".join(f"{name}: {value}" for name, value in sizes.items())


def check_sizes(n_latent: int, n_heads: int, classifier_widths: tuple[int, ...], **others: int) -> None:
    """Raise an error if sizes do not define a network.

    Parameters
    ----------
    n_latent
        Number of latent features.
    n_heads
        Number of attention heads.
    classifier_widths
        Width of each stage of the classifier.
    **others
        Further sizes, each at least 1.

    Raises
    ------
    ValueError
        If a size is below 1, the classifier has no stage, or `n_latent` is not a multiple of `n_heads`.
    """
    if len(classifier_widths) == 0:
        raise ValueError("`classifier_widths` must have at least one stage, got none; the default has two or three.")
    if min(classifier_widths) < 1:
        raise ValueError(f"Each of `classifier_widths` must be at least 1, got {tuple(classifier_widths)}.")
    for name, size in {"n_latent": n_latent, "n_heads": n_heads, **others}.items():
        if size < 1:
            raise ValueError(f"`{name}` must be at least 1, got {size}.")
    if n_latent % n_heads:
        nearest = n_latent - n_latent % n_heads or n_heads
        raise ValueError(
            f"`n_latent` must be a multiple of `n_heads`, got {n_latent} and {n_heads}; {nearest} would do."
        )


def check_dropout_rates(**rates: float) -> None:
    """Raise an error if a dropout rate is not from 0 to 1.

    Parameters
    ----------
    **rates
        The rates by name.

    Raises
    ------
    ValueError
        If one is not.
    """
    for name, rate in rates.items():
        if not 0 <= rate <= 1:
            raise ValueError(f"`{name}` must be from 0 to 1, got {rate}. A usual value is 0.1.")
