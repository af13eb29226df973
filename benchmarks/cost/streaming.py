"""Memory and time to predict cells from a file that is not loaded, and to write their labels into it.

    python benchmarks/streaming.py --folder FOLDER

writes h5ad files of random sparse counts into FOLDER, piece by piece, predicts each in a process of its own with a
laptop-size model, deletes it, prints memory above the start and time, and writes results/streaming.csv. FOLDER needs
twice the size of the largest file: 5 GB with the sizes as they are. Weights are untrained: they cost the same.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import record
from prediction import memory_gb, random_counts

import hrca

SIZES = [30_000, 100_000, 300_000]
N_GENES, DENSITY, PIECE = 20_000, 0.05, 10_000


def write_counts(path: Path, n_obs: int) -> None:
    """Write random counts in CSR, without ever having all of them in memory."""
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(index=[f"cell{i}" for i in range(n_obs)])
    var = pd.DataFrame(index=[f"GENE{i}" for i in reversed(range(N_GENES))])
    ad.AnnData(obs=obs, var=var).write_h5ad(path)
    stride = round(1 / DENSITY)
    a_cell = N_GENES // stride
    with h5py.File(path, "r+") as file:
        x = file.create_group("X")
        x.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": (n_obs, N_GENES)})
        x["indptr"] = np.arange(n_obs + 1, dtype=np.int64) * a_cell
        indices = x.create_dataset("indices", (n_obs * a_cell,), np.int32, chunks=(1_000_000,))
        data = x.create_dataset("data", (n_obs * a_cell,), np.float32, chunks=(1_000_000,))
        for start in range(0, n_obs, PIECE):
            shape = (min(PIECE, n_obs - start), a_cell)
            values = slice(start * a_cell, (start + shape[0]) * a_cell)
            indices[values] = (np.arange(a_cell) * stride + rng.integers(0, stride, shape)).ravel()
            data[values] = (1 + rng.poisson(0.5, shape)).ravel()


def measure(path: Path) -> dict[str, float]:
    """Predict the cells of a file, in this process."""
    counts = random_counts(200, N_GENES, DENSITY)
    var = pd.DataFrame(index=[f"GENE{i}" for i in range(N_GENES)])
    reference = ad.AnnData(counts, obs={"cell_type": [f"type {i % 10}" for i in range(200)]}, var=var)
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **hrca.SIZES["laptop"])
    model.finetune(1, train_size=1.0, enable_progress_bar=False)
    # the peak so far is of making the model: start it anew (Linux)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before, start = memory_gb("VmRSS"), time.perf_counter()
    model.predict(path, enable_progress_bar=False)
    wall_s = time.perf_counter() - start
    return {
        "start_gb": round(before, 3),
        "peak_above_start_gb": round(memory_gb("VmHWM") - before, 3),
        "wall_s": round(wall_s, 1),
    }


def main() -> None:
    """Make, predict, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--measure", type=Path, help="predict this file, and print what it took")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    rows = []
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for n_obs in arguments.sizes:
        path = arguments.folder / f"cells_{n_obs}.h5ad"
        write_counts(path, n_obs)
        file_gb = round(path.stat().st_size / 1024**3, 3)
        command = [sys.executable, __file__, "--folder", str(arguments.folder), "--measure", str(path)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        n_labelled = int(ad.read_h5ad(path, backed="r").obs["hrca"].notna().sum())
        path.unlink()
        row = {"n_obs": n_obs, "n_genes": N_GENES, "density": DENSITY, "file_gb": file_gb, "n_labelled": n_labelled}
        row |= json.loads(output.splitlines()[-1])
        rows.append(row | {"cells_per_s": round(n_obs / row["wall_s"])})
        print(rows[-1], flush=True)
        record.write("streaming", rows)


if __name__ == "__main__":
    main()
