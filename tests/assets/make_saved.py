"""How the saved models beside this file were made: once with each supported set of versions.

    python tests/assets/make_saved.py

trains a tiny model and writes it, with its predictions, to ``saved_<version of scvi-tools>/``.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import scvi

import hrca

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from conftest import QUIET, TINY, synthetic  # noqa: E402


def main() -> None:
    """Train, save, predict."""
    folder = HERE / f"saved_{version('scvi-tools')}"
    scvi.settings.seed = 0
    reference = synthetic(100)
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY)
    model.train(2, pretrain_epochs=2, **QUIET)
    model.save(folder, overwrite=True)
    np.save(folder / "probabilities.npy", model.predict(synthetic(20, seed=3), soft=True, key_added=None).to_numpy())


if __name__ == "__main__":
    main()
