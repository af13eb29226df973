"""Prediction: the same answer whatever the query's container, order or company; what is written; what raises."""

import anndata as ad
import mudata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata.experimental import AnnCollection
from conftest import QUIET, TINY, synthetic
from scipy import sparse
from sklearn import metrics as sk

import hrca


def soft(model, adata, **kwargs) -> np.ndarray:
    return model.predict(adata, soft=True, key_added=None, **kwargs).to_numpy()


def shuffled_genes(query, tmp_path):
    return query[:, np.random.default_rng(3).permutation(query.n_vars)].copy()


def extra_genes(query, tmp_path):
    extra = ad.AnnData(
        sparse.csr_matrix(np.full((query.n_obs, 4), 9, dtype=np.float32)),
        obs=query.obs.copy(),
        var=pd.DataFrame(index=[f"other{i}" for i in range(4)]),
    )
    return ad.concat([query, extra], axis=1, merge="same")


def in_container(container):
    def make(query, tmp_path):
        query.X = container(query.X.toarray())
        return query

    return make


def backed(container):
    def make(query, tmp_path):
        query.X = container(query.X.toarray())
        query.write_h5ad(tmp_path / "query.h5ad")
        return ad.read_h5ad(tmp_path / "query.h5ad", backed="r")

    return make


def view(query, tmp_path):
    twice = ad.concat([query, query], index_unique="-")
    twice.var = query.var.copy()
    return twice[: query.n_obs]


def backed_view(query, tmp_path):
    twice = view(query, tmp_path)
    return backed(sparse.csr_matrix)(twice._adata_ref.copy(), tmp_path)[: query.n_obs]


def layer(query, tmp_path):
    query.layers["counts"] = query.X.copy()
    query.X = np.log1p(query.X)
    return query


def integers(query, tmp_path):
    query.X = query.X.astype(np.int64)
    return query


def in_mudata(query, tmp_path):
    protein = ad.AnnData(np.ones((query.n_obs, 2), dtype=np.float32), obs=query.obs.copy())
    return mudata.MuData({"rna": query, "protein": protein})


FORMS = {
    "shuffled genes": shuffled_genes,
    "extra genes": extra_genes,
    "csr_array": in_container(sparse.csr_array),
    "csc_matrix": in_container(sparse.csc_matrix),
    "csc_array": in_container(sparse.csc_array),
    "dense": in_container(np.asarray),
    "backed csr": backed(sparse.csr_matrix),
    "backed csc": backed(sparse.csc_matrix),
    "backed dense": backed(np.asarray),
    "view": view,
    "backed view": backed_view,
    "integers": integers,
    "mudata": in_mudata,
}


@pytest.mark.filterwarnings("ignore:.*pull_on_update:FutureWarning")
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_query_gives_the_same(tiny_model, query, form, tmp_path):
    expected = soft(tiny_model, query.copy())
    np.testing.assert_array_equal(soft(tiny_model, FORMS[form](query, tmp_path)), expected)


def test_a_layer_is_the_query_when_it_is_named(tiny_model, query):
    expected = soft(tiny_model, query.copy())
    np.testing.assert_array_equal(soft(tiny_model, layer(query, None), layer="counts"), expected)


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_batches_do_not_matter(tiny_model, query, batch_size):
    np.testing.assert_allclose(soft(tiny_model, query, batch_size=batch_size), soft(tiny_model, query), atol=1e-6)


def test_cells_come_out_in_their_order(tiny_model, query):
    order = np.random.default_rng(4).permutation(query.n_obs)
    expected = soft(tiny_model, query)[order]
    np.testing.assert_allclose(soft(tiny_model, query[order].copy()), expected, atol=1e-6)


def test_a_gene_subset_is_normalised_over_the_genes_that_are_there(tiny_networks, query):
    panel = query[:, query.var_names[:40]].copy()
    padded = query.copy()
    outside = ~padded.var_names.isin(panel.var_names)
    padded.X = padded.X.multiply(~outside).tocsr()
    with pytest.warns(UserWarning, match="only 60% of the information"):
        of_panel = soft(tiny_networks, panel)
    np.testing.assert_allclose(of_panel, soft(tiny_networks, padded), atol=1e-6)


