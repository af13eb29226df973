"""Plots of predictions and their scores. scanpy and squidpy plot embeddings and tissue sections."""

from ._confidence import reliability, risk_coverage
from ._confusion import confusion, confusion_figure
from ._explain import explain
from ._novelty import novelty
from ._sets import set_sizes

__all__ = ["confusion", "confusion_figure", "explain", "novelty", "reliability", "risk_coverage", "set_sizes"]
