"""Log-scores of sparse cells by the classifier and by the count likelihood."""

# No `from __future__ import annotations`: the tests check the shapes in the signatures.

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ._count_likelihood import background_weight
from ._module import HRCAModule
from ._sparse_counts import SparseCounts
from ._thinning import thin_to_depth
from ._transforms import log_normalize

# Number of thinned draws of a deep cell whose log-probabilities are averaged (docs/decisions/0003). Means of 4 balanced
# draws vary less than those of 8 independent ones, which were used before.
N_NETWORK_DRAWS = 4

# Number of cells or draws that pass through the network at once: on a CPU, its activations stay in the cache.
NETWORK_BATCH_SIZE = 512


@dataclass(frozen=True)
class RawScores:
    """Scores of cells before platform factors.

    Attributes
    ----------
    network
        Log-probabilities of the classifier, shape (n_obs, n_labels).
    log_likelihood
        Log-likelihood of the counts before its norms are subtracted, shape (n_obs, n_labels); None without a fitted
        count likelihood.
    depth
        Counts of each cell on all genes and, with a count likelihood, on the informative ones, shape (n_obs, 2) or
        (n_obs, 1).
    """

    network: Float[Tensor, "n_obs n_labels"]
    log_likelihood: Float[Tensor, "n_obs n_labels"] | None
    depth: Float[Tensor, "n_obs n_depths"]


class BranchScorer:
    """Scores sparse cells by both branches of a module, whose profiles it arranges once for many batches.

    Parameters
    ----------
    module
        The module, in evaluation mode. Its weights must not change while the scorer is used.
    """

    def __init__(self, module: HRCAModule):
        self._module = module
        # of a module, `device` compares all parameters
        self.device = module.gene_mask.device
        self._max_depth = module.max_classified_depth
        self._likelihood = module.count_likelihood if module.has_fitted_counts else None
        if self._likelihood is not None:
            log_profiles, is_informative = self._likelihood.log_profiles.T, self._likelihood.is_informative[:, None]
            is_counted = torch.cat([torch.ones_like(is_informative), is_informative], dim=1)
            # one product has the depths, and the log-likelihood of the informative and of the other genes
            tables = [is_counted, log_profiles * is_informative, log_profiles * (1 - is_informative)]
            self._count_table = torch.cat(tables, dim=1).contiguous()

    @torch.inference_mode()
    def __call__(self, counts: SparseCounts) -> RawScores:
        """Score cells by both branches.

        Parameters
        ----------
        counts
            Raw counts, n_obs cells.

        Returns
        -------
        The scores. The log-probabilities of a cell above `max_depth` are means over thinned draws.
        """
        counts = counts.to(self.device).on_genes(self._module.gene_mask)
        depth, log_likelihood = self._count_scores(counts)
        return RawScores(self._network(counts, depth[:, 0]), log_likelihood, depth)

    @torch.inference_mode()
    def score_counts(self, counts: SparseCounts) -> tuple[Tensor, Tensor | None]:
        """Return depth and log-likelihood alone, without the classifier; see :class:`RawScores`."""
        return self._count_scores(counts.to(self.device).on_genes(self._module.gene_mask))

    def _count_scores(self, counts: SparseCounts) -> tuple[Tensor, Tensor | None]:
        if self._likelihood is None:
            return counts.sums()[:, None], None
        depth, of_informative, of_others = counts.matmul(self._count_table).tensor_split(
            (2, 2 + self._module.n_labels), dim=1
        )
        return depth, torch.addcmul(of_informative, background_weight(depth[:, 0])[:, None], of_others)

    def _network(self, counts: SparseCounts, depth: Float[Tensor, " n_obs"]) -> Float[Tensor, "n_obs n_labels"]:
        """Return the classifier's log-probabilities, for deep cells the mean over thinned draws."""
        is_deep: Bool[Tensor, " n_obs"] = depth > self._max_depth
        if not is_deep.any():
            return self._log_probabilities(counts)
        draws = thin_to_depth(counts.take(is_deep), self._max_depth, N_NETWORK_DRAWS)
        scored = self._log_probabilities(SparseCounts.concat([counts.take(~is_deep), draws]))
        log_probabilities = scored.new_empty(len(counts), scored.shape[1])
        n_shallow = len(scored) - len(draws)
        log_probabilities[~is_deep] = scored[:n_shallow]
        log_probabilities[is_deep] = scored[n_shallow:].unflatten(0, (N_NETWORK_DRAWS, -1)).mean(dim=0)
        return log_probabilities

    def _log_probabilities(self, counts: SparseCounts) -> Float[Tensor, "n_obs n_labels"]:
        parts = [self._module.classify_normalized(log_normalize(part)) for part in counts.split(NETWORK_BATCH_SIZE)]
        return torch.cat(parts).log_softmax(dim=1).float()
