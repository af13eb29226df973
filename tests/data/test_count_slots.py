"""The slots of an AnnData, and the one that `layer` names."""

import anndata as ad
import numpy as np
import pytest

from hrca.data._count_slots import all_slots, find_slot, list_slots

COUNTS = np.array([[0, 3, 1], [0, 0, 0]])


def test_a_missing_layer_lists_those_that_are_there():
    adata = ad.AnnData(COUNTS.astype(np.float32), layers={"raw_counts": COUNTS})
    with pytest.raises(ValueError, match=r"got 'counts'; it has \['raw_counts'\]"):
        find_slot(adata, "counts")
    assert find_slot(adata, "raw_counts").matrix(adata).sum() == 4


def test_an_empty_x_raises():
    adata = ad.AnnData(obs={"a": [1, 2]}, layers={})
    with pytest.raises(ValueError, match="it is empty"):
        find_slot(adata, None)


def test_slots_are_x_then_layers_then_raw():
    adata = ad.AnnData(COUNTS.astype(np.float32), layers={"a": COUNTS})
    assert [str(slot) for slot in all_slots(adata)] == ["`adata.X`", "`adata.layers['a']`"]
    with pytest.raises(ValueError, match="got 'raw'"):
        find_slot(adata, "raw")
    adata.raw = adata[:, :2].copy()
    assert str(all_slots(adata)[-1]) == "`adata.raw`"
    raw = find_slot(adata, "raw")
    assert (raw.matrix(adata).shape[1], len(raw.var(adata))) == (2, 2)
    # a layer of that name comes before X itself
    adata.layers["X"] = COUNTS + 1
    assert find_slot(adata, "X").matrix(adata).min() == 1
    assert find_slot(adata, None).matrix(adata).min() == 0


def test_one_slot_is_read_if_it_is_named():
    adata = ad.AnnData(COUNTS.astype(np.float32), layers={"a": COUNTS})
    adata.raw = adata
    assert [str(slot) for slot in list_slots(adata, "a")] == ["`adata.layers['a']`"]
    assert list_slots(adata, None) == all_slots(adata)
    assert list_slots(adata, None, with_raw=False) == all_slots(adata)
    assert [slot.owner for slot in all_slots(adata)] == ["adata", "adata", "adata.raw"]


def test_raw_cannot_be_named_for_a_reference():
    adata = ad.AnnData(COUNTS.astype(np.float32))
    adata.raw = adata
    assert [slot.place for slot in list_slots(adata, "raw")] == ["raw"]
    with pytest.raises(ValueError, match=r"`adata.raw` was named, but cannot be registered.*adata.raw.to_adata\(\)"):
        list_slots(adata, "raw", with_raw=False)
