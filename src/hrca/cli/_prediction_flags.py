"""Flags of prediction and of the run."""

from operator import not_
from pathlib import Path

from ._flags import Flag
from ._training_flags import GENE_MAP, LABELS_KEY, UNLABELED_CATEGORY
from ._values import read_positions, read_text_table

PREDICTION = "Prediction"
RUN = "The run"

LAYER = Flag(
    "layer",
    str | None,
    None,
    "Place of the query's raw counts: a layer, X or raw. Without it, they are searched for.",
    PREDICTION,
)
PLATFORM_CORRECTION = Flag(
    "platform_correction",
    bool,
    False,
    "Do not correct the genes for the difference between the technologies.",
    PREDICTION,
    name="no_platform_correction",
    convert=not_,
)
OPEN_SET = Flag(
    "open_set",
    bool,
    False,
    "Take each cell to be of one of the labels.",
    PREDICTION,
    name="no_open_set",
    convert=not_,
)
PREDICTION_BATCH_SIZE = Flag(
    "batch_size", int, 512, "Cells in a batch of prediction.", PREDICTION, name="prediction_batch_size"
)
KEY_ADDED = Flag("key_added", str, "hrca", "Name of the results in obs, obsm and uns.", PREDICTION)

# of HRCA.predict, without `adata`
PREDICT_FLAGS = (
    KEY_ADDED,
    Flag(
        "coverage",
        float | None,
        None,
        "Write prediction sets that have the true label this often: 0.9.",
        PREDICTION,
    ),
    Flag("class_conditional", bool, False, "The coverage nearly holds for each label.", PREDICTION),
    Flag("reweight_to_query", bool, False, "Weight held-out cells by their similarity to the query.", PREDICTION),
    Flag("level", int | None, None, "Level of the hierarchy of labels, 0 for the coarsest.", PREDICTION),
    Flag(
        "min_confidence",
        float,
        0.0,
        "A less probable label is replaced by an ancestor or unlabelled.",
        PREDICTION,
    ),
    Flag(
        "novelty_fpr",
        float | None,
        None,
        "Leave novel cells unlabelled: novel probability .5 or more, or most novel. This fraction of known cells too.",
        PREDICTION,
    ),
    PLATFORM_CORRECTION,
    OPEN_SET,
    LAYER,
    Flag(
        "ontology_terms",
        Path | None,
        None,
        "File with the Cell Ontology id of each label (json, csv, tsv), for the columns of CELLxGENE.",
        PREDICTION,
        convert=read_text_table,
    ),
    GENE_MAP,
    Flag(
        "indices",
        Path | None,
        None,
        "File with the positions of the cells to label, one on each line. Without it: all cells.",
        PREDICTION,
        convert=read_positions,
    ),
    PREDICTION_BATCH_SIZE,
)

# of hrca.io.write_groups, without `adata`, `path` and the `key_added` of PREDICT_FLAGS
GROUP_FLAGS = (
    Flag(
        "keep_novel_labels",
        bool,
        False,
        "In the csv file, let cells that are probably of none of the labels keep their label.",
        PREDICTION,
    ),
)

# of HRCA.evaluate, without `adata` and `labels_key`
EVALUATE_FLAGS = (PLATFORM_CORRECTION, OPEN_SET, LAYER, PREDICTION_BATCH_SIZE)

# of hrca.pp.check, without `adata` and `model`
CHECK_FLAGS = (LAYER, GENE_MAP, LABELS_KEY, UNLABELED_CATEGORY)

JSON = Flag("json", bool, False, "Print the result as JSON.", RUN)
QUIET = Flag("quiet", bool, False, "No progress and no messages, except warnings and errors.", RUN)
THREADS = Flag("threads", int | None, None, "Number of CPU threads. Without it: all CPUs, or OMP_NUM_THREADS.", RUN)
TABLE = Flag(
    "table", str | None, None, "Table of a SpatialData; for Visium HD square_008um or cell_segmentations.", RUN
)

RUN_FLAGS = (
    Flag("seed", int, 0, "Seed of all random numbers.", RUN),
    Flag("device", str, "auto", "auto, cpu, gpu, mps, or one GPU: cuda:1.", RUN),
    THREADS,
    JSON,
    QUIET,
)
