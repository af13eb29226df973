"""The public names, each loaded when it is first used."""

from . import compat as hrca
from . import datasets, io, metrics, models, pl, pp, tl
from .model import HRCA
from .module._presets import SIZES
from .reporting import report

__version__: str

__all__ = ["HRCA", "SIZES", "__version__", "datasets", "hrca", "io", "metrics", "models", "pl", "pp", "report", "tl"]
