"""The report of a prediction: one HTML file."""

from ._report import report

__all__ = ["report"]
