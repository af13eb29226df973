"""Flags of the setup of a reference, of the model's sizes and of training."""

from operator import not_
from pathlib import Path

from ._flags import Flag
from ._values import existing_file, parse_hierarchy, parse_json_object, parse_widths

REFERENCE = "The reference"
SIZES = "Size of the model"
TRAINING = "Training"

GENE_MAP = Flag(
    "gene_map",
    Path | None,
    None,
    "Table of two names of each gene, such as Ensembl ids and symbols: a csv, tsv or GTF file.",
    REFERENCE,
    convert=existing_file,
)

LABELS_KEY = Flag("labels_key", str | None, None, "Column of the reference's obs with the cell types.", REFERENCE)
UNLABELED_CATEGORY = Flag("unlabeled_category", str, "Unknown", "The label of cells without a known type.", REFERENCE)

# of HRCA.setup_anndata
SETUP_FLAGS = (
    LABELS_KEY,
    UNLABELED_CATEGORY,
    Flag(
        "layer",
        str | None,
        None,
        "Layer of the reference with the raw counts, or X. Without it: X, or the only layer with raw counts.",
        REFERENCE,
        name="reference_layer",
    ),
    Flag(
        "labels_hierarchy",
        str | None,
        None,
        "The tree of the labels: a file with child and parent (json, csv, tsv), columns of obs from coarse to fine "
        "between commas, a separator within the labels, or an OBO file.",
        REFERENCE,
        convert=parse_hierarchy,
    ),
    GENE_MAP,
)

# for setup_anndata, which raises for missing labels: a shell cannot fill them in
ALLOW_MISSING_LABELS = Flag(
    "allow_missing_labels",
    bool,
    False,
    "Cells with a missing or empty label are of the unlabelled category.",
    REFERENCE,
)

# of HRCA itself
MODEL_FLAGS = (
    Flag(
        "size",
        str,
        "auto",
        "specification, workstation or laptop. auto: specification where there is an accelerator, else laptop.",
        SIZES,
    ),
    Flag("n_hidden", int | None, None, "Width between genes and latent features.", SIZES),
    Flag("n_latent", int | None, None, "Number of latent features, a multiple of the heads.", SIZES),
    Flag("n_heads", int | None, None, "Number of attention heads in each layer.", SIZES),
    Flag("n_layers", int | None, None, "Number of encoder layers.", SIZES),
    Flag("n_feedforward", int | None, None, "Width of the feed-forward network in each layer.", SIZES),
    Flag(
        "classifier_widths",
        str | None,
        None,
        "Width of each stage of the classifier: 128,64.",
        SIZES,
        convert=parse_widths,
    ),
    Flag("dropout_rate", float, 0.1, "Dropout rate in Gene-AE.", SIZES),
    Flag("classifier_dropout_rate", float, 0.5, "Dropout rate in the classifier.", SIZES),
    Flag(
        "count_likelihood",
        bool,
        False,
        "Use the networks of the specification alone.",
        SIZES,
        name="no_count_likelihood",
        convert=not_,
    ),
)

# of HRCA.train, without `query` and the device
TRAIN_FLAGS = (
    Flag("max_epochs", int | None, None, "Epochs of fine-tuning. Without it: about 700 steps.", TRAINING),
    Flag("pretrain_epochs", int | None, None, "Epochs of pre-training; 0: none.", TRAINING),
    Flag("batch_size", int | None, None, "Cells in a batch of training; by default 128.", TRAINING),
    Flag("lr", float, 1e-3, "Learning rate.", TRAINING),
    Flag("lr_schedule", str, "one_cycle", "one_cycle, or plateau, that of the specification.", TRAINING),
    Flag("corruption", str, "thin", "How training cells become sparser: thin, mask or none.", TRAINING),
    Flag("train_size", float | None, None, "Fraction of the cells of each label that train; by default 0.9.", TRAINING),
    Flag("validation_size", float | None, None, "Fraction of the cells of each label that are held out.", TRAINING),
    Flag("n_samples_per_label", int | None, None, "At most this number of cells of a label in an epoch.", TRAINING),
    Flag("max_cells_per_label", int | None, 2000, "At most this number of cells of a label in fine-tuning.", TRAINING),
    Flag("n_folds", int | None, None, "Number of fold models, from which all cells calibrate the model.", TRAINING),
    Flag("checkpoint_dir", Path | None, None, "Folder for checkpoints.", TRAINING),
    Flag("checkpoint_interval", int, 20, "Epochs between two checkpoints.", TRAINING),
    Flag("resume", bool, False, "Continue a killed training from the checkpoints.", TRAINING),
    Flag("tensorboard", bool, False, "Write losses and accuracies for TensorBoard.", TRAINING),
    Flag("num_workers", int | None, None, "Processes that prepare batches.", TRAINING),
    Flag(
        "plan_kwargs",
        str | None,
        None,
        """Further arguments of the training plan as JSON: '{"encoder_lr": 1e-4}'.""",
        TRAINING,
        convert=parse_json_object,
    ),
    Flag(
        "datasplitter_kwargs",
        str | None,
        None,
        "Further arguments of the data loader as JSON.",
        TRAINING,
        convert=parse_json_object,
    ),
    Flag(
        "trainer_kwargs",
        str | None,
        None,
        """Further arguments of Lightning's Trainer as JSON: '{"precision": "bf16-mixed"}'.""",
        TRAINING,
        convert=parse_json_object,
    ),
)
