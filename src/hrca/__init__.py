"""HRCA: high-resolution cell annotation, from an annotated reference to a sparse spatial query.

The names of this package are loaded when they are used: torch and scanpy take seconds.
"""

from typing import Any

import lazy_loader

from ._messages import show_messages
from ._openmp import shorten_waits

show_messages()
shorten_waits()

# __init__.pyi lists the names, for the loader and for type checkers
_load, _, _ = lazy_loader.attach_stub(__name__, __file__)
__all__ = ["HRCA", "SIZES", "__version__", "datasets", "hrca", "io", "metrics", "models", "pl", "pp", "report", "tl"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("hrca")
    # the specification calls its functions by `from hrca import hrca`
    return _load("compat" if name == "hrca" else name)


def __dir__() -> list[str]:
    return sorted(__all__)