def test_probabilities_are_the_networks_on_an_aligned_matrix(tiny_networks, query):
    # the oracle: pandas aligns, scanpy's formula normalises, one forward without batches
    import torch

    frame = pd.DataFrame(query.X.toarray(), columns=query.var_names).reindex(
        columns=tiny_networks.gene_names, fill_value=0
    )
    total = frame.sum(axis=1).replace(0, 1)
    x_norm = torch.from_numpy(np.log1p(frame.div(total, axis=0) * 1e4).to_numpy(dtype=np.float32))
    with torch.no_grad():
        z = tiny_networks.module.gene_ae.encode(x_norm)
        probabilities = tiny_networks.module.se_classifier(z).softmax(dim=1).numpy()
        x_hat = tiny_networks.module.gene_ae.decode(z).numpy()
    probabilities[5] = 0  # the empty cell
    np.testing.assert_allclose(soft(tiny_networks, query), probabilities, atol=1e-5)
    np.testing.assert_allclose(tiny_networks.get_latent_representation(query), z.numpy(), atol=1e-4)
    expression = tiny_networks.get_reconstruction(query, gene_list=["gene7", "gene50"])
    assert list(expression.columns) == ["gene7", "gene50"]
    np.testing.assert_allclose(expression.to_numpy(), x_hat[:, [7, 50]], atol=1e-4)
    assert tiny_networks.get_reconstruction(query).shape == (37, 60)


def test_what_is_written(tiny_model, query):
    x, var = query.X.copy(), query.var.copy()
    labels = tiny_model.predict(query)
    assert list(query.obs.columns) == ["hrca", "hrca_confidence", "hrca_novelty", "hrca_novel_probability"]
    assert query.obs["hrca_novel_probability"].isna().all()  # the query is too small
    assert list(query.obsm) == ["hrca_probabilities"]
    assert list(query.uns) == ["hrca"]
    assert not list(query.layers) or list(query.layers) == [None]
    assert (query.X != x).nnz == 0
    pd.testing.assert_frame_equal(query.var, var)

    probabilities = query.obsm["hrca_probabilities"]
    assert probabilities.shape == (37, 3)
    assert (probabilities.dtypes == np.float32).all()
    assert query.obs["hrca_confidence"].dtype == np.float32
    assert list(labels.categories) == [*tiny_model.labels, "Unknown"]
    np.testing.assert_array_equal(query.obs["hrca"], labels)
    np.testing.assert_array_equal(query.obs["hrca_confidence"], probabilities.max(axis=1))
    judged = np.arange(37) != 5
    most_likely_labels = probabilities.columns[probabilities.to_numpy().argmax(axis=1)]
    np.testing.assert_array_equal(labels[judged], most_likely_labels[judged])
    np.testing.assert_allclose(probabilities.sum(axis=1)[judged], 1, rtol=1e-5)
    uns = query.uns["hrca"]
    assert (uns["n_genes"], uns["n_shared_genes"]) == (60, 45)
    assert uns["model_id"] == tiny_model.model_id_
    assert uns["hrca_version"] == hrca.__version__


def test_a_cell_without_counts_on_shared_genes_is_unknown_with_no_confidence(tiny_model, query):
    tiny_model.predict(query, key_added="label")
    assert query.obs["label"].iloc[5] == "Unknown"
    assert query.obs["label_confidence"].iloc[5] == 0
    assert (query.obs["label"] == "Unknown").sum() == 1


def test_key_added_none_writes_nothing(tiny_model, query):
    before = query.copy()
    labels = tiny_model.predict(query, key_added=None)
    assert isinstance(labels, pd.Categorical)
    assert len(labels) == query.n_obs
    assert query.obs.columns.equals(before.obs.columns)
    assert not query.uns
    assert not query.obsm


def test_a_view_becomes_actual_and_its_parent_stays(tiny_model, query):
    part = query[:10]
    tiny_model.predict(part)
    assert not part.is_view
    assert "hrca" in part.obs
    assert "hrca" not in query.obs


def test_a_view_of_a_backed_query_raises_before_any_work(tiny_model, query, tmp_path, monkeypatch):
    part = backed_view(query, tmp_path)
    whole = AnnCollection([part, query])
    in_memory = part.to_memory()
    tiny_model.predict(in_memory)
    assert "hrca" in in_memory.obs
    monkeypatch.setattr("hrca.prediction._probabilities.BranchScorer", lambda *_: pytest.fail("work had started"))
    for source in (part, whole):
        with pytest.raises(ValueError, match=r"view of a backed AnnData. `adata = adata.to_memory\(\)`"):
            tiny_model.predict(source)


