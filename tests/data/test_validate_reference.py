"""References that cannot be learned from, and the errors that they get."""

import re

import anndata as ad
import dask.array as dask_array
import numpy as np
import pandas as pd
import pytest
from conftest import TINY, synthetic
from mudata import MuData
from scipy import sparse

import hrca
from hrca.data._row_reader import MAX_SAMPLED_CELLS, _sampled_blocks

setup = hrca.HRCA.setup_anndata


def labelled(values) -> ad.AnnData:
    adata = synthetic(len(values))
    adata.obs["cell_type"] = values
    return adata


@pytest.mark.parametrize(
    ("values", "words"),
    [
        pytest.param(["a", None, "b"] * 3, "is missing or empty for 3 of 9 cells.*fillna", id="NaN"),
        pytest.param(["a", " ", "b"] * 3, "is missing or empty for 3 of 9 cells", id="empty"),
        pytest.param(["a"] * 9, r"at least two labels.*\['a'\]", id="one label"),
        pytest.param(["a", "Unknown", "a"] * 3, "at least two labels", id="one label beside the unlabelled"),
        pytest.param(["a", "b", 3] * 3, r"Labels must be strings.*such as 3\.", id="an integer among strings"),
        pytest.param([1, 2, 3] * 3, r"Labels must be strings.*astype\(str\)", id="integers"),
        pytest.param(
            pd.Categorical(["a", "b", "a"] * 3, categories=["a", "b", "c"]),
            r"none of \['c'\].*remove_unused",
            id="unused",
        ),
        *(
            pytest.param(["a", word, "b"] * 3, f"holds .'{word}'.*unlabeled_category='{word}'", id=word)
            for word in ("nan", "NaN", "None", "NA", "<NA>", "unknown", "Unassigned", "unlabeled", "Not_assigned")
        ),
        pytest.param(["a", "nan", "NA", "b"] * 3, r"replace\(\['nan', 'NA'\], 'Unknown'\)", id="two words"),
    ],
)
def test_labels_that_cannot_be_learned(values, words):
    with pytest.raises(ValueError, match=words):
        setup(labelled(values), labels_key="cell_type")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"labels_key": ["cell_type"]}, r"`labels_key` must be the name of one column.*: `labels_key='cell_type'`"),
        ({"labels_key": 3}, "`labels_key` must be the name of one column, a string, got 3"),
        ({"unlabeled_category": None}, "`unlabeled_category` must be a string, got None.*default is 'Unknown'"),
        ({"unlabeled_category": np.nan}, "`unlabeled_category` must be a string, got nan"),
    ],
)
@pytest.mark.parametrize("values", [["a", "b"] * 3, ["a", None, "b"] * 3])
def test_names_that_are_no_strings_raise(arguments, words, values):
    with pytest.raises(TypeError, match=words):
        setup(labelled(values), **{"labels_key": "cell_type", **arguments})


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_label_of_cells_without_a_label_raises(name):
    with pytest.raises(ValueError, match=f"`unlabeled_category` must not be empty, got '{name}'.*default is 'Unknown'"):
        setup(labelled(["a", "b"] * 3), labels_key="cell_type", unlabeled_category=name)


def test_names_of_cells_are_no_labels():
    adata = synthetic(150)
    adata.obs["cell_type"] = adata.obs_names
    with pytest.raises(
        ValueError, match=r"150 of the 150 labels of .* have one cell each, such as 'cell\d+'.*names of"
    ):
        setup(adata, labels_key="cell_type")


def test_labels_with_few_cells_are_named_once():
    adata = labelled(["a"] * 5 + ["b"] * 5 + ["c", "d", "d"])
    with pytest.warns(UserWarning, match=r"at least 3 cells.* has fewer of 'd' \(2\), 'c' \(1\)\. Give") as record:
        setup(adata, labels_key="cell_type")
    assert len(record) == 1
    assert record[0].filename == __file__


