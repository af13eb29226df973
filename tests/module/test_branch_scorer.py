"""Scores of both branches, against the networks and the count likelihood on dense counts."""

import numpy as np
import pytest
import torch
from simulated import N_GENES, N_LABELS, prediction_module, random_profiles, thinned_draws

from hrca.module import _branch_scorer
from hrca.module._branch_scorer import BranchScorer, RawScores
from hrca.module._count_likelihood import CountLikelihood
from hrca.module._sparse_counts import SparseCounts


def scores_of(module, counts: torch.Tensor) -> RawScores:
    return BranchScorer(module)(SparseCounts.from_dense(counts))


def test_without_fitted_counts_the_scores_are_the_classifiers():
    counts = torch.poisson(torch.full((5, N_GENES), 3.0))
    for count_likelihood in (None, CountLikelihood(N_LABELS, N_GENES)):
        module = prediction_module()
        module.count_likelihood = count_likelihood
        found = scores_of(module, counts)
        torch.testing.assert_close(found.network, module.classify(counts).log_softmax(dim=1))
        assert found.log_likelihood is None
        assert torch.equal(found.depth, (counts * module.gene_mask).sum(dim=1, keepdim=True))


@pytest.mark.parametrize("n_batch", [2, 512])
@pytest.mark.parametrize("is_adapted", [False, True])
@pytest.mark.parametrize("deep", [[], [1, 4], range(6)], ids=["no deep cell", "some", "all"])
def test_deep_cells_are_classified_by_the_mean_of_thinned_draws(deep, is_adapted, n_batch, monkeypatch):
    monkeypatch.setattr(_branch_scorer, "NETWORK_BATCH_SIZE", n_batch)
    module = prediction_module()
    module.count_likelihood.fit_profiles(random_profiles(N_LABELS, N_GENES), np.ones(N_GENES), 120.0)
    module.is_adapted.fill_(is_adapted)
    counts = torch.poisson(torch.full((6, N_GENES), 2.0))
    counts[list(deep)] *= 20
    found, used = scores_of(module, counts), counts * module.gene_mask
    torch.testing.assert_close(found.log_likelihood, module.count_likelihood(used), rtol=1e-5, atol=1e-3)
    is_informative = module.count_likelihood.is_informative
    torch.testing.assert_close(found.depth, torch.stack([used.sum(dim=1), used @ is_informative], dim=1))
    for i, cell in enumerate(used):
        inputs = thinned_draws(cell[None], 120.0) if i in deep and not is_adapted else [cell[None]]
        expected = torch.stack([module.classify(x).log_softmax(dim=1)[0] for x in inputs]).mean(dim=0)
        torch.testing.assert_close(found.network[i], expected)


def test_the_likelihood_alone_is_that_of_both_branches():
    module, counts = prediction_module(), torch.poisson(torch.full((5, N_GENES), 3.0))
    depth, log_likelihood = BranchScorer(module).score_counts(SparseCounts.from_dense(counts))
    found = scores_of(module, counts)
    assert torch.equal(depth, found.depth)
    assert torch.equal(log_likelihood, found.log_likelihood)
