"""The plain model of the speed benchmark computes what HRCA computes."""

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

import hrca
from benchmarks.cost.published_style import BATCH_SIZE, CellDataset, PublishedStyle, training_steps
from benchmarks.cost.workload import labelled_cells, random_counts
from hrca.train._trainingplans import FinetunePlan, PretrainPlan

N_GENES, N_LABELS = 90, 6
SIZES = {
    "n_hidden": 32,
    "n_latent": 24,
    "n_heads": 4,
    "n_layers": 2,
    "n_feedforward": 16,
    "classifier_widths": (12, 8),
}


@pytest.fixture
def cells():
    counts = random_counts(40, N_GENES, 0.2).tolil()
    counts[3] = 0
    return labelled_cells(counts.tocsr(), N_LABELS)


@pytest.fixture
def module(cells):
    # HRCA refuses empty cells in a reference
    reference = cells[np.arange(40) != 3].copy()
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    module = hrca.HRCA(reference, **SIZES).module
    for layer in module.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return module


def _plain(module) -> PublishedStyle:
    plain = PublishedStyle(N_GENES, N_LABELS, SIZES)
    plain.load(module.state_dict())
    for layer in plain.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return plain


def _hrca_loss(module, counts, codes, plan, corruption) -> torch.Tensor:
    batch = {"X": counts, "labels": codes[:, None]}
    options = {"inference_kwargs": {"corruption": corruption}, "loss_kwargs": plan.loss_weights}
    return module(batch, generative_kwargs={"classify": plan.classify}, **options)[2].loss


@pytest.mark.parametrize("mask_rate", [0.0, 0.7])
@pytest.mark.parametrize("plan", [PretrainPlan, FinetunePlan])
def test_losses_are_those_of_hrca_step_by_step(cells, module, plan, mask_rate):
    plain = _plain(module)
    codes = np.arange(40) % N_LABELS
    counts = torch.from_numpy(cells.X.toarray())
    dataset = CellDataset(cells, codes, mask_rate)
    plain_loss = plain.finetuning_loss if plan.classify else plain.reconstruction_loss
    adams = [torch.optim.Adam(model.parameters(), lr=1e-3) for model in (module, plain)]
    losses = []
    for step in range(3):
        torch.manual_seed(step)
        batch = tuple(map(torch.stack, zip(*[dataset[i] for i in range(40)], strict=True)))
        torch.manual_seed(step)
        corruption = "mask" if mask_rate else "none"
        pair = [_hrca_loss(module, counts, torch.from_numpy(codes), plan, corruption), plain_loss(batch)]
        for loss, adam in zip(pair, adams, strict=True):
            adam.zero_grad()
            loss.backward()
            adam.step()
        losses.append([loss.item() for loss in pair])
    assert np.ptp(losses, axis=0).min() > 1e-3
    np.testing.assert_allclose(*np.transpose(losses), atol=1e-4, rtol=0)


def test_predictions_are_those_of_hrca(cells, module):
    module.eval()
    with torch.no_grad():
        expected = module.classify(torch.from_numpy(cells.X.toarray())).softmax(dim=1).numpy()
    probabilities = _plain(module).predict(cells)
    assert np.ptp(probabilities, axis=0).min() > 1e-2
    np.testing.assert_allclose(probabilities, expected, atol=1e-4, rtol=0)


def test_an_epoch_trains_the_networks_of_its_phase(cells):
    torch.manual_seed(0)
    adata = labelled_cells(sparse.vstack([cells.X] * 8).tocsr(), N_LABELS)
    plain = PublishedStyle(N_GENES, N_LABELS, SIZES)
    dataset = CellDataset(adata, np.arange(adata.n_obs) % N_LABELS, 0.7)
    before = plain.se_classifier.output.weight.detach().clone()
    assert len(list(training_steps(plain, "pretrain", dataset))) == adata.n_obs // BATCH_SIZE == 2
    assert torch.equal(plain.se_classifier.output.weight, before)
    list(training_steps(plain, "finetune", dataset))
    assert not torch.equal(plain.se_classifier.output.weight, before)