@pytest.mark.parametrize(("one", "other"), [("CD34+", "CD34+ "), ("CD34+", "cd34+"), ("T cell", "T  Cell")])
def test_labels_that_differ_by_case_or_blanks_are_warned_of(one, other):
    adata = labelled([one, other, "NK"] * 4)
    with pytest.warns(UserWarning, match="2 labels of .* differ from another only by case or blanks") as record:
        setup(adata, labels_key="cell_type")
    assert hrca.HRCA(adata, **TINY).labels == sorted([one, other, "NK"])
    (remedy,) = re.findall(r"`(adata\.obs\['cell_type'\] = .*?)`\.", str(record[0].message))
    exec(remedy, {"adata": adata})
    setup(adata, labels_key="cell_type")
    assert len(hrca.HRCA(adata, **TINY).labels) == 2


def test_the_way_out_of_words_for_no_label_works():
    adata = labelled(["a", "nan", "b", "c"] * 3)
    setup(adata, labels_key="cell_type", unlabeled_category="nan")
    assert set(hrca.HRCA(adata, **TINY).labels) == {"a", "b", "c"}
    adata = labelled(["a", "nan", "NA", "b"] * 3)
    adata.obs["cell_type"] = adata.obs["cell_type"].astype(object).replace(["nan", "NA"], "Unknown")
    setup(adata, labels_key="cell_type")
    assert set(hrca.HRCA(adata, **TINY).labels) == {"a", "b"}


@pytest.mark.parametrize("values", [["a", "  ", "b"] * 30, ["a", None, "b"] * 30, ["a", 3, "b"] * 30])
def test_the_way_out_of_an_error_leads_out(values):
    adata = labelled(pd.Series(values, dtype=object).to_numpy())
    with pytest.raises(ValueError) as error:
        setup(adata, labels_key="cell_type")
    (remedy,) = re.findall(r"`(adata\.obs\['cell_type'\] = .*?)`[. ]", str(error.value))
    exec(remedy, {"adata": adata})
    setup(adata, labels_key="cell_type")
    assert set(adata.obs["cell_type"]) in ({"a", "b", "Unknown"}, {"a", "b", "3"})


def test_a_column_that_is_there_twice(reference):
    reference._obs = pd.concat([reference.obs, reference.obs], axis=1)
    with pytest.raises(ValueError, match="`adata.obs` has 2 columns 'cell_type'") as error:
        setup(reference, labels_key="cell_type")
    (remedy,) = re.findall(r"`(adata\.obs = .*?)`", str(error.value))
    exec(remedy, {"adata": reference})
    setup(reference, labels_key="cell_type")


@pytest.mark.parametrize("first", ["0", "V1"])
def test_positions_raise_and_the_column_with_names_is_named(reference, first):
    reference.var["chromosome"], reference.var["features"] = "chr1", reference.var_names.to_numpy()
    names = [f"{first[:-1]}{int(first[-1]) + i}" for i in range(reference.n_vars)]
    reference.var_names = names
    words = rf"`adata.var_names` has positions: \['{first}'.*`adata.var\['features'\]` has names"
    for check in (lambda: setup(reference, labels_key="cell_type"), lambda: hrca.pp.check(reference)):
        with pytest.raises(ValueError, match=words) as error:
            check()
    (remedy,) = re.findall(r"`(adata\.var_names = .*?)`", str(error.value))
    exec(remedy, {"adata": reference})
    setup(reference, labels_key="cell_type")


def test_transcripts_raise(reference):
    reference.var_names = [f"ENST{i:011}" for i in range(reference.n_vars)]
    with pytest.raises(ValueError, match=r"Ensembl transcript ids \(human\).*Sum them by gene"):
        setup(reference, labels_key="cell_type")


