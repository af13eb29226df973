"""The methods of HRCA that name the genes behind a label."""

import numpy as np
import pandas as pd

from hrca._docs import docs
from hrca._messages import counted_among
from hrca._unsupported import PREDICT_UNSUPPORTED, raises_for
from hrca._warnings import warn_user
from hrca.data._cell_selection import CellIndices, select_cells
from hrca.data._gene_map import GeneMapInput
from hrca.data._query import Query
from hrca.data._sources import QueryInput
from hrca.explain._explain import explain_units
from hrca.explain._label_scores import FittedQuery, fit_and_score, likelihood_of
from hrca.explain._markers import NEAREST, REST, marker_table
from hrca.explain._network import check_captum
from hrca.explain._units import check_labels, choose_rows, make_units
from hrca.module._count_likelihood import REFERENCE_DEPTH
from hrca.prediction._probabilities import PredictionSettings
from hrca.train._config import resolve_batch_size

from ._base import PREDICTION_BATCH_SIZE, HRCABase
from ._threads import within_cpu_quota

# Number of cells of a group that are explained by default. Not tuned.
GROUP_CELLS = 100


class ExplanationMixin(HRCABase):
    """The genes behind the labels of :class:`hrca.HRCA`."""

    @raises_for(PREDICT_UNSUPPORTED)
    @docs.dedent
    @within_cpu_quota()
    def explain(
        self,
        adata: QueryInput | None = None,
        indices: CellIndices | None = None,
        *,
        groupby: str | None = None,
        label: str | None = None,
        against: str | None = None,
        n_genes: int | None = 10,
        network_genes: bool = True,
        n_cells: int = GROUP_CELLS,
        platform_correction: bool = True,
        open_set: bool = True,
        layer: str | None = None,
        gene_map: GeneMapInput | None = None,
        batch_size: int | None = PREDICTION_BATCH_SIZE,
    ) -> pd.DataFrame:
        """Return what each gene contributes to the label of a cell or group, against another label.

        The contributions sum to the difference between the scores of two labels, in nats, before the temperature of the
        calibration. Positive ones speak for `label`, negative ones for `against`. Nothing is written.

        Parameters
        ----------
        %(query_or_reference)s
        %(indices)s The other cells still determine the platform factors, as in a prediction of the whole query.
        groupby
            Column of obs, for example "hrca" or clusters: its groups are explained by the mean over their cells. None:
            each cell is explained.
        label
            The label that the contributions speak for. None: the most likely label of the cell, also where a prediction
            returned "Unknown" or an ancestor; of a group, the commonest among the most likely
            labels of its cells.
        against
            The label to compare with. None: the runner-up, which has the next highest score, in a group on average.
        n_genes
            Number of genes of each cell or group, those with the largest absolute contributions. The others are in one
            row for each branch. None: all genes that contribute.
        network_genes
            If True, divide the networks' part among the genes, which needs the extra ``explain``. False: it is one row.
        n_cells
            Maximum number of cells of a group that are explained, chosen by their names.
        %(platform_correction)s
        %(open_set)s
        %(layer)s
        %(gene_map)s
        %(prediction_batch_size)s

        Returns
        -------
        One row for each gene and branch of a cell or group; none for a cell without counts on the model's genes. The
        columns are:

        - ``cells``, name of the cell or group, and ``n_cells``, the number of cells that were explained.
        - ``label`` and ``against``, the two labels.
        - ``gene``; or "(other genes)", "(no expression)" (the networks' difference in a cell without expression),
          "(network)" (with `network_genes` False), or "(calibration)" (with folds, what the calibration adds).
        - ``branch``, "counts", "network" or "calibration".
        - ``count``, the counts of the gene, in a group the mean; missing in rows that are of no gene.
        - ``contribution``, in nats.
        - ``flips``, True for the fewest of the genes with the largest contributions, at most 20, without whose counts
          `against` would have the higher score. No gene has True if these do not suffice.

        Raises
        ------
        %(raises_query)s
        ValueError
            If the model is not fine-tuned or has one label; `label` or `against` is not one of its labels, or both are
            the same label of a cell; `groupby` is not a column of obs; or `n_genes` or `n_cells` is below 1.
        ImportError
            If `network_genes` is True and captum is not installed.

        Warns
        -----
        UserWarning
            If cells have no counts on the model's genes.

        Notes
        -----
        The contributions of the count likelihood are exact: each count has the log ratio of the two profiles on the
        query's platform. Those of the networks are integrated gradients :cite:p:`sundararajan2017axiomatic`, computed
        by captum, from a cell without expression to the cell. Their sum deviates by at most 2 %% of the difference
        between the two scores or 0.01 nats, whichever is more, except in a few cells for which the maximum number of
        steps does not suffice.

        Examples
        --------
        >>> import hrca
        >>> reference = hrca.datasets.pbmc68k()
        >>> hrca.HRCA.setup_anndata(reference, labels_key="bulk_labels")
        >>> model = hrca.HRCA(reference, size="laptop")
        >>> model.train(max_epochs=1, enable_progress_bar=False)
        >>> table = model.explain(
        ...     reference,
        ...     groupby="bulk_labels",
        ...     label="CD19+ B",
        ...     against="CD56+ NK",
        ...     n_genes=3,
        ...     network_genes=False,
        ... )
        >>> list(table[table["cells"] == "CD19+ B"]["gene"])
        ['CD74', 'IGJ', 'IGLL5', '(other genes)', '(network)']
        """
        self._check_finetuned()
        check_labels(self.labels, {"label": label, "against": against})
        for name, number in (("n_genes", n_genes), ("n_cells", n_cells)):
            if number is not None and number < 1:
                raise ValueError(f"`{name}` must be at least 1, got {number}.")
        if network_genes:
            check_captum()
        query = self._open_query(adata, layer, gene_map=gene_map)
        rows = np.arange(query.n_obs) if indices is None else select_cells(query.adata, indices)[1].rows
        settings = PredictionSettings(platform_correction=platform_correction, open_set=open_set, calibrated=False)
        groups = None if groupby is None else _groups(query, groupby)
        names = np.asarray(query.adata.obs_names)
        fitted = fit_and_score(
            self.module,
            query,
            choose_rows(groups, rows, names, n_cells),
            None if self.novelty_reference_ is None else self.novelty_reference_.sums,
            settings,
            batch_size=resolve_batch_size(batch_size),
        )
        fitted = _without_empty_cells(fitted, names)
        units = make_units(
            fitted.scores,
            (names if groups is None else groups.astype(str).to_numpy())[fitted.rows],
            self.labels,
            label=label,
            against=against,
            grouped=groups is not None,
        )
        return explain_units(
            self.module,
            fitted,
            units,
            (np.array(self.labels, dtype=object), self.gene_names.to_numpy(dtype=object)),
            n_genes=n_genes,
            network_genes=network_genes,
            batch_size=resolve_batch_size(batch_size),
        )

    @within_cpu_quota()
    def label_markers(self, *, against: str = REST, n_genes: int = 10, depth: float = REFERENCE_DEPTH) -> pd.DataFrame:
        """Return the genes that speak most for each label, by the profiles of the count likelihood.

        Parameters
        ----------
        against
            The comparison of each label. "rest": all other labels, by the mean of their scores. "nearest": the
            other label that gets the highest score in a typical cell of the label. Otherwise the label of this name.
        n_genes
            Maximum number of genes of a label.
        depth
            Counts of the typical cell, in which each gene has the fraction of the label's profile.

        Returns
        -------
        The genes of each label in decreasing order, with these columns:

        - ``label``, ``against``, which is a label or "rest", and ``gene``;
        - ``fraction``, the gene's fraction of the counts of the label, over the genes that the model uses;
        - ``fraction_against``, the same for what the label is compared with;
        - ``rank``, the place of the label among all labels by this fraction, 1 for the highest;
        - ``contribution`` of the gene to the label's score in the typical cell, in nats as in :meth:`explain`; above 0.

        Raises
        ------
        ValueError
            If the model is not fine-tuned, has one label or no count likelihood; `against` is neither "rest",
            "nearest" nor a label; or `n_genes` is below 1 or `depth` not above 0.

        Examples
        --------
        >>> import hrca
        >>> reference = hrca.datasets.pbmc68k()
        >>> hrca.HRCA.setup_anndata(reference, labels_key="bulk_labels")
        >>> model = hrca.HRCA(reference, size="laptop")
        >>> model.train(max_epochs=1, enable_progress_bar=False)
        >>> markers = model.label_markers(n_genes=3)
        >>> list(markers[markers["label"] == "CD19+ B"]["gene"])
        ['IGLL5', 'IGJ', 'CD74']
        """
        self._check_finetuned()
        if against not in (REST, NEAREST, *self.labels):
            raise ValueError(
                f'`against` must be "{REST}", "{NEAREST}" or a label of the model, got {against!r}. `model.labels` has '
                "the labels."
            )
        check_labels(self.labels, {})
        likelihood = likelihood_of(self.module)
        if likelihood is None:
            raise ValueError(
                "The markers come from the profiles of the count likelihood, but this model has none. A model with "
                "`count_likelihood=True` has; `model.explain(query)` also explains the networks alone."
            )
        if n_genes < 1 or not depth > 0:
            raise ValueError(f"`n_genes` must be at least 1 and `depth` above 0, got {n_genes} and {depth}.")
        names = np.array(self.labels, dtype=object), self.gene_names.to_numpy(dtype=object)
        gene_mask = self.module.gene_mask.cpu().numpy().astype(float)
        return marker_table(likelihood, gene_mask, names, against=against, n_genes=n_genes, depth=float(depth))


def _groups(query: Query, groupby: str) -> pd.Series:
    """Return the group of each cell, shape (n_obs,)."""
    obs = query.adata.obs
    if groupby not in obs:
        raise ValueError(f"`groupby` must name a column of the query's obs, got {groupby!r}; it has {list(obs)}.")
    groups = pd.Series(obs[groupby])
    if groups.isna().all():
        raise ValueError(f"`groupby` must name a column with groups, but all cells have missing values in {groupby!r}.")
    return groups


def _without_empty_cells(fitted: FittedQuery, names: np.ndarray) -> FittedQuery:
    """Leave out cells without counts on the shared genes, with a warning."""
    has_counts = fitted.scores.has_counts
    if has_counts.all():
        return fitted
    empty = names[fitted.rows[~has_counts]]
    shown = ", ".join(map(str, empty[:3])) + (", ..." if len(empty) > 3 else "")
    warn_user(
        f"{counted_among(len(empty), len(has_counts), 'cell', ('has', 'have'))} no counts on the model's genes and no "
        f"explanation: {shown}."
    )
    return fitted.subset(has_counts)
