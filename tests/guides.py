"""What the tests of docs/guides share: the code of the pages, and the cells and files that it names."""

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from conftest import QUIET, ROOT, TINY
from scipy import sparse

import hrca

GUIDES = ROOT / "docs" / "guides"
EXAMPLES = ROOT / "docs" / "examples"

# A fenced block, and the comment before it that says why it does not run here, or which package it needs.
BLOCK = re.compile(
    r"(?:<!-- (?P<mark>not run|needs): (?P<reason>[^\n]*) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)

# Training of the pages takes minutes; that of the tests is of tiny networks, for few epochs.
SHORTENED = {
    "hrca.HRCA(reference": "hrca.HRCA(reference, **TINY",
    "model.train(": "model.train(max_epochs=2, pretrain_epochs=1, **QUIET, ",
    "model.finetune(": "model.finetune(2, **QUIET, ",
}

ONTOLOGY_IDS = {
    "CD14+ Monocyte": "CL:0001054",
    "CD19+ B": "CL:0000236",
    "CD34+": "CL:0000037",
    "CD4+/CD25 T Reg": "CL:0000792",
    "CD4+/CD45RA+/CD25- Naive T": "CL:0000895",
    "CD4+/CD45RO+ Memory": "CL:0000897",
    "CD56+ NK": "CL:0000623",
    "CD8+ Cytotoxic T": "CL:0000625",
    "CD8+/CD45RA+ Naive Cytotoxic": "CL:0000900",
    "Dendritic": "CL:0000451",
}

# The terms of these cells and some ancestors, as the Cell Ontology has them.
OBO = """format-version: 1.2
ontology: cl
""" + "\n".join(
    f"\n[Term]\nid: {term}\nname: {name}" + "".join(f"\nis_a: {parent}" for parent in parents)
    for term, name, *parents in [
        ("CL:0000000", "cell"),
        ("CL:0000738", "leukocyte", "CL:0000000"),
        ("CL:0000037", "hematopoietic stem cell", "CL:0000000"),
        ("CL:0000542", "lymphocyte", "CL:0000738"),
        ("CL:0000763", "myeloid cell", "CL:0000738"),
        ("CL:0001054", "CD14-positive monocyte", "CL:0000763"),
        ("CL:0000451", "dendritic cell", "CL:0000763"),
        ("CL:0000236", "B cell", "CL:0000542"),
        ("CL:0000623", "natural killer cell", "CL:0000542"),
        ("CL:0000084", "T cell", "CL:0000542"),
        ("CL:0000624", "CD4-positive, alpha-beta T cell", "CL:0000084"),
        ("CL:0000625", "CD8-positive, alpha-beta T cell", "CL:0000084"),
        ("CL:0000792", "CD4-positive, CD25-positive regulatory T cell", "CL:0000624"),
        ("CL:0000895", "naive thymus-derived CD4-positive T cell", "CL:0000624"),
        ("CL:0000897", "CD4-positive memory T cell", "CL:0000624"),
        ("CL:0000900", "naive thymus-derived CD8-positive T cell", "CL:0000625"),
    ]
)


@dataclass(frozen=True)
class Block:
    """A block of code in a page."""

    language: str
    code: str
    mark: str
    reason: str

    @property
    def runs_here(self) -> bool:
        """Whether the block can run: it is not marked, or the package that it needs is installed."""
        return not self.mark or (self.mark == "needs" and importlib.util.find_spec(self.reason) is not None)


def pages() -> list[Path]:
    """Return the guides, without their table of contents."""
    return sorted(path for path in GUIDES.glob("*.md") if path.stem != "index")


def blocks(page: Path, language: str) -> list[Block]:
    """Return the blocks of a page in a language."""
    found = [
        Block(match["language"], match["code"], match["mark"] or "", match["reason"] or "")
        for match in BLOCK.finditer(page.read_text())
    ]
    return [block for block in found if block.language == language]


def shortened(code: str) -> str:
    """Return the code with a training of seconds."""
    for given, replacement in SHORTENED.items():
        code = code.replace(given, replacement)
    return code


def blood() -> tuple[ad.AnnData, ad.AnnData]:
    """Return a reference of blood cells and a section: the other cells, thinned, with coordinates."""
    cells = hrca.datasets.pbmc68k()
    labels = cells.obs["bulk_labels"].astype(str)
    cells.obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(labels),
            "cell_type_ontology_term_id": labels.map(ONTOLOGY_IDS),
            "lineage": np.where(labels.str.contains("T|Cytotoxic|Memory"), "T", labels),
            "author_label": labels,
        },
        index=cells.obs_names,
    )
    is_reference = np.arange(cells.n_obs) % 2 == 0
    reference, query = cells[is_reference].copy(), cells[~is_reference].copy()
    rng = np.random.default_rng(0)
    query.X = query.X.astype(np.float32)
    query.X.data = rng.binomial(query.X.data.astype(int), 0.5).astype(np.float32)
    query.X.eliminate_zeros()
    query.obs = pd.DataFrame({"sample": np.where(np.arange(query.n_obs) % 3, "one", "two")}, index=query.obs_names)
    query.obsm["spatial"] = rng.uniform(0, 500, size=(query.n_obs, 2))
    return reference, query


