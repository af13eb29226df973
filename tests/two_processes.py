"""Train on two processes (or one), and say what came out; a script of the tests.

    python tests/two_processes.py FOLDER N_PROCESSES BATCH_SIZE

Lightning starts the second process by running this file again.
"""

import json
import os
import sys
from pathlib import Path

import scvi
from conftest import QUIET, TINY, synthetic

import hrca


def main() -> None:
    """Train both phases, predict, and let the first process write."""
    folder, n_processes, batch_size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    scvi.settings.seed = 0
    reference, query = synthetic(256), synthetic(90, seed=5)
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY)
    options = {"strategy": "ddp", "devices": 2} if n_processes == 2 else {"devices": 1}
    options |= {"batch_size": batch_size, "lr": 1e-2, "train_size": 1.0, "checkpoint_dir": folder / "checkpoints"}
    model.train(25, pretrain_epochs=3, **options, **QUIET)
    rank = int(os.environ.get("LOCAL_RANK", 0))
    result = {
        "rank": rank,
        "accuracy": model.evaluate(query, "cell_type")["accuracy"],
        "model_id": model.model_id_,
        "history": {name: frame.iloc[:, 0].tolist() for name, frame in model.history.items()},
    }
    (folder / f"rank{rank}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
