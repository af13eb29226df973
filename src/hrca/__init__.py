"""HRCA: high-resolution cell annotation, from an annotated reference to a sparse spatial query.

adata.X or a layer: raw counts (n_obs, any genes, any order)
  -> _genes.align                  the model's genes, sparse; absent ones known as absent
  -> _transforms.corrupt           training only, on counts: thin or mask
  -> _transforms.log_normalize     log1p(counts per 10,000 over the genes that are present)
  -> GeneAE.encode                 latent (n_obs, n_latent)
       -> GeneAE.decode            reconstruction; target: the uncorrupted log_normalize
       -> SEClassifier             logits (n_obs, n_labels)
  -> _evidence.CountEvidence       log-likelihood of the counts (n_obs, n_labels), weighed with the logits
  -> HRCA.predict                  adata.obs, adata.obsm, adata.uns
"""

from importlib.metadata import version

from . import compat as hrca
from . import datasets, metrics, pl, pp, tl
from ._model import HRCA
from ._sizes import SIZES

__version__ = version("hrca")
__all__ = ["HRCA", "SIZES", "__version__", "datasets", "hrca", "metrics", "pl", "pp", "tl"]
