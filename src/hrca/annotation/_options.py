"""Options of a prediction, and the labels that it can return."""

import numbers
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from hrca._hierarchy import LabelTree

from ._result import check_terms


@dataclass(frozen=True)
class LabelSpace:
    """The labels that a model can return.

    Attributes
    ----------
    labels
        The labels that the model was trained on, in the order of its probabilities.
    parents
        The parent of each label and ancestor that has one; empty without a hierarchy.
    unlabeled_category
        The category of cells without a label.
    """

    labels: list[str]
    parents: dict[str, str]
    unlabeled_category: str

    @property
    def tree(self) -> LabelTree:
        """The labels and their ancestors."""
        return LabelTree(self.labels, self.parents)


@dataclass(frozen=True)
class PredictOptions:
    """Options of :meth:`hrca.HRCA.predict` that turn probabilities into labels and prediction sets.

    Attributes
    ----------
    level
        Level of the hierarchy that is predicted, 0 for the coarsest; None: the labels themselves.
    min_confidence
        Minimum probability of a predicted label, 0 to 1. Less probable labels are replaced by an ancestor.
    novelty_fpr
        False positive rate at which cells are rejected for their novelty, between 0 and 1. It also rejects cells with a
        novel probability of at least .5. None: no cell is rejected.
    coverage
        Probability that a cell's prediction set contains the true label, between 0 and 1; None: no sets.
    class_conditional
        Whether the coverage is to hold for each label separately.
    reweight_to_query
        Whether the held-out cells are weighted by their similarity to the query.
    """

    level: int | None = None
    min_confidence: float = 0.0
    novelty_fpr: float | None = None
    coverage: float | None = None
    class_conditional: bool = False
    reweight_to_query: bool = False

    def settings(self) -> dict[str, object]:
        """Return the options as uns records them: without sets, the options of sets are None."""
        settings = asdict(self)
        if self.coverage is None:
            settings |= {"class_conditional": None, "reweight_to_query": None}
        return settings

    def check(
        self,
        label_space: LabelSpace,
        *,
        writes_results: bool,
        has_novelty_reference: bool,
        has_conformal_scores: bool,
    ) -> None:
        """Raise an error if a model cannot predict with these options; see also :meth:`check_values`.

        Parameters
        ----------
        label_space
            The labels that the model can return.
        writes_results
            Whether the results are written to the query.
        has_novelty_reference
            Whether the model holds reference cells that novelty is measured against.
        has_conformal_scores
            Whether the model holds scores of held-out cells, from which prediction sets are computed.

        Raises
        ------
        ValueError
            If `level` is given for a model without a hierarchy, or is not one of its levels; if `novelty_fpr` is given
            for a model that holds no reference cells; or if `coverage` is given and nothing is written, or the model
            has no held-out cells.
        """
        if self.level is not None:
            _check_level(self.level, label_space)  # names the levels of this model
        self.check_values()
        if self.novelty_fpr is not None:
            _check_novelty(has_novelty_reference)
        if self.coverage is not None:
            _check_coverage(writes_results, has_conformal_scores)

    def check_values(self) -> None:
        """Raise an error for a value that is valid for no model.

        Raises
        ------
        ValueError
            If `level` is no whole number, or is below 0; if `min_confidence` is not in [0, 1]; if `novelty_fpr` or
            `coverage` is not in (0, 1); if `class_conditional` or `reweight_to_query` is given without `coverage`, or
            both are given.
        TypeError
            If `min_confidence`, `novelty_fpr` or `coverage` is no number.
        """
        for name in ("min_confidence", "novelty_fpr", "coverage"):
            value = getattr(self, name)
            may_be_none = name != "min_confidence"
            if not (isinstance(value, numbers.Real) or (value is None and may_be_none)) or isinstance(value, bool):
                typical = 0.05 if name == "novelty_fpr" else 0.9
                raise TypeError(
                    f"`{name}` must be a number{' or None' if may_be_none else ''}, got {value!r}. A usual value is "
                    f"{typical}."
                )
        if self.level is not None and (not isinstance(self.level, numbers.Integral) or self.level < 0):
            raise ValueError(f"`level` must be a whole number from 0, the coarsest, got {self.level!r}.")
        if not 0 <= self.min_confidence <= 1:
            raise ValueError(f"`min_confidence` must be from 0 to 1, got {self.min_confidence}. A usual value is 0.9.")
        for name, typical in (("novelty_fpr", 0.05), ("coverage", 0.9)):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise ValueError(f"`{name}` must be between 0 and 1, got {value}. A usual value is {typical}.")
        self._check_set_options()

    def check_used_for_probabilities(self) -> None:
        """Raise an error for an option of the labels, where probabilities alone are returned, and nothing is written.

        Raises
        ------
        ValueError
            If `min_confidence` or `novelty_fpr` is given.
        """
        for name, default in (("min_confidence", 0.0), ("novelty_fpr", None)):
            if getattr(self, name) != default:
                raise ValueError(
                    f"`{name}={getattr(self, name)}` changes labels, but `soft=True` returns probabilities, and "
                    f"`key_added=None` writes no labels. Leave out `{name}`, or give a `key_added`."
                )

    def _check_set_options(self) -> None:
        given = [name for name in ("class_conditional", "reweight_to_query") if getattr(self, name)]
        if given and self.coverage is None:
            raise ValueError(f"`{given[0]}` is an option of prediction sets, so it needs a `coverage`, got None.")
        if len(given) > 1:
            raise ValueError(
                "Prediction sets can be `class_conditional` or `reweight_to_query`, got both: the weights would leave "
                "too few held-out cells of each label. Choose one."
            )


