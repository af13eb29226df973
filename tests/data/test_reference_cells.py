import numpy as np

from hrca.data._reference_cells import ReferenceCells


def test_cells_without_a_label_are_not_labelled():
    reference = ReferenceCells(np.zeros((4, 2)), codes=np.array([2, 0, 1, 2]), n_labels=2)

    assert (reference.n_obs, reference.n_labelled) == (4, 2)
    np.testing.assert_array_equal(reference.labelled, [1, 2])


def test_a_reference_without_labels_has_no_labelled_cell():
    reference = ReferenceCells(np.zeros((3, 2)), codes=np.zeros(3, dtype=int), n_labels=0)

    assert reference.n_labelled == len(reference.labelled) == 0
