"""References in a MuData: as good as the AnnData that they hold."""

import anndata as ad
import mudata
import numpy as np
import pytest
from conftest import QUIET, TINY, synthetic

import hrca

pytestmark = pytest.mark.filterwarnings("ignore:.*pull_on_update:FutureWarning")


def as_mudata(adata: ad.AnnData, name: str = "rna") -> mudata.MuData:
    protein = ad.AnnData(np.ones((adata.n_obs, 2), dtype=np.float32), obs=adata.obs[[]].copy())
    return mudata.MuData({name: adata, "protein": protein})


def train(reference, setup, **kwargs) -> hrca.HRCA:
    setup(reference, labels_key="cell_type", **kwargs)
    model = hrca.HRCA(reference, **TINY)
    model.train(2, pretrain_epochs=2, **QUIET)
    return model


def probabilities(model, query) -> np.ndarray:
    return model.predict(query, soft=True, key_added=None).to_numpy()


def test_a_mudata_reference_trains_the_same_model(query):
    from_anndata = train(synthetic(100), hrca.HRCA.setup_anndata)
    import scvi

    scvi.settings.seed = 0
    from_mudata = train(as_mudata(synthetic(100)), hrca.HRCA.setup_mudata)
    assert from_mudata.model_id_ == from_anndata.model_id_
    np.testing.assert_array_equal(probabilities(from_mudata, query), probabilities(from_anndata, query))
    np.testing.assert_array_equal(probabilities(from_mudata, as_mudata(query)), probabilities(from_mudata, query))


def test_modalities_and_layer_are_named(query, tmp_path):
    reference = synthetic(100)
    reference.layers["counts"] = reference.X.copy()
    reference.X = np.log1p(reference.X)
    mdata = as_mudata(reference, "genes")
    mdata.obs["cell_type"] = reference.obs.pop("cell_type")
    model = train(mdata, hrca.HRCA.setup_mudata, rna_layer="counts", modalities={"rna_layer": "genes"})
    expected = model.predict(query, soft=True, key_added=None, layer="X")
    model.save(tmp_path / "model")
    loaded = hrca.HRCA.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(query, soft=True, key_added=None, layer="X"), expected)
    assert loaded.labels == model.labels


def test_a_mudata_that_was_saved_with_its_model_comes_back(query, tmp_path):
    model = train(as_mudata(synthetic(100)), hrca.HRCA.setup_mudata)
    model.save(tmp_path / "model", save_anndata=True)
    loaded = hrca.HRCA.load(tmp_path / "model")
    assert list(loaded.adata.mod) == ["rna", "protein"]
    np.testing.assert_array_equal(loaded.adata["rna"].X.toarray(), synthetic(100).X.toarray())
    np.testing.assert_array_equal(probabilities(loaded, query), probabilities(model, query))
    loaded.finetune(1, **QUIET)


def test_results_are_written_into_the_rna_modality(tiny_model, query):
    mdata = as_mudata(query)
    tiny_model.predict(mdata)
    assert {"hrca", "hrca_confidence"} <= set(mdata["rna"].obs)
    assert not list(mdata["protein"].obs)


def test_a_missing_modality_lists_those_that_are_there(tiny_model, query, reference):
    with pytest.raises(ValueError, match=r"modality 'rna', but it has \['genes', 'protein'\]"):
        tiny_model.predict(as_mudata(query, "genes"))
    with pytest.raises(ValueError, match="modality 'rna'"):
        hrca.HRCA.setup_mudata(as_mudata(reference, "genes"), labels_key="cell_type")


def test_bad_counts_in_a_modality_raise(reference):
    reference.X.data[0] = 0.5
    with pytest.raises(ValueError, match="raw counts"):
        hrca.HRCA.setup_mudata(as_mudata(reference), labels_key="cell_type")
