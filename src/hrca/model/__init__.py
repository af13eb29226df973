"""The model that users hold."""

from ._model import HRCA

__all__ = ["HRCA"]
