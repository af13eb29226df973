"""Options of a prediction."""

import numbers
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from hrca._hierarchy import LabelTree

from ._result import check_terms


@dataclass(frozen=True)
class LabelSpace:
    """What a model can answer with.

    Attributes
    ----------
    labels
        The labels that it tells apart, in the order of its probabilities.
    parents
        The parent of each label and ancestor that has one.
    unlabeled_category
        The answer for a cell that gets none of these.
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
    """What a user asks of :meth:`hrca.HRCA.predict`; the attributes are as there."""

    level: int | None = None
    min_confidence: float = 0.0
    novelty_fpr: float | None = None
    coverage: float | None = None
    class_conditional: bool = False
    reweight_to_query: bool = False

    def settings(self) -> dict:
        """Return what to note of it: all but what is said of sets, where none are asked for."""
        settings = asdict(self)
        return (
            settings if self.coverage is not None else settings | {"class_conditional": None, "reweight_to_query": None}
        )

    def check(self, vocabulary: LabelSpace, *, writes: bool, knows_reference: bool, has_held_out: bool) -> None:
        """Refuse what cannot be asked of a model.

        Parameters
        ----------
        vocabulary
            What it can answer with.
        writes
            Whether the answers are written to the query.
        knows_reference
            Whether it has cells to measure novelty by.
        has_held_out
            Whether it has cells to choose sets by.

        Raises
        ------
        ValueError
            As :meth:`hrca.HRCA.predict` for `level`, `min_confidence`, `novelty_fpr`, `coverage`,
            `class_conditional` and `weighted`.
        """
        if self.level is not None:
            self._check_level(vocabulary)
        if not 0 <= self.min_confidence <= 1:
            raise ValueError(f"`min_confidence` must be from 0 to 1, got {self.min_confidence}. A usual one is 0.9.")
        if self.novelty_fpr is not None:
            self._check_rejection(knows_reference)
        if self.coverage is not None:
            self._check_sets(writes, has_held_out)
        elif self.class_conditional or self.reweight_to_query:
            name = "class_conditional" if self.class_conditional else "reweight_to_query"
            raise ValueError(f"`{name}` says how sets are chosen: it needs a `coverage`, got None.")

    def _check_level(self, vocabulary: LabelSpace) -> None:
        if not vocabulary.parents:
            raise ValueError(
                f"`level` needs a hierarchy of the labels, got {self.level} and a model without one. "
                "`setup_anndata(..., labels_hierarchy=...)` names it."
            )
        n_levels = vocabulary.tree.n_levels
        if not isinstance(self.level, numbers.Integral) or not 0 <= self.level < n_levels:
            raise ValueError(
                f"`level` must be a whole number from 0, the coarsest, to {n_levels - 1}, the finest of the model's "
                f"hierarchy, got {self.level!r}."
            )

    def _check_rejection(self, knows_reference: bool) -> None:
        if not 0 < self.novelty_fpr < 1:
            raise ValueError(f"`novelty_fpr` must be between 0 and 1, got {self.novelty_fpr}. A usual one is 0.05.")
        if not knows_reference:
            raise ValueError(
                "Novelty is measured by cells of the reference, but this model has none: it has published weights, or "
                "was trained by an earlier version. `model.finetune()` keeps them."
            )

    def _check_sets(self, writes: bool, has_held_out: bool) -> None:
        if not 0 < self.coverage < 1:
            raise ValueError(f"`coverage` must be between 0 and 1, got {self.coverage}. The usual is 0.9.")
        if not writes:
            raise ValueError("Sets of labels are written to the query: `coverage` needs a `key_added`, got None.")
        if self.class_conditional and self.reweight_to_query:
            raise ValueError(
                "Sets can be `class_conditional` or `weighted`, got both: with the weights, few held-out cells of each "
                "label would be left. Choose one."
            )
        if not has_held_out:
            raise ValueError(
                "Sets of labels need cells that were held out from training, but this model has none. Train it with "
                "`train_size` below 1; published weights have no sets."
            )


def check_ontology_terms(
    vocabulary: LabelSpace, asked: PredictOptions, terms: Mapping[str, str], *, writes: bool
) -> None:
    """Refuse ids that do not serve every answer that can be given.

    Raises
    ------
    ValueError
        If nothing is written, or as :func:`hrca.annotation._result.check_terms`.
    """
    if not writes:
        raise ValueError("Ids are written to the query: `ontology_terms` needs a `key_added`, got None.")
    tree = vocabulary.tree
    if asked.level is not None:
        tree, _ = tree.at_level(np.zeros((0, len(vocabulary.labels))), asked.level)
    check_terms(terms, tree.nodes if asked.min_confidence else list(tree.labels))