def test_nothing_of_scvi_is_left_on_a_query_or_held(tiny_model, query):
    stores = [len(tiny_model._setup_adata_manager_store), len(tiny_model._per_instance_manager_store[tiny_model.id])]
    tiny_model.predict(query)
    tiny_model.get_latent_representation(query)
    assert not [name for name in [*query.obs, *query.uns] if "scvi" in name]
    assert stores == [
        len(tiny_model._setup_adata_manager_store),
        len(tiny_model._per_instance_manager_store[tiny_model.id]),
    ]


def test_an_annotated_query_survives_a_file(reference, query, tmp_path):
    reference.obs["cell_type"] = reference.obs["cell_type"].str.replace("type ", "CD4+/type ")
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY)
    model.train(1, pretrain_epochs=1, **QUIET)
    model.predict(query)
    query.write_h5ad(tmp_path / "annotated.h5ad")
    read = ad.read_h5ad(tmp_path / "annotated.h5ad")
    assert list(read.obsm["hrca_probabilities"].columns) == ["CD4+|type 0", "CD4+|type 1", "CD4+|type 2"]
    assert list(read.uns["hrca"]["labels"]) == model.labels
    assert read.obs["hrca"].isin([*model.labels, "Unknown"]).all()
    np.testing.assert_array_equal(read.obsm["hrca_probabilities"], query.obsm["hrca_probabilities"])


@pytest.mark.parametrize("n_obs", [0, 1])
def test_no_cell_and_one_cell(tiny_model, query, n_obs):
    few = query[:n_obs].copy()
    assert len(tiny_model.predict(few)) == n_obs
    assert few.obsm["hrca_probabilities"].shape == (n_obs, 3)
    assert tiny_model.get_latent_representation(few).shape == (n_obs, 16)


def test_without_a_query_the_reference_is_predicted(reference):
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY)
    model.train(1, pretrain_epochs=1, **QUIET)
    assert len(model.predict()) == 100
    assert "hrca" in reference.obs


def test_the_answers_are_right_on_easy_cells(tiny_model):
    easy = synthetic(90, seed=5)
    assert tiny_model.evaluate(easy, "cell_type")["accuracy"] > 0.95


def test_evaluate_equals_scikit_learn_and_counts_what_it_leaves_out(tiny_model, query):
    cells = synthetic(60, seed=6)
    known = cells.obs["cell_type"].astype(object)
    known.iloc[:5] = "type 9"
    known.iloc[5:8] = "Unknown"
    known.iloc[8:10] = None
    cells.obs["known"] = known.astype("category")
    scores = tiny_model.evaluate(cells, "known")
    predicted = np.asarray(tiny_model.predict(cells, key_added=None))[10:]
    assert scores["n_obs"] == 50
    assert scores["n_unseen"] == 5
    assert scores["accuracy"] == sk.accuracy_score(known.iloc[10:].astype(str), predicted)
    assert scores["macro_f1"] == sk.f1_score(known.iloc[10:].astype(str), predicted, average="macro")
    answers = known.iloc[10:].astype(str), predicted, soft(tiny_model, cells)[10:].max(axis=1)
    assert scores["calibration_error"] == hrca.metrics.calibration_error(*answers)
    assert scores["risk_coverage_area"] == hrca.metrics.risk_coverage_area(*answers)
    assert "hrca" not in cells.obs


def test_many_unseen_cells_are_not_passed_over(tiny_model):
    cells = synthetic(60, seed=6)
    cells.obs.loc[cells.obs["cell_type"] == "type 0", "cell_type"] = "T cell"
    with pytest.warns(UserWarning, match=r"20 of 60 labelled cells are not scored.*\['T cell'\]") as record:
        scores = tiny_model.evaluate(cells, "cell_type")
    assert record[0].filename == __file__
    assert scores["n_unseen"] == 20


@pytest.mark.parametrize(
    ("column", "words"),
    [("nothing", r"got 'nothing'; it has \['cell_type', 'other'\]"), ("other", r"\['x'\].*the model \['type 0'")],
)
def test_evaluate_raises_for_labels_it_cannot_compare(tiny_model, column, words):
    cells = synthetic(6)
    cells.obs["other"] = "x"
    with pytest.raises(ValueError, match=words):
        tiny_model.evaluate(cells, column)


