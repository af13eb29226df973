"""What a model tells about itself: its card, its profiles, and the genes that tell two labels apart."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hrca.model._model import HRCA

# Fraction of a gene below which two profiles do not differ: a count in 10,000.
PSEUDO_FRACTION = 1e-4


@dataclass(frozen=True)
class LabelProfiles:
    """Fractions of the counts of each label, from the count likelihood of a model.

    Attributes
    ----------
    fractions
        Fraction of each gene in the counts of each label, shape (n_labels, n_genes); rows sum to 1.
    labels, genes
        Names of rows and columns.
    present
        Whether the query has the gene, shape (n_genes,).
    """

    fractions: np.ndarray
    labels: list[str]
    genes: pd.Index
    present: np.ndarray

    def _contributions(self, label: str, other_label: str) -> np.ndarray:
        first, second = (self.fractions[self.labels.index(name)] for name in (label, other_label))
        return log_ratio_contributions(first, second)

    def present_fraction(self, label: str, other_label: str) -> float:
        """Return the fraction of the divergence of two labels that the query's genes have, 0 to 1."""
        by_gene = self._contributions(label, other_label)
        total = by_gene.sum()
        return float(by_gene[self.present].sum() / total) if total > 0 else 1.0

    def distinguishing_genes(self, label: str, other_label: str, n_genes: int) -> np.ndarray:
        """Return the positions of the genes that tell two labels apart best, present in the query or not."""
        return largest(self._contributions(label, other_label), n_genes)


def log_ratio_contributions(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return what each gene contributes to the expected log-likelihood ratio of two profiles, in nats per count.

    Parameters
    ----------
    first, second
        Fraction of each gene, shape (n_genes,).

    Returns
    -------
    The symmetric Kullback-Leibler divergence by gene, shape (n_genes,), none of them negative. A small fraction is
    added to both, since a gene that one profile lacks would give infinity.
    """
    return (first - second) * np.log((first + PSEUDO_FRACTION) / (second + PSEUDO_FRACTION)) / 2


def largest(by_gene: np.ndarray, n_genes: int) -> np.ndarray:
    """Return the positions of the largest numbers above 0, the largest first.

    Parameters
    ----------
    by_gene
        A number for each gene, shape (n_genes,).
    n_genes
        Maximum number of positions.

    Examples
    --------
    >>> largest(np.array([1.0, 0.0, 3.0, 2.0]), 2)
    array([2, 3])
    """
    order = np.argsort(-by_gene, kind="stable")[:n_genes]
    return order[by_gene[order] > 0]


def profiles_of(model: HRCA, query_genes: pd.Index, n_shared_genes: int) -> LabelProfiles | None:
    """Return the profiles of a model; None without a count likelihood.

    Parameters
    ----------
    model
        The model.
    query_genes
        Names of the query's genes. They are compared without regard to case.
    n_shared_genes
        Number of the model's genes that the prediction found. If it found more than have the same name, by a table of
        names, then all genes count as present.
    """
    count_likelihood = model.module.count_likelihood
    if count_likelihood is None or not bool(count_likelihood.is_fitted):
        return None
    used = model.module.gene_mask.detach().cpu().numpy().astype(bool)
    fractions = np.exp(count_likelihood.log_profiles.detach().cpu().double().numpy()) * used
    fractions /= fractions.sum(axis=1, keepdims=True)
    present = model.gene_names.str.upper().isin(query_genes.astype(str).str.upper()) & used
    if present.sum() < min(n_shared_genes, used.sum()):
        present = used
    return LabelProfiles(fractions, list(model.labels), model.gene_names, present)


def check_model(model: HRCA, record: Mapping[str, Any]) -> None:
    """Raise an error if the model is not the one of the prediction.

    Parameters
    ----------
    model
        The model.
    record
        Record of the prediction in uns.

    Raises
    ------
    ValueError
        If it is another one.
    """
    model_id = record.get("model_id")
    if model_id is not None and str(model_id) != model.model_id_:
        raise ValueError(
            f"`model` must be the model of the prediction, {str(model_id)!r}, but is {model.model_id_!r}. Pass that "
            "one, or leave it out."
        )


def model_card(model: HRCA) -> list[tuple[str, str]]:
    """Return the lines of the model's card: what it is, and what it was trained on.

    Parameters
    ----------
    model
        The model.
    """
    setup = model.registry["setup_args"]
    card = [
        ("Fingerprint of the weights", model.model_id_),
        ("Labels that it knows", f"{len(model.labels)}: {', '.join(model.labels)}"),
        ("Column of the labels in the reference", str(setup.get("labels_key"))),
        ("Genes", f"{len(model.gene_names):,}"),
        ("Parameters of the networks", f"{sum(p.numel() for p in model.module.parameters()):,}"),
        ("Count likelihood", "no" if model.module.count_likelihood is None else "yes"),
        ("Folds of cross-fitting", "none" if model.n_folds_ is None else str(model.n_folds_)),
        ("scvi-tools", str(model.registry.get("scvi_version", ""))),
    ]
    if model.split_ is not None:
        cells = f"{len(model.split_.train):,} for training, {len(model.split_.validation):,} held out"
        card.insert(2, ("Cells of the reference", cells))
    if model.labels_hierarchy:
        tree = ", ".join(f"{child} in {parent}" for child, parent in model.labels_hierarchy.items())
        card.insert(3, ("Hierarchy of the labels", tree))
    return card