@pytest.mark.parametrize(
    "convert",
    [
        pytest.param(lambda x: x.toarray().astype(object), id="objects"),
        pytest.param(lambda x: x.toarray().astype(str), id="text"),
        pytest.param(lambda x: x.toarray().astype(np.float16), id="half precision"),
        pytest.param(lambda x: x.toarray().astype(">i2"), id="byte order, dense"),
        pytest.param(
            lambda x: sparse.csr_matrix((x.data.astype(">f4"), x.indices, x.indptr), x.shape), id="byte order, sparse"
        ),
        pytest.param(lambda x: np.ma.array(x.toarray()), id="masked"),
    ],
)
def test_values_that_training_cannot_read_raise_with_a_way_out(reference, convert):
    counts = reference.X.toarray()
    reference.X = convert(reference.X)
    with pytest.raises(ValueError, match="`adata.X`") as error:
        setup(reference, labels_key="cell_type")
    (remedy,) = re.findall(r"`(adata\.X = .*?)`", str(error.value))
    exec(remedy, {"adata": reference, "np": np})
    setup(reference, labels_key="cell_type")
    x = reference.X
    np.testing.assert_array_equal(x.toarray() if sparse.issparse(x) else x, counts)


@pytest.mark.filterwarnings("ignore:.*pull_on_update:FutureWarning")
def test_a_reference_that_is_read_lazily_or_of_another_type(reference, tmp_path):
    path = tmp_path / "reference.h5ad"
    reference.write_h5ad(path)
    with pytest.raises(ValueError, match=r"must not be a view.*`adata = adata.copy\(\)`"):
        hrca.HRCA.setup_anndata(synthetic(20)[:10], labels_key="cell_type")
    with pytest.raises(ValueError, match=r"read lazily. `adata = adata.to_memory\(\)`"):
        setup(ad.experimental.read_lazy(path), labels_key="cell_type")
    with pytest.raises(TypeError, match=r"must be an AnnData, got PosixPath.*read_h5ad"):
        setup(path, labels_key="cell_type")
    with pytest.raises(TypeError, match="`setup_mudata` takes a MuData"):
        setup(MuData({"rna": reference}), labels_key="cell_type")
    with pytest.raises(TypeError, match="must be a MuData, got AnnData. `setup_anndata`"):
        hrca.HRCA.setup_mudata(reference, labels_key="cell_type")
    reference.X = dask_array.from_array(reference.X.toarray(), chunks=(50, 60))
    setup(reference, labels_key="cell_type")
    reference.X = reference.X.map_blocks(sparse.csr_matrix)
    with pytest.raises(ValueError, match=r"is a sparse dask array. `adata = adata.to_memory\(\)`"):
        setup(reference, labels_key="cell_type")


@pytest.mark.parametrize("value", [0.5, 1e30, -1.0, np.nan])
@pytest.mark.parametrize("stored", ["csr", "csc", "dense", "layer"])
def test_all_values_of_a_reference_in_a_file_are_checked(tmp_path, value, stored):
    adata = synthetic(3_000)
    row = 2_990  # the sample has no cell of the end
    assert not np.isin(row, np.concatenate([np.arange(*b.indices(3_000)) for b in sampled_rows(3_000)]))
    x = adata.X.toarray()
    x[row, 7] = value
    x = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray, "layer": sparse.csr_matrix}[stored](x)
    if stored == "layer":
        adata.layers["counts"] = x
    else:
        adata.X = x
    adata.write_h5ad(tmp_path / "reference.h5ad")
    backed = ad.read_h5ad(tmp_path / "reference.h5ad", backed="r")
    with pytest.raises(ValueError, match="must hold raw counts"):
        setup(backed, labels_key="cell_type", layer="counts" if stored == "layer" else None)
    backed.file.close()


def sampled_rows(n_obs: int) -> list[slice]:
    return _sampled_blocks(n_obs, MAX_SAMPLED_CELLS, on_disk=True)


def test_a_value_larger_than_any_count_raises_in_memory(reference):
    reference.X.data[3] = 1e30
    with pytest.raises(ValueError, match="1e\\+30, which is larger than any count"):
        setup(reference, labels_key="cell_type")
    reference.X.data[3] = 0
    reference.X = reference.X.astype(np.int64)
    reference.X.data[3] = 2**32 - 1  # -1 as an unsigned integer
    with pytest.raises(ValueError, match="larger than any count"):
        setup(reference, labels_key="cell_type")


def test_no_such_column_lists_those_that_are_there(reference):
    with pytest.raises(ValueError, match=r"got 'celltype'; it has \['cell_type'\]"):
        setup(reference, labels_key="celltype")