def break_query(query, case):
    if case == "log":
        query.X = np.log1p(query.X)
    elif case == "negative":
        query.X.data[3] = -1
    elif case == "NaN":
        query.X.data[3] = np.nan
    elif case == "duplicated genes":
        query.var_names = ["gene1", "gene1", *query.var_names[2:]]
    elif case == "no shared genes":
        query.var_names = "ENSMUSG" + query.var_names
    return query


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("log", "log1p of counts"),
        ("negative", "negative values such as -1"),
        ("NaN", "holds NaN"),
        ("duplicated genes", "duplicated"),
        ("no shared genes", r"it has 0 of its 60 genes.*ENSMUSG.*'gene0', 'gene1', 'gene2'"),
    ],
)
def test_a_bad_query_raises_before_any_work_and_is_left_alone(tiny_model, query, case, words, monkeypatch):
    query = break_query(query, case)
    before = query.copy()
    monkeypatch.setattr(type(tiny_model.module), "classify", lambda *_: pytest.fail("work had started"))
    with pytest.raises(ValueError, match=words):
        tiny_model.predict(query)
    assert query.obs.columns.equals(before.obs.columns)
    np.testing.assert_array_equal(query.X.toarray(), before.X.toarray())


def test_a_missing_layer_raises(tiny_model, query):
    with pytest.raises(ValueError, match="got 'counts'"):
        tiny_model.predict(query, layer="counts")


def test_unknown_genes_raise(tiny_model, query):
    with pytest.raises(ValueError, match=r"lacks \['no gene'\]"):
        tiny_model.get_reconstruction(query, gene_list=["gene1", "no gene"])
    for method in (tiny_model.get_reconstruction, tiny_model.get_normalized_expression):
        with pytest.raises(TypeError, match=r"must be a list of genes, got 'gene1': `gene_list=\['gene1'\]`"):
            method(query, gene_list="gene1")


def test_a_batch_of_nothing_raises(tiny_model, query):
    with pytest.raises(ValueError, match="`batch_size` must be at least 1, got 0"):
        tiny_model.predict(query, batch_size=0)
    for arguments, words in (
        ({"batch_size": 1.5}, "`batch_size` must be a whole number or None, got 1.5"),
        ({"coverage": "0.9"}, "`coverage` must be a number or None, got '0.9'. A usual value is 0.9"),
        ({"min_confidence": None}, "`min_confidence` must be a number, got None"),
    ):
        with pytest.raises(TypeError, match=words):
            tiny_model.predict(query, **arguments)
    with pytest.raises(TypeError, match=r"`labels_key` must be the name of one column.*: `labels_key='cell_type'`"):
        tiny_model.evaluate(synthetic(20), ["cell_type"])


@pytest.mark.parametrize("method", ["predict", "get_latent_representation", "get_reconstruction"])
def test_a_model_that_is_not_trained_raises(reference, query, method):
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY)
    with pytest.raises(ValueError, match=r"trained.*model.train\(\)"):
        getattr(model, method)(query)
    with pytest.raises(ValueError, match="trained"):
        model.evaluate(reference, "cell_type")


def test_the_layer_of_the_setup_is_the_querys_default(reference, query):
    reference.layers["counts"] = reference.X.copy()
    reference.X = np.log1p(reference.X)
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type", layer="counts")
    model = hrca.HRCA(reference, **TINY)
    model.train(1, pretrain_epochs=1, **QUIET)
    expected = soft(model, query, layer="X")
    np.testing.assert_array_equal(soft(model, query), expected)
    np.testing.assert_array_equal(soft(model, layer(query, None)), expected)


def test_a_query_as_odd_as_a_reference_whose_x_was_named_is_taken(reference, query):
    reference.X.data[:] = 1
    query.X.data[:] = 1
    query = query[query.obs_names != "cell5"].copy()
    query = ad.concat([query, query], index_unique="-")
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type", layer="X")
    model = hrca.HRCA(reference, **TINY)
    model.train(1, pretrain_epochs=1, query=query, **QUIET)
    np.testing.assert_array_equal(soft(model, query), soft(model, query, layer="X"))
    assert len(model.predict()) == 100
    model.adapt(query, select=False, max_steps=1, batch_size=4, **QUIET)


def test_scanpy_compares_the_labels_that_cells_have(tiny_model):
    cells = synthetic(200, seed=3)
    few = cells[cells.obs["cell_type"].isin(["type 0", "type 1"])].copy()
    tiny_model.predict(few, enable_progress_bar=False)
    labels = few.obs["hrca"]
    assert list(labels.cat.categories) == [name for name in tiny_model.labels if (labels == name).any()]
    few = few[labels.isin(labels.value_counts().index[:2])].copy()
    sc.pp.log1p(few)
    sc.tl.rank_genes_groups(few, "hrca")
    assert list(few.uns["rank_genes_groups"]["names"].dtype.names) == list(few.obs["hrca"].cat.categories)
