"""The functions of the HRCA Training Document, and the weights of its published code.

``from hrca import hrca`` is this package.
"""

from ._functions import annotate, fine_tune, pretrain
from ._published_weights import assemble_model, load_published, save_published

__all__ = ["annotate", "fine_tune", "load_published", "assemble_model", "pretrain", "save_published"]
