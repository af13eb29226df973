"""The functions of the HRCA Training Document, the specification of the algorithm, and the published weights.

``from hrca import hrca`` is this package.
"""

from hrca.module._networks import GeneAE, SEClassifier

from ._functions import annotate, fine_tune, pretrain
from ._published_weights import assemble_model, load_published, save_published

__all__ = [
    "GeneAE",
    "SEClassifier",
    "annotate",
    "assemble_model",
    "fine_tune",
    "load_published",
    "pretrain",
    "save_published",
]
