"""Load or train the model of a command."""

import contextlib
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData

from hrca._messages import counted_among
from hrca._warnings import HRCAWarning
from hrca.data._gene_map import GeneMap, read_gene_map
from hrca.data._gene_matching import GeneMatchResult, has_enough_genes, match_genes
from hrca.data._sources import open_query_input
from hrca.data._target_genes import TargetGenes
from hrca.model._model import HRCA
from hrca.model._reference_fields import model_gene_names
from hrca.train._random_states import set_seed

from ._checks import check_is_folder, device_arguments, train_arguments
from ._flags import arguments_of
from ._shell_words import naming_file
from ._training_flags import MODEL_FLAGS, SETUP_FLAGS

logger = logging.getLogger(__name__)

# A query of which this fraction of the genes are the reference's is of the same species and spelling, also where it is
# a small panel and the reference has all genes.
SAME_NAMES_FRACTION = 0.5


def load_model(folder: Path, flags: Mapping[str, Any]) -> HRCA:
    """Load a trained model, for prediction.

    Parameters
    ----------
    folder
        Its folder.
    flags
        Values of the flags of the run.

    Raises
    ------
    ValueError
        If there is no such model or device.
    """
    accelerator, device = device_arguments(flags["device"])
    set_seed(flags["seed"])
    return HRCA.load(folder, adata=False, accelerator=accelerator, device=device)


def make_model(
    reference: AnnData, flags: Mapping[str, Any], queries: Sequence[Path] = (), *, genes_of_queries: bool = False
) -> HRCA:
    """Set a reference up, and make an untrained model that has been checked against the queries.

    Parameters
    ----------
    reference
        The reference.
    flags
        Values of the flags of setup, model and run.
    queries
        Files that will be annotated.
    genes_of_queries
        If True, the model has only those genes of the reference that a query has.

    Raises
    ------
    ValueError
        If the reference or a query is not valid.
    """
    set_seed(flags["seed"])
    setup = arguments_of(SETUP_FLAGS, flags)
    _fill_labels(reference, setup["labels_key"], setup["unlabeled_category"], allow=flags["allow_missing_labels"])
    HRCA.setup_anndata(reference, **setup)
    if genes_of_queries:
        is_shared = _has_gene(reference, queries, flags["gene_map"])
        if not is_shared.all():
            reference = reference[:, is_shared].copy()
            with _without_messages():  # the first setup has given them
                HRCA.setup_anndata(reference, **setup)
    return HRCA(reference, **arguments_of(MODEL_FLAGS, flags))


@contextlib.contextmanager
def _without_messages() -> Iterator[None]:
    package = logging.getLogger("hrca")
    level = package.level
    package.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HRCAWarning)
            yield
    finally:
        package.setLevel(level)


def _fill_labels(reference: AnnData, labels_key: str, unlabeled_category: str, *, allow: bool) -> None:
    """Give cells without a label the unlabelled category."""
    if labels_key not in reference.obs:
        return  # the setup names the columns that there are
    labels = reference.obs[labels_key].astype(object)
    is_missing = labels.isna() | (labels.astype(str).str.strip() == "")
    if not is_missing.any():
        return
    if not allow:
        raise ValueError(
            f"`labels_key` must name the type of each cell, but obs[{labels_key!r}] is missing or empty for "
            f"{is_missing.sum():,} of {reference.n_obs:,} cells. `allow_missing_labels=True` leaves them unlabelled."
        )
    reference.obs[labels_key] = labels.where(~is_missing, unlabeled_category)
    logger.info(
        "In the reference, %s no label.", counted_among(is_missing.sum(), reference.n_obs, "cell", ("has", "have"))
    )


def check_shares_genes(reference: AnnData, path: Path, gene_map: Path | None) -> None:
    """Check that cells whose genes the model is to have share genes with the reference.

    Parameters
    ----------
    reference
        The reference.
    path
        The file of the cells.
    gene_map
        Table of two names of each gene; None: no table.

    Raises
    ------
    ValueError
        If they share none.
    """
    table = None if gene_map is None else read_gene_map(gene_map)
    names = model_gene_names(reference.var_names, table)
    with naming_file(path):
        matches = _match_file(path, TargetGenes(names, np.ones(len(names))), table)
        if not any(match.n_shared for match in matches):
            raise ValueError(
                f"The cells must share genes with the reference, but have none of its {len(names):,}. Genes of the "
                f"cells: {list(matches[0].names[:3])}; of the reference: {list(names[:3])}. Give cells with names of "
                "the same kind, or a table of both kinds as `gene_map`."
            )


def _has_gene(reference: AnnData, queries: Iterable[Path], gene_map: Path | None) -> np.ndarray:
    """Return True for each gene of the reference that a query has; for all if a query has names of another kind."""
    table = None if gene_map is None else read_gene_map(gene_map)
    names = model_gene_names(reference.var_names, table)
    targets = TargetGenes(names, np.ones(len(names)))
    is_shared = np.zeros(len(names), dtype=bool)
    for path in queries:
        with naming_file(path):
            matches = _match_file(path, targets, table)
        for match in matches:
            if match.n_shared < SAME_NAMES_FRACTION * len(match.names) and not has_enough_genes(match, targets):
                return np.ones(len(names), dtype=bool)
            is_shared |= match.alignment.present
    return is_shared


def _match_file(path: Path, targets: TargetGenes, gene_map: GeneMap | None) -> list[GeneMatchResult]:
    """Match the genes of a file, and those of its raw, with those of the reference."""
    cells, _ = open_query_input(path, "rna")
    tables = [cells.var, *([] if cells.raw is None else [cells.raw.var])]
    return [match_genes(var, targets, gene_map) for var in tables]


def train_model(model: HRCA, flags: Mapping[str, Any], query: Path | None = None) -> None:
    """Train a model.

    Parameters
    ----------
    model
        The model.
    flags
        Values of the flags of training and run.
    query
        File that the training is matched to; None: none.
    """
    arguments, trainer_kwargs = train_arguments(flags)
    model.train(query=query, enable_progress_bar=not flags["quiet"], **arguments, **trainer_kwargs)


def check_model_folder(name: str, folder: Path, *, overwrite: bool) -> None:
    """Check that a model can be saved to a folder, before it is trained.

    Parameters
    ----------
    name
        Name of the argument that has the folder.
    folder
        The folder.
    overwrite
        Whether the model in it is replaced.

    Raises
    ------
    FileExistsError
        If it exists, and `overwrite` is False.
    OSError
        If it cannot be made.
    """
    if folder.exists() and not overwrite:
        raise FileExistsError(f"{str(folder)!r} exists already. `--overwrite` replaces the model in it.")
    check_is_folder(name, folder)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    if is_new:
        folder.rmdir()