def census_slice(reference: ad.AnnData) -> ad.AnnData:
    """Return cells as `cellxgene_census.get_anndata` does: genes and cells have numbers, names are in columns."""
    names = reference.var_names
    var = pd.DataFrame(
        {"feature_id": [f"ENSG{i:011d}" for i in range(len(names))], "feature_name": names},
        index=[str(i) for i in range(len(names))],
    )
    obs = reference.obs.set_axis([str(i) for i in range(reference.n_obs)])
    obs["cell_type"] = obs["cell_type"].astype(str)
    obs.loc["3", "cell_type"] = "unknown"
    return ad.AnnData(reference.X.copy(), obs=obs, var=var)


def write_vizgen(folder: Path, query: ad.AnnData) -> None:
    """Write the two tables of a MERSCOPE's folder that hold cells."""
    folder.mkdir()
    names = [str(3_110_000_000_000_000_000 + i) for i in range(query.n_obs)]
    counts = query.to_df().astype(int).set_axis(pd.Index(names, name="cell"))
    counts["Blank-1"] = 0
    counts.to_csv(folder / "cell_by_gene.csv")
    meta = pd.DataFrame(query.obsm["spatial"], columns=["center_x", "center_y"], index=pd.Index(names))
    meta.assign(fov=0, volume=500.0).to_csv(folder / "cell_metadata.csv")


def write_cosmx(folder: Path, query: ad.AnnData) -> None:
    """Write the two flat files of a CosMx that hold cells, of two fields of view."""
    folder.mkdir()
    ids = pd.DataFrame({"fov": np.arange(query.n_obs) % 2 + 1, "cell_ID": np.arange(query.n_obs) // 2 + 1})
    counts = query.to_df().astype(int).reset_index(drop=True)
    pd.concat([ids, counts.assign(NegPrb01=0)], axis=1).to_csv(folder / "run_exprMat_file.csv", index=False)
    places = pd.DataFrame(query.obsm["spatial"], columns=["CenterX_global_px", "CenterY_global_px"])
    places[["CenterX_local_px", "CenterY_local_px"]] = places % 100
    pd.concat([ids, places], axis=1).to_csv(folder / "run_metadata_file.csv", index=False)


def write_xenium(folder: Path, query: ad.AnnData) -> None:
    """Write the matrix and the table of cells of a Xenium's folder."""
    from test_io import write_10x_h5

    folder.mkdir()
    (folder / "experiment.xenium").write_text("{}")
    names = [f"cell{i:04d}-1" for i in range(query.n_obs)]
    cells = ad.AnnData(sparse.csr_matrix(query.X), obs=pd.DataFrame(index=names), var=query.var[[]])
    write_10x_h5(folder / "cell_feature_matrix.h5", cells)
    table = pd.DataFrame(query.obsm["spatial"], columns=["x_centroid", "y_centroid"])
    # as in a real folder, the table need not have the order of the matrix
    table.assign(cell_id=names).iloc[::-1].to_csv(folder / "cells.csv.gz", index=False)


def write_files(folder: Path, reference: ad.AnnData, query: ad.AnnData, model: hrca.HRCA) -> None:
    """Write the files and folders that the pages name."""
    reference.write_h5ad(folder / "atlas.h5ad")
    query.write_h5ad(folder / "section.h5ad")
    query.write_h5ad(folder / "sample_1.h5ad")
    query.write_zarr(folder / "sample_2.zarr")
    model.save(folder / "model")
    (folder / "cl-basic.obo").write_text(OBO)
    write_vizgen(folder / "merscope", query)
    write_cosmx(folder / "cosmx", query)
    write_xenium(folder / "output-XETG00123", query)


def trained(reference: ad.AnnData) -> hrca.HRCA:
    """Return a small model of the reference."""
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type", labels_hierarchy=["lineage", "cell_type"])
    model = hrca.HRCA(reference, **TINY)
    model.train(pretrain_epochs=2, max_epochs=20, lr=1e-2, batch_size=32, **QUIET)
    return model