def _check_level(level: int, label_space: LabelSpace) -> None:
    if not label_space.parents:
        raise ValueError(
            f"`level` needs a hierarchy of the labels, got {level} and a model without one. "
            "Set the reference up with `setup_anndata(..., labels_hierarchy=...)`."
        )
    n_levels = label_space.tree.n_levels
    if not isinstance(level, numbers.Integral) or not 0 <= level < n_levels:
        raise ValueError(
            f"`level` must be a whole number from 0, the coarsest, to {n_levels - 1}, the finest of the model's "
            f"hierarchy, got {level!r}."
        )


def _check_novelty(has_novelty_reference: bool) -> None:
    if not has_novelty_reference:
        raise ValueError(
            "Novelty is measured against cells of the reference, but this model holds none: it has published weights, "
            "or was trained by an earlier version. `model.finetune()` stores them."
        )


def _check_coverage(writes_results: bool, has_conformal_scores: bool) -> None:
    if not writes_results:
        raise ValueError("Prediction sets are written to the query: `coverage` needs a `key_added`, got None.")
    if not has_conformal_scores:
        raise ValueError(
            "Prediction sets need cells that were held out from training, but this model has none: no label had enough "
            "cells to hold one out, `train_size` was 1, or its weights are the published ones. Train it with more "
            "cells of each label, or with a smaller `train_size`."
        )


def check_ontology_terms(
    label_space: LabelSpace, options: PredictOptions, terms: Mapping[str, str], *, writes_results: bool
) -> None:
    """Raise an error if a label that can be predicted has no valid Cell Ontology id.

    Parameters
    ----------
    label_space
        The labels that the model can return.
    options
        Options of the prediction; `level` and `min_confidence` decide which labels are possible.
    terms
        Cell Ontology id of each label.
    writes_results
        Whether the results are written to the query.

    Raises
    ------
    ValueError
        If nothing is written, a possible label has no id, or an id is not of the form "CL:0000236".
    """
    if not writes_results:
        raise ValueError("Ids are written to the query: `ontology_terms` needs a `key_added`, got None.")
    tree = label_space.tree
    if options.level is not None:
        tree, _ = tree.at_level(np.zeros((0, len(label_space.labels))), options.level)
    check_terms(terms, tree.nodes if options.min_confidence else list(tree.labels))
