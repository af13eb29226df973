"""The two snippets of the HRCA Training Document run unchanged on real data; the functions on small data."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from conftest import synthetic

from hrca import hrca
from hrca.compat._published_weights import load_published

# on a machine of few cores torch and Lightning advise against the snippets' five workers, or for more than one
pytestmark = pytest.mark.filterwarnings("ignore:.*worker:UserWarning", "ignore:.*num_workers:UserWarning")


@pytest.fixture
def folder(data_dir, tmp_path):
    """train.h5ad and test.h5ad: cells of a real reference."""
    adata = ad.read_h5ad(data_dir / "poa_scrna_moffitt.h5ad")
    adata = adata[adata.obs["label_harmonised"] != ""].copy()
    adata.obs["cell_type"] = adata.obs["label_harmonised"].astype(str)
    order = np.random.default_rng(0).permutation(adata.n_obs)
    adata[order[:400]].copy().write_h5ad(tmp_path / "train.h5ad")
    adata[order[400:500]].copy().write_h5ad(tmp_path / "test.h5ad")
    return tmp_path


@pytest.mark.slow
def test_the_snippets_of_the_specification_run_unchanged(folder, caplog):
    result_path = folder / "save_result"
    # load train data (anndata)
    train = sc.read(folder / "train.h5ad")
    Gene_AE = hrca.pretrain(train, save_path = result_path,
                            n_epochs = 3,
                            batch_size = 128,
                            n_cpu = 5,
                            head_num = 8,
                            n_layers = 8,
                            lr = 0.001,
                            decay_epoch=200,
                            lr_decrease_factor=0.1,
                            lr_decrease_patience=50,
                            checkpoint_interval=1,
                            tb_writer = True,
                            use_device=0)  # fmt: skip
    assert torch.cuda.is_available() or "use_device=0: there is no GPU, the CPU is used." in caplog.text

    test = sc.read(folder / "test.h5ad")
    Gene_AE, SE_Classifier = hrca.fine_tune(train, test, Gene_AE,
                                            save_path = result_path,
                                            obs_name = "cell_type",
                                            n_epochs = 2,
                                            batch_size = 128,
                                            n_cpu = 5,
                                            n_layers = 3,
                                            lr = 0.001,
                                            decay_epoch = 20,
                                            lr_decrease_patience = 10,
                                            checkpoint_interval = 1,
                                            tb_writer = True,
                                            use_device = 0)  # fmt: skip

    names = {path.name for path in result_path.iterdir()}
    assert {"AE_1.pth", "AE_2.pth", "AE_3.pth", "features.npy"} <= names
    assert {"predictor_1.pth", "predictor_2.pth", "dictionary.npy"} <= names
    assert {"confusion_000001.png", "confusion_000002.png", "confusion_000002.csv", "test_scores.csv"} <= names
    assert {path.name for path in (result_path / "tensorboard").iterdir()} == {"pretrain", "finetune"}
    assert [stage.plain[1].out_features for stage in SE_Classifier.stages] == [512, 256, 128]
    assert "_scvi_labels" not in train.obs
    assert not [name for name in train.uns if "scvi" in name]

    annotated = hrca.annotate(test, Gene_AE, SE_Classifier)
    assert annotated.index.equals(test.obs_names)
    assert annotated["confidence"].between(0, 1).all()
    from_files = load_published(result_path)
    assert list(from_files.predict(test, key_added=None)) == annotated["cell_type"].tolist()
    probabilities = hrca.assemble_model(Gene_AE, SE_Classifier).predict(test, soft=True, key_added=None)
    pd.testing.assert_frame_equal(probabilities, from_files.predict(test, soft=True, key_added=None))


def test_pretraining_leaves_its_files_and_a_test_set_without_labels_raises(tmp_path):
    train = synthetic(40)
    Gene_AE = hrca.pretrain(train, tmp_path, n_epochs=1, n_cpu=0, n_layers=1, tb_writer=False, use_device="cpu")
    assert {"features.npy", "AE_1.pth"} <= {path.name for path in tmp_path.iterdir()}
    assert list(Gene_AE.gene_names) == list(train.var_names)
    assert list(train.obs) == ["cell_type"]
    assert not train.uns
    with pytest.raises(ValueError, match="index of a GPU, 'cpu' or None, got 'cuda:0'"):
        hrca.pretrain(train, tmp_path / "other", n_epochs=1, use_device="cuda:0")
    test = synthetic(10)
    del test.obs["cell_type"]
    with pytest.raises(ValueError, match="got 'cell_type'"):
        hrca.fine_tune(train, test, Gene_AE, tmp_path, "cell_type", n_epochs=1, n_cpu=0, use_device=None)
