"""Training and validation cells."""

import numpy as np
import pytest
import torch
from conftest import QUIET, TINY, synthetic
from scipy import sparse

import hrca
from hrca.module._module import HRCAModule
from hrca.module._sparse_counts import SparseCounts
from hrca.train._splitting import Split, split_cells, stratified_split

CODES = np.repeat([0, 1, 2, 3, 4, 5], [400, 100, 20, 1, 2, 3])


@pytest.mark.parametrize("train_size", [0.9, 0.5, 0.25])
def test_each_label_is_divided_alike_and_has_a_training_cell(train_size):
    train, validation = stratified_split(CODES, train_size, seed=0)
    assert sorted([*train, *validation]) == list(range(len(CODES)))
    for label in range(6):
        n_cells, n_train = (CODES == label).sum(), (CODES[train] == label).sum()
        assert n_train >= 1
        assert abs(n_train - train_size * n_cells) <= 1


def test_a_train_size_of_one_holds_nothing_out():
    train, validation = stratified_split(CODES, 1.0, seed=0)
    assert (len(train), len(validation)) == (len(CODES), 0)


def test_the_draw_follows_the_seed():
    first, again, other = (stratified_split(CODES, 0.5, seed=seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_earlier_split_is_kept():
    first = split_cells(None, CODES, "digest", train_size=0.9, seed=0)
    assert split_cells(first, CODES, "digest", train_size=0.9, seed=1) is first
    with pytest.raises(ValueError, match=r"train_size=0.9.*train_size=0.5"):
        split_cells(first, CODES, "digest", train_size=0.5, seed=0)


@pytest.mark.parametrize("train_size", [0, -0.1, 1.1])
def test_a_train_size_out_of_range_raises(train_size):
    with pytest.raises(ValueError, match=f"above 0 and at most 1, got {train_size}"):
        split_cells(None, CODES, "digest", train_size=train_size, seed=0)


def test_dropped_cells_are_in_neither_part():
    split = Split(0.9, np.array([0, 1, 2, 5]), np.array([3, 4]), "digest")
    dropped = split.drop_cells(np.array([1, 3]), keep_validation=True)
    assert (dropped.train.tolist(), dropped.validation.tolist()) == ([0, 2, 5], [4])
    all_train = split.drop_cells(np.array([1, 3]), keep_validation=False)
    assert (all_train.train.tolist(), all_train.validation.tolist()) == ([0, 2, 4, 5], [])
    assert all_train.train_size == 0.9


def test_a_split_survives_its_plain_form():
    split = Split(0.9, np.array([0, 1]), np.array([2]), "digest")
    again = Split.from_dict(split.to_dict())
    assert (again.train_size, again.train.tolist(), again.validation.tolist()) == (0.9, [0, 1], [2])
    assert again.reference_digest == "digest"


def test_the_split_of_another_reference_is_drawn_anew():
    first = split_cells(None, CODES, "first", train_size=0.9, seed=0)
    more = np.concatenate([CODES, CODES])
    with pytest.warns(UserWarning, match="not the one that the model was trained on"):
        second = split_cells(first, more, "second", train_size=0.5, seed=0)
    assert (len(second.train), second.train_size, second.reference_digest) == (len(more) // 2, 0.5, "second")


def test_validation_cells_are_a_part_of_each_labels_rest():
    split = split_cells(None, CODES, "digest", train_size=0.5, seed=0, validation_size=0.2)
    whole = split_cells(None, CODES, "digest", train_size=0.5, seed=0)
    np.testing.assert_array_equal(split.train, whole.train)
    assert set(split.validation) < set(whole.validation)
    for label in range(3):
        n_cells = (CODES == label).sum()
        assert abs((CODES[split.validation] == label).sum() - 0.2 * n_cells) <= 1
    assert split_cells(split, CODES, "digest", train_size=0.5, seed=1, validation_size=0.2) is split


@pytest.mark.parametrize("validation_size", [-0.1, 0.6, 2])
def test_a_validation_size_out_of_range_raises(validation_size):
    with pytest.raises(ValueError, match=f"from 0 to 1 - `train_size`, got {validation_size}"):
        split_cells(None, CODES, "digest", train_size=0.5, seed=0, validation_size=validation_size)


def test_the_rest_of_a_decimal_fraction_is_a_validation_size():
    split = split_cells(None, CODES, "digest", train_size=0.9, seed=0, validation_size=0.1)
    whole = split_cells(None, CODES, "digest", train_size=0.9, seed=0)
    np.testing.assert_array_equal(split.validation, whole.validation)


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csr_array, np.asarray])
@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_batches_are_sparse_below_a_fraction_of_entries(container, fraction, monkeypatch):
    adata, inference, seen = synthetic(100), HRCAModule.inference, []
    is_kept = np.random.default_rng(0).random(adata.shape) < fraction / (adata.X.nnz / np.prod(adata.shape))
    counts = adata.X.toarray() * is_kept if fraction < 0.3 else adata.X.toarray() + is_kept
    adata.X = container(counts.astype(np.float32))

    def recorded(module, counts, *args, **kwargs):
        outputs = inference(module, counts, *args, **kwargs)
        seen.append((counts, outputs["x_norm"]))
        return outputs

    monkeypatch.setattr(HRCAModule, "inference", recorded)
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    model = hrca.HRCA(adata, **TINY)
    model.pretrain(1, batch_size=32, **QUIET)
    assert all(isinstance(batch, SparseCounts if fraction < 0.3 else torch.Tensor) for batch, _ in seen)
    # each cell of the reference is normalised in one batch of training or validation
    normalized = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    found = torch.cat([x_norm for _, x_norm in seen]).numpy()
    np.testing.assert_allclose(np.sort(found.sum(axis=1)), np.sort(normalized.sum(axis=1)), rtol=1e-5)
