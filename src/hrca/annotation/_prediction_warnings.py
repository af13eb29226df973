"""Warnings about a prediction: the reference does not fit the query."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from hrca._blocks import row_blocks
from hrca._messages import agreeing, counted
from hrca.prediction._open_set import QueryFit
from hrca.prediction._platform_factors import platform_log_sd
from hrca.prediction._summary import PredictionSummary

from ._label_pairs import divergences, normalize_log_profiles
from ._left_out_labels import left_out_table
from ._novel_groups import NovelGroup, group_table, novel_groups
from ._options import LabelSpace

# A fraction of novel cells above this causes a warning. Of 19 queries of known types, two had more, .081
# and .083 (benchmarks/results/uncertainty/open_set.csv).
WARNED_NOVEL_FRACTION = 0.05

# Number of groups of novel cells, of pairs of labels, and of labels that a warning names.
N_NAMED = 3

# A standard deviation of the log platform factors above this causes a warning: a factor of 4.5. That of 19 queries was
# at most 1.05.
WARNED_PLATFORM_LOG_SD = 1.5

# Minimum number of cells that a label is called dominant in. Not tuned.
MIN_DOMINANT_CELLS = 100

# A warning is given if a label has more than the first fraction of the cells, and a branch alone gives it less than the
# second multiple of this. Not tuned.
MIN_DOMINANT_FRACTION, MAX_BRANCH_RATIO = 0.7, 0.5

# Two labels are not told apart if the genes of the query have less than this fraction of their divergence on all genes
# of the model, and the expected log-likelihood ratio in the median cell is below MIN_EXPECTED_LOG_RATIO. Not tuned.
MIN_DIVERGENCE_FRACTION, MIN_EXPECTED_LOG_RATIO = 0.1, 1.0

# Labels of a smaller divergence in nats have the same profile: it is a difference of sums, with errors of about 1e-15.
MIN_DIVERGENCE = 1e-9

# Labels whose divergences from all labels are computed at once, so that 5,000 labels need no more than 10 MB.
BLOCK_LABELS = 256


# A fraction of rejected cells above this multiple of `novelty_fpr` causes a warning. Not tuned.
REJECTED_WARNING_FACTOR = 3


@dataclass(frozen=True)
class PredictionFacts:
    """What is reported about a prediction as a whole.

    Attributes
    ----------
    sentences
        From :func:`prediction_warnings`.
    n_by_label
        Number of cells with counts by most probable label, shape (n_labels,).
    n_counts
        Number of their counts.
    platform_log_sd
        Standard deviation of the log platform factors over the shared genes; 0 if none were fitted.
    has_clusters
        True if the probability that a cell is of none of the labels was estimated.
    novel_groups
        From :func:`hrca.annotation._novel_groups.group_table`: the groups that the warning names. None without
        clusters.
    left_out_labels
        From :func:`hrca.annotation._left_out_labels.left_out_table`. None without clusters.
    """

    sentences: list[str]
    n_by_label: np.ndarray
    n_counts: int
    platform_log_sd: float
    has_clusters: bool
    novel_groups: dict[str, np.ndarray] | None
    left_out_labels: dict[str, np.ndarray] | None

    @classmethod
    def of(
        cls,
        summary: PredictionSummary,
        query_fit: QueryFit | None,
        label_space: LabelSpace,
        gene_names: pd.Index,
        log_profiles: np.ndarray | None,
        *,
        rejects_novel: bool = False,
    ) -> "PredictionFacts":
        """Judge a prediction; see :func:`prediction_warnings`."""
        has_clusters = query_fit is not None and query_fit.clusters is not None
        groups = novel_groups(query_fit, summary.n_novel, gene_names) if query_fit is not None and has_clusters else []
        left_out = None if query_fit is None else query_fit.left_out_novel_probability
        labels = label_space.labels
        return cls(
            prediction_warnings(summary, query_fit, label_space, gene_names, log_profiles, rejects_novel=rejects_novel),
            summary.n_by_label,
            int(summary.n_counts),
            0.0 if query_fit is None else platform_log_sd(query_fit.factors),
            has_clusters,
            group_table(groups, labels) if has_clusters else None,
            None if left_out is None else left_out_table(left_out, summary.n_known, labels),
        )


def rejection_warning(n_rejected: int, n_obs: int, novelty_fpr: float, unlabeled_category: str) -> str | None:
    """Return a sentence if more cells are rejected than expected, for novelty among reference cells.

    Parameters
    ----------
    n_rejected
        Number of cells that are rejected.
    n_obs
        Number of cells.
    novelty_fpr
        Fraction of cells like the reference's that is expected to be rejected.
    unlabeled_category
        Label of rejected cells.

    Returns
    -------
    The sentence; None if the fraction is at most three times the expected one.
    """
    if n_rejected <= REJECTED_WARNING_FACTOR * novelty_fpr * n_obs:
        return None
    return (
        f"{n_rejected:,} of {counted(n_obs, 'cell')} ({n_rejected / n_obs:.0%}) "
        f"{agreeing(n_rejected, 'is', 'are')} rejected and labelled "
        f"{unlabeled_category!r}, where {novelty_fpr:.0%} are expected among cells like the reference's. Either the "
        "query has types that the reference lacks, or its platform differs, and cells of known types look novel as "
        "well. Compare `obs['hrca_novelty']` between the predicted labels."
    )


def prediction_warnings(
    summary: PredictionSummary,
    query_fit: QueryFit | None,
    label_space: LabelSpace,
    gene_names: pd.Index,
    log_profiles: np.ndarray | None,
    *,
    rejects_novel: bool = False,
) -> list[str]:
    """Return a sentence for each finding that makes a prediction doubtful.

    Parameters
    ----------
    summary
        Numbers of the cells.
    query_fit
        Platform factors and clusters; None without them.
    label_space
        The labels that the model can return.
    gene_names
        The genes of the model, shape (n_genes,).
    log_profiles
        Log of the fraction of each label's counts by gene, shape (n_labels, n_genes); None without count likelihood.
    rejects_novel
        Whether cells that are probably of none of the labels get the unlabelled category.

    Returns
    -------
    The sentences; empty if nothing was found.
    """
    labels = label_space.labels
    log_sd = 0.0 if query_fit is None else platform_log_sd(query_fit.factors)
    found = [_dominant_label(summary, labels, has_factors=log_sd > 0)]
    if query_fit is not None:
        novel = _novel_cells(summary, query_fit, label_space, gene_names, rejects_novel=rejects_novel)
        found += [novel, _large_factors(query_fit, log_sd)]
        if log_profiles is not None:
            found.append(_indistinct_labels(summary, labels, log_profiles, query_fit.factors > 0))
    return [sentence for sentence in found if sentence is not None]


def _novel_cells(
    summary: PredictionSummary,
    query_fit: QueryFit,
    label_space: LabelSpace,
    gene_names: pd.Index,
    *,
    rejects_novel: bool,
) -> str | None:
    labels, unlabeled_category = label_space.labels, label_space.unlabeled_category
    if summary.novel_fraction <= WARNED_NOVEL_FRACTION:
        return None
    n_novel, n_obs = int(summary.n_novel.sum()), summary.n_cells
    groups = novel_groups(query_fit, summary.n_novel, gene_names)
    named = [_group_text(group, labels) for group in groups[:N_NAMED]]
    n_more = len(groups) - len(named)
    if n_more > 0:
        named.append(counted(n_more, "more group"))
    return (
        f"{n_novel:,} of {n_obs:,} cells ({n_novel / n_obs:.0%}) are probably of types that the reference lacks: "
        f"{'; '.join(named)}. Their novel probability is at least .5 and their confidence low; a reference with these "
        f"types would label them. {_novel_remedy(unlabeled_category, rejects_novel=rejects_novel)}"
    )


def _group_text(group: NovelGroup, labels: list[str]) -> str:
    genes = f"genes {', '.join(group.genes)}" if group.genes else "no genes of its own"
    return f"{group.n_obs:,} (most common label {labels[group.label]!r}, {genes})"


def _novel_remedy(unlabeled_category: str, *, rejects_novel: bool) -> str:
    if rejects_novel:
        return f"They are labelled {unlabeled_category!r}."
    return (
        "`predict(novelty_fpr=0.05)`, in the shell `hrca annotate --novelty-fpr 0.05`, labels such cells "
        f"{unlabeled_category!r}."
    )


def _large_factors(query_fit: QueryFit, log_sd: float) -> str | None:
    discarded_log_sd = query_fit.discarded_log_sd
    if discarded_log_sd:
        return (
            f"No platform factors were used: they would be too large (standard deviation of their logs "
            f"{discarded_log_sd:.1f}). Either most cells are of types that the reference lacks, or the query is not of "
            "its species and tissue."
        )
    if log_sd <= WARNED_PLATFORM_LOG_SD:
        return None
    return (
        f"The platform factors of the genes are large (standard deviation of their logs {log_sd:.1f}): "
        "the query differs much from the reference, or most of its cells are of other types, as in another tissue. "
        "Compare the labels with those of `platform_correction=False`. If many differ, trust neither, and look at "
        "marker genes."
    )


def _dominant_label(summary: PredictionSummary, labels: list[str], *, has_factors: bool) -> str | None:
    if summary.n_cells < MIN_DOMINANT_CELLS:
        return None
    fractions, branches = (n / summary.n_cells for n in (summary.n_by_label, summary.n_by_branch))
    label, fraction = int(fractions.argmax()), float(fractions.max())
    lowest = float(branches[:, label].min())
    if fraction < MIN_DOMINANT_FRACTION or lowest >= MAX_BRANCH_RATIO * fraction:
        return None
    remedy = " Compare it with that of `platform_correction=False`." if has_factors else ""
    return (
        f"{labels[label]!r} is the label of {fraction:.0%} of the cells, but the network or the count likelihood alone "
        f"gives it to {lowest:.0%}: this label is doubtful.{remedy}"
    )


def _indistinct_labels(
    summary: PredictionSummary, labels: list[str], log_profiles: np.ndarray, present: np.ndarray
) -> str | None:
    depth = float(np.median(summary.depths)) if len(summary.depths) else 0.0
    model, panel = (normalize_log_profiles(profiles) for profiles in (log_profiles, log_profiles[:, present]))
    pairs: list[tuple[int, int]] = []
    for rows in row_blocks(len(labels), BLOCK_LABELS):
        everywhere = divergences(model, rows)
        on_panel = divergences(panel, rows)
        is_lost = (on_panel < MIN_DIVERGENCE_FRACTION * everywhere) & (depth * on_panel < MIN_EXPECTED_LOG_RATIO)
        is_lost &= everywhere > MIN_DIVERGENCE
        ones, twos = np.nonzero(np.triu(is_lost, k=rows.start + 1))
        pairs += zip(ones + rows.start, twos, strict=True)
    if not pairs:
        return None
    more = f" and {counted(len(pairs) - N_NAMED, 'more pair')}" if len(pairs) > N_NAMED else ""
    named = ", ".join(f"{labels[one]!r} and {labels[two]!r}" for one, two in pairs[:N_NAMED])
    return f"The query's genes hardly tell apart {named}{more}: the genes that do are not in the query."
