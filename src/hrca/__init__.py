"""HRCA: high-resolution cell annotation, from an annotated reference to a sparse spatial query."""

from importlib.metadata import version

from . import compat as hrca
from . import datasets, metrics, pl, pp, tl
from ._messages import show_messages
from .model import HRCA
from .module._presets import SIZES

__version__ = version("hrca")
show_messages()
__all__ = ["HRCA", "SIZES", "__version__", "datasets", "hrca", "metrics", "pl", "pp", "tl"]
