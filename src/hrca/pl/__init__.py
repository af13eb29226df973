"""Pictures of predictions and of their scores."""

from ._composition import composition
from ._confidence import reliability, risk_coverage
from ._confusion import confusion, confusion_figure
from ._explain import explain
from ._markers import markers
from ._novelty import novelty
from ._sets import set_sizes
from ._spatial import spatial
from ._training import training
from ._umap import umap

__all__ = [
    "composition",
    "confusion",
    "confusion_figure",
    "explain",
    "markers",
    "novelty",
    "reliability",
    "risk_coverage",
    "set_sizes",
    "spatial",
    "training",
    "umap",
]
