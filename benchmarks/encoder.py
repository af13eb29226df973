"""Whether a frozen or a slower encoder helps fine-tuning: laptop size, real pairs, three seeds.

    python benchmarks/encoder.py --data DATA

pre-trains once for each pair and seed, fine-tunes in each way from there, and writes results/encoder.csv.
"""

import argparse
import logging
import tempfile
import warnings
from pathlib import Path

import pandas as pd
import record
import scvi
import transfer

import hrca
from hrca import demo


def ways(max_epochs: int) -> dict[str, dict]:
    """The ways to fine-tune, as arguments."""
    return {
        "encoder as the rest": {},
        "encoder frozen for a fifth of the epochs": {"freeze_encoder_epochs": max_epochs // 5},
        "encoder at a tenth of the learning rate": {"encoder_lr": 1e-4},
    }


def main() -> None:
    """Run the grid."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the h5ad files")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    rows = []
    for name, make in transfer.pairs(arguments.data).items():
        for seed in range(arguments.seeds):
            pair = make(seed)
            scvi.settings.seed = seed
            hrca.HRCA.setup_anndata(pair.reference, labels_key=pair.labels_key)
            model = hrca.HRCA(pair.reference, **hrca.SIZES["laptop"])
            training = demo.training(pair.reference.n_obs)
            options = {name: training[name] for name in ("batch_size", "train_size")} | {"enable_progress_bar": False}
            model.pretrain(training["pretrain_epochs"], **options)
            with tempfile.TemporaryDirectory() as folder:
                model.save(Path(folder) / "model")
                for way, arguments_of_way in ways(training["max_epochs"]).items():
                    scvi.settings.seed = seed
                    tuned = hrca.HRCA.load(Path(folder) / "model", pair.reference)
                    tuned.finetune(training["max_epochs"], **arguments_of_way, **options)
                    scores = tuned.evaluate(pair.query, pair.labels_key)[["accuracy", "macro_f1"]]
                    rows.append({"pair": name, "way": way, "seed": seed, **scores})
                    print(rows[-1], flush=True)
                    record.write("encoder", rows)
    print(pd.DataFrame(rows).groupby(["pair", "way"])[["accuracy", "macro_f1"]].mean().round(3).to_string())


if __name__ == "__main__":
    main()
