"""Leave one type out: how well a score tells cells of a type that the reference lacks from the others.

    python benchmarks/novelty.py --data DATA [--sets pbmc3k ...] [--seeds 1] [--genes 2000] [--models FOLDER]

For each data set and each of its types with at least 30 cells: half of the other types' cells train HRCA (laptop size,
``train()`` as it is); the other half of them, and all cells of the type, are the query, at the depths below. One more
model knows all types: its F1 says which types the model tells apart at all. Models are kept in FOLDER, and what is in
the results already is not run again.
"""

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import grid
import numpy as np
import record
import scanpy as sc
import scvi

import hrca

# Data set: the column with its types.
SETS = {"pbmc3k": "cell_type", "pbmc_facs_zheng": "label_harmonised", "starmap_mpfc": "cell_type"}
ALL_TYPES = "none"
FEWEST_CELLS = 30


@dataclass(frozen=True)
class Run:
    """One model: a data set, the type that its reference lacks, and a seed."""

    data: str
    left_out: str
    seed: int
    n_genes: int

    @property
    def name(self) -> str:
        """What its folder is called."""
        return re.sub(r"\W+", "_", f"{self.data}-{self.left_out}-{self.seed}-{self.n_genes}")


def read(name: str, data: Path) -> ad.AnnData:
    """Read the labelled cells of a data set, their types in ``obs["type"]``."""
    adata = hrca.datasets.local(name, data)
    adata.obs["type"] = adata.obs[SETS[name]].astype(str)
    return adata[adata.obs["type"] != ""].copy()


def runs(names: list[str], data: Path, seed: int, n_genes: int) -> Iterator[Run]:
    """Go through the models: those that know all types first, then a type of each data set in turn."""
    left_out = {}
    for name in names:
        counts = read(name, data).obs["type"].value_counts()
        left_out[name] = [ALL_TYPES, *counts.index[counts >= FEWEST_CELLS]]
    for turn in range(max(map(len, left_out.values()))):
        for name in names:
            if turn < len(left_out[name]):
                yield Run(name, left_out[name][turn], seed, n_genes)


def split(run: Run, data: Path) -> tuple[ad.AnnData, ad.AnnData]:
    """Return reference and query of a run, on the genes that vary most in both: as a panel, they are not the reference's."""
    adata = read(run.data, data)
    if run.n_genes < adata.n_vars:
        normalized = adata.copy()
        sc.pp.normalize_total(normalized, target_sum=1e4)
        sc.pp.log1p(normalized)
        sc.pp.highly_variable_genes(normalized, n_top_genes=run.n_genes)
        adata = adata[:, normalized.var["highly_variable"].to_numpy()].copy()
    order = grid.generator(run.seed, f"halves of {run.data}").permutation(adata.n_obs)
    in_reference = np.zeros(adata.n_obs, dtype=bool)
    in_reference[order[: adata.n_obs // 2]] = True
    in_reference &= (adata.obs["type"] != run.left_out).to_numpy()
    reference, query = adata[in_reference].copy(), adata[~in_reference].copy()
    return reference[grid.totals(reference) > 0].copy(), query


def trained(run: Run, reference: ad.AnnData, folder: Path) -> hrca.HRCA:
    """Train the model of a run, or load it if it is there."""
    path = folder / run.name
    if (path / "model.pt").exists():
        return hrca.HRCA.load(path, adata=reference)
    scvi.settings.seed = run.seed
    hrca.HRCA.setup_anndata(reference, labels_key="type")
    model = hrca.HRCA(reference, **hrca.SIZES["laptop"])
    model.train(enable_progress_bar=False)
    model.save(path)
    return model


def main() -> None:
    """Run what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--genes", type=int, default=2000, help="most variable genes to keep")
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=record.HERE / "results")
    arguments = parser.parse_args()
    for seed in range(arguments.seeds):
        for run in runs(arguments.sets, arguments.data, seed, arguments.genes):
            reference, _ = split(run, arguments.data)
            trained(run, reference, arguments.models)


if __name__ == "__main__":
    main()