def test_duplicated_genes(reference):
    reference.var_names = ["gene0", "gene0", *reference.var_names[2:]]
    with pytest.raises(ValueError, match=r"1 duplicated: \['gene0'\]"):
        setup(reference, labels_key="cell_type")


@pytest.mark.parametrize("rows", [0, 30], ids=["no cell", "no gene"])
def test_a_reference_without_cells_or_genes(reference, rows):
    empty = reference[:0].copy() if rows == 0 else reference[:, :0].copy()
    with pytest.raises(ValueError, match="must have cells and genes"):
        setup(empty, labels_key=None)


@pytest.mark.parametrize("value", [-1.0, 0.5, np.nan, np.inf])
def test_values_that_are_not_counts(reference, value):
    reference.X[3, 4] = 1
    reference.X.data[0] = value
    with pytest.raises(ValueError, match="`adata.X` must hold raw counts"):
        setup(reference, labels_key="cell_type")


def test_a_reference_that_raises_is_not_changed():
    adata = labelled([1, 2, 3] * 3)
    before = adata.copy()
    with pytest.raises(ValueError, match="strings"):
        setup(adata, labels_key="cell_type")
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    assert adata.uns == before.uns


def test_labels_with_few_cells_are_named(reference, caplog):
    with caplog.at_level("INFO", logger="hrca"):
        setup(reference, labels_key="cell_type")
    assert "Labels with fewer than 300 cells (type 1: 33, type 2: 33, type 0: 34) are learned less well." in caplog.text


@pytest.mark.parametrize("name", ["Ambiguous", "Unstable", "Doublets", "low-quality cells", "Low_quality", "other"])
def test_classes_of_quality_control_are_warned_of(name):
    adata = labelled(["a", name, "b"] * 9)
    with pytest.warns(UserWarning, match=r"look like classes of quality control.*`unlabeled_category=") as caught:
        setup(adata, labels_key="cell_type")
    (warning,) = caught
    assert f"adata = adata[~adata.obs['cell_type'].isin(['{name}'])].copy()" in str(warning.message)
    setup(adata, labels_key="cell_type", unlabeled_category=name)


def test_types_are_no_classes_of_quality_control():
    setup(labelled(["Mixed germ layer", "Ambiguous-like B", "Empty follicle cell"] * 9), labels_key="cell_type")


def test_counts_in_a_layer_are_found_and_registered(reference, query):
    expected = reference.X.copy()
    reference.layers["umi"] = reference.X.copy()
    reference.X = reference.X.log1p()
    setup(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, n_hidden=8, n_latent=8, n_heads=2, n_layers=1, n_feedforward=8, classifier_widths=(4,))
    assert model.registry["setup_args"]["layer"] == "umi"
    assert (model.adata_manager.get_from_registry("X") != expected).nnz == 0


def test_counts_in_raw_alone_raise_with_a_remedy(reference):
    reference.raw = reference
    reference.X = reference.X.log1p()
    with pytest.raises(ValueError, match=r"`adata.layers\['counts'\] = adata.raw\[:, adata.var_names\].X.copy\(\)`"):
        setup(reference, labels_key="cell_type")


def test_raw_that_is_named_raises_with_a_remedy(reference):
    reference.raw = reference
    reference.X = reference.X.log1p()
    with pytest.raises(ValueError, match=r"`adata.raw` was named, but cannot be registered.*adata.raw.to_adata\(\)`"):
        setup(reference, labels_key="cell_type", layer="raw")
    reference.layers["raw"] = reference.raw.X.copy()
    setup(reference, labels_key="cell_type", layer="raw")
    registered = hrca.HRCA._get_most_recent_anndata_manager(reference).get_from_registry("X")
    assert (registered != reference.raw.X).nnz == 0


def test_x_can_be_named(reference):
    reference.X.data[:] = 1
    setup(reference, labels_key="cell_type", layer="X")


def test_genes_as_rows_raise(reference):
    reference.obs_names = [f"ENSG{i:011}" for i in range(100)]
    with pytest.raises(ValueError, match=r"Rows must be cells.*adata = adata.T"):
        setup(reference, labels_key="cell_type")
