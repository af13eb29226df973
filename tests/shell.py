"""What the tests of the command share: files of tiny cells and of a tiny model, and a call of the command."""

from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
from conftest import TINY, synthetic

from hrca.cli import main

# Sizes and epochs with which a training takes a second.
FAST = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items() if name != "classifier_widths"]
FAST += ["--classifier-widths=16,8", "--pretrain-epochs=1", "--max-epochs=2", "--batch-size=32", "--device=cpu"]


@dataclass(frozen=True)
class Result:
    """The exit code and the streams of a call."""

    code: int
    out: str
    err: str


def call(capsys, *arguments) -> Result:
    """Call the command in this process."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return Result(code, captured.out, captured.err)


def section(n_obs: int = 37, seed: int = 2) -> ad.AnnData:
    """Cells with coordinates and known types, of 40 of the reference's genes and 5 of their own."""
    adata = synthetic(n_obs, n_genes=65, seed=seed)
    adata = adata[:, np.r_[0:40, 60:65]].copy()
    adata.obs["known"] = adata.obs.pop("cell_type")
    adata.obsm["spatial"] = np.random.default_rng(seed).uniform(0, 100, size=(n_obs, 2))
    return adata


def write_files(folder: Path, model) -> Path:
    """Write a reference, queries, a model and things that are none of these into a folder."""
    reference = synthetic(100)
    reference.write_h5ad(folder / "reference.h5ad")
    section().write_h5ad(folder / "query.h5ad")
    section().write_zarr(folder / "query.zarr")
    foreign = section()
    foreign.var_names = [f"other{i}" for i in range(foreign.n_vars)]
    foreign.write_h5ad(folder / "foreign.h5ad")
    logged = section()
    logged.X = logged.X.log1p() * 0.37
    logged.write_h5ad(folder / "logged.h5ad")
    gaps = synthetic(100)
    gaps.obs.loc["cell3", "cell_type"] = ""
    gaps.write_h5ad(folder / "gaps.h5ad")
    (folder / "text.h5ad").write_text("no HDF5")
    (folder / "zero.h5ad").touch()
    section()[:0].copy().write_h5ad(folder / "no_cells.h5ad")
    section().to_df().to_csv(folder / "table.csv")
    quality = synthetic(100)
    quality.obs["cell_type"] = quality.obs["cell_type"].astype(str).replace({"type 0": "Ambiguous"})
    quality.write_h5ad(folder / "quality.h5ad")
    numbers = synthetic(100)
    numbers.obs["cell_type"] = numbers.obs["cell_type"].astype(str).str[-1].astype(int)
    numbers.write_h5ad(folder / "numbers.h5ad")
    whole = (folder / "query.h5ad").read_bytes()
    (folder / "damaged.h5ad").write_bytes(whole[: len(whole) // 2])
    (folder / "genes.csv").write_text("gene0,GENE0\n")
    model.save(folder / "model", overwrite=True)
    (folder / "empty").mkdir()
    xenium = folder / "xenium"
    xenium.mkdir()
    (xenium / "experiment.xenium").write_text("{}")
    return folder
