"""Labels as a tree: read a hierarchy of labels, and aggregate the probabilities of labels along it."""

import logging
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

logger = logging.getLogger(__name__)

# The forms of a hierarchy: a mapping from child to parent, a separator within the labels' names, columns of obs from
# coarse to fine, or the file of an ontology.
Hierarchy = Mapping[str, str] | str | Sequence[str] | Path

# Tolerance for sums of single-precision probabilities: a sum that should be 1 can be smaller by rounding.
SUM_ATOL = 1e-6

# Words for a cell without a label, without regard to case: missing values after `astype(str)`, R's NA, "unknown" of
# CELLxGENE's schema, and words of public atlases.
WORDS_FOR_NO_LABEL = {
    *("nan", "none", "na", "n/a", "<na>", "nat", "null", "nil", "missing", "not available", "not applicable"),
    *("unknown", "unassigned", "unlabeled", "unlabelled", "unannotated", "unclassified", "undefined", "undetermined"),
    *("unspecified", "not assigned", "no label", "unknown cell type", "?", "-", "--"),
}

# Index that stands for the parent of the nodes without a parent, and for a cell without a predicted node.
NO_NODE = -1


@dataclass(frozen=True)
class LabelTree:
    """Labels and their ancestors.

    Attributes
    ----------
    labels
        The labels, in the order of their probabilities. A label may be the ancestor of another one.
    parents
        The parent of each label and ancestor that has one.
    """

    labels: Sequence[str]
    parents: Mapping[str, str]

    @property
    def nodes(self) -> list[str]:
        """The labels in their order, then all other ancestors in alphabetical order."""
        ancestors = {node for label in self.labels for node in lineage(label, self.parents)}
        return [*self.labels, *sorted(ancestors - set(self.labels))]

    @property
    def n_levels(self) -> int:
        """Number of levels, from the coarsest nodes to the deepest label."""
        return max(len(lineage(label, self.parents)) for label in self.labels)

    def at_level(self, probabilities: np.ndarray, level: int) -> tuple["LabelTree", np.ndarray]:
        """Cut the tree at a level, and sum the probabilities of the labels below it.

        Parameters
        ----------
        probabilities
            Probabilities of the labels, shape (n_obs, n_labels).
        level
            The level, 0 for the coarsest nodes. A label above this level stays.

        Returns
        -------
        The cut tree, and the probabilities of its labels, shape (n_obs, n_labels of the cut tree).
        """
        lineages = [lineage(label, self.parents)[::-1] for label in self.labels]
        ancestors = [line[min(level, len(line) - 1)] for line in lineages]
        names = list(dict.fromkeys(ancestors))
        is_below = np.equal.outer(np.array(ancestors, dtype=object), np.array(names, dtype=object))
        return LabelTree(names, self.parents), probabilities @ is_below.astype(probabilities.dtype)

    def aggregate(self, probabilities: np.ndarray) -> np.ndarray:
        """Sum the probabilities of labels to those of all nodes.

        Parameters
        ----------
        probabilities
            Probabilities of the labels, shape (n_obs, n_labels).

        Returns
        -------
        Probabilities of :attr:`nodes`, shape (n_obs, n_nodes): that of a node is the sum over the node itself, if it is
        a label, and all labels below it.
        """
        position = {node: i for i, node in enumerate(self.nodes)}
        is_below = np.zeros((len(self.labels), len(position)), dtype=probabilities.dtype)
        for i, label in enumerate(self.labels):
            is_below[i, [position[node] for node in lineage(label, self.parents)]] = 1
        return probabilities @ is_below

    def back_off(self, probabilities: np.ndarray, min_confidence: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Predict the finest node of each cell that is probable enough.

        The search starts at the coarsest nodes and moves to the most probable child while its probability is at least
        `min_confidence`. It also stops at a node that is itself a label, and as such more probable than each child.

        Parameters
        ----------
        probabilities
            Probabilities of the labels, shape (n_obs, n_labels).
        min_confidence
            Minimum probability of a predicted node.

        Returns
        -------
        Index of the predicted node in :attr:`nodes`, and its probability, both of shape (n_obs,). Where none of the
        coarsest nodes reaches `min_confidence`, the index is -1 and the probability is that of the most probable one.
        """
        children = self._children()
        node_probabilities = self.aggregate(probabilities)
        predicted = np.full(len(probabilities), NO_NODE)
        confidence = node_probabilities[:, children[NO_NODE]].max(axis=1, initial=0)
        open_cells = {NO_NODE: np.arange(len(probabilities))}
        while open_cells:
            node, cells = open_cells.popitem()
            candidates = np.array(children.get(node, []), dtype=int)
            if not len(candidates) or not len(cells):
                continue
            node_probability = probabilities[cells, node] if 0 <= node < len(self.labels) else np.full(len(cells), -1.0)
            candidate_probabilities = node_probabilities[np.ix_(cells, candidates)]
            best, highest = candidate_probabilities.argmax(axis=1), candidate_probabilities.max(axis=1)
            moves = (highest >= min_confidence - SUM_ATOL) & (highest >= node_probability)
            for i in np.unique(best[moves]):
                child, moved = int(candidates[i]), cells[moves & (best == i)]
                predicted[moved], confidence[moved] = child, node_probabilities[moved, child]
                open_cells[child] = moved
        return predicted, confidence

    def _children(self) -> dict[int, list[int]]:
        """Return the indices of each node's children; `NO_NODE` has the nodes without a parent."""
        nodes = self.nodes
        position = {node: i for i, node in enumerate(nodes)}
        children: dict[int, list[int]] = {}
        for i, node in enumerate(nodes):
            parent = self.parents.get(node)
            children.setdefault(NO_NODE if parent is None else position[parent], []).append(i)
        return children


def lineage(label: str, parents: Mapping[str, str]) -> list[str]:
    """Return a label and its ancestors, from the finest to the coarsest.

    Parameters
    ----------
    label
        The label.
    parents
        The parent of each label and ancestor that has one.

    Returns
    -------
    The label, its parent, the parent of that, and so on.

    Raises
    ------
    ValueError
        If a label is its own ancestor.

    Examples
    --------
    >>> lineage("CD4 T", {"CD4 T": "T", "T": "lymphoid"})
    ['CD4 T', 'T', 'lymphoid']
    """
    line = [label]
    while line[-1] in parents:
        parent = parents[line[-1]]
        if parent in line:
            raise ValueError(
                f"The parents of labels must form a tree, but {parent!r} is its own ancestor: {[*line, parent]}. "
                "Remove one of these links."
            )
        line.append(parent)
    return line


def is_word_for_no_label(name: str) -> bool:
    """Return True for a word that means that a cell has no label.

    Examples
    --------
    >>> is_word_for_no_label("Unassigned "), is_word_for_no_label("NA"), is_word_for_no_label("NK")
    (True, True, False)
    """
    return name.strip().casefold().replace("_", " ") in WORDS_FOR_NO_LABEL


def read_hierarchy(
    hierarchy: Hierarchy | None, obs: pd.DataFrame, labels_key: str | None, unlabeled_category: str
) -> dict[str, str] | None:
    """Return the parent of each label and ancestor that has one.

    Parameters
    ----------
    hierarchy
        A mapping from child to parent; a separator between the levels in a label's name, coarse to fine; columns of
        `obs` from coarse to fine, the last one `labels_key`; the file of an ontology in OBO format, with its ids as
        labels; or None for no hierarchy.
    obs
        Table of the reference cells, shape (n_obs, n_columns).
    labels_key
        Column with the labels.
    unlabeled_category
        The category of cells without a label. It is not part of the tree.

    Returns
    -------
    The parents; None without a hierarchy. A mapping is returned whole: scvi repeats the setup of a loaded model with
    cells that may have fewer labels.

    Raises
    ------
    ValueError
        If there are no labels; no label has a parent; a label has two parents, or a list in place of one; a label is
        its own ancestor; the unlabelled category is a parent, or a word such as "nan" or "unknown"; a column is
        missing; or the ontology lacks a label.
    FileNotFoundError
        If there is no such file.
    ImportError
        If `hierarchy` is a file and the extra ``ontology`` is not installed.
    """
    if hierarchy is None:
        return None
    if labels_key is None:
        raise ValueError("`labels_hierarchy` needs labels, but `labels_key` is None. Name their column.")
    labels = sorted(set(obs[labels_key].astype(str)) - {unlabeled_category})
    parents, remedy = _read_parents(hierarchy, obs, labels, labels_key, unlabeled_category)
    # the lineage of each label is followed here, which detects a cycle
    nodes = {node for label in labels for node in lineage(label, parents)}
    if unlabeled_category in nodes:
        raise ValueError(
            f"{unlabeled_category!r} is the category of cells without a label, so it cannot be a parent in "
            "`labels_hierarchy`. Choose another `unlabeled_category`."
        )
    words = sorted(node for node in nodes if is_word_for_no_label(node))
    if words:
        raise ValueError(
            f"The parents of labels must be cell types, but `labels_hierarchy` has {words}, which means that a cell "
            "has none. Leave out the parents of these labels, or repeat the label in the coarser column."
        )
    unused = sorted(set(parents) - nodes)
    if unused:
        logger.warning("`labels_hierarchy` has parents for %s, which are no labels or ancestors of them.", unused[:3])
    children = set(parents) if isinstance(hierarchy, Mapping) else nodes & set(parents)
    if not nodes & children:
        raise ValueError(
            f"`labels_hierarchy` must give some label a parent, but gives none. The labels are {first_names(labels)}. "
            f"{remedy}"
        )
    return {node: parents[node] for node in sorted(children)}


def _read_parents(
    hierarchy: Hierarchy, obs: pd.DataFrame, labels: list[str], labels_key: str, unlabeled_category: str
) -> tuple[dict[str, str], str]:
    """Return the parents of a hierarchy of any kind, and the remedy if no label has one."""
    if isinstance(hierarchy, Mapping):
        parents = _parents_from_mapping(hierarchy)
        names = first_names(sorted(parents))
        return parents, f"It has parents for {names}: these must be spelled like the labels, {{child: parent}}."
    if isinstance(hierarchy, Path):
        return _parents_from_ontology(hierarchy, labels), "No term of the ontology is an ancestor of two of them."
    if isinstance(hierarchy, str):
        remedy = f"None of them has the separator {hierarchy!r}. Give another one, or a mapping {{child: parent}}."
        return _parents_from_separator(labels, hierarchy), remedy
    columns = list(hierarchy)
    remedy = f"The columns {columns} hold the same names. Put a coarser column first."
    return _parents_from_columns(obs, columns, labels_key, unlabeled_category), remedy


def first_names(names: Sequence[str]) -> str:
    """Return at most three names, and the number of all."""
    return f"{list(names[:3])} (of {len(names)})" if len(names) > 3 else str(list(names))


def _parents_from_mapping(hierarchy: Mapping[str, str]) -> dict[str, str]:
    for child, parent in hierarchy.items():
        if not isinstance(parent, (str, numbers.Number)) or parent != parent:  # NaN is a number, but not itself
            raise ValueError(
                f"`labels_hierarchy` must map each child to its one parent, {{child: parent}}, but has {parent!r} for "
                f"{child!r}. Leave out a label without a parent; list several children one by one: "
                "{'CD4 T': 'T', 'CD8 T': 'T'}."
            )
    return {str(child): str(parent) for child, parent in hierarchy.items()}


def _parents_from_separator(labels: Sequence[str], separator: str) -> dict[str, str]:
    if not separator:
        raise ValueError("`labels_hierarchy`, a separator, must not be empty. In 'T/CD4' it is '/'.")
    parents: dict[str, str] = {}
    for label in labels:
        parts = label.split(separator)
        names = [separator.join(parts[: i + 1]) for i in range(len(parts))]
        parents.update(zip(names[1:], names, strict=False))
    return parents


def _parents_from_columns(
    obs: pd.DataFrame, columns: list[str], labels_key: str, unlabeled_category: str
) -> dict[str, str]:
    missing = [column for column in columns if column not in obs]
    if missing or columns[-1:] != [labels_key]:
        raise ValueError(
            f"`labels_hierarchy`, columns of obs from coarse to fine, must end with {labels_key!r}, the `labels_key`, "
            f"got {columns}; obs has {list(obs.columns)}."
        )
    labelled = obs.loc[obs[labels_key] != unlabeled_category, columns]
    if labelled.isna().any(axis=None):
        raise ValueError(
            f"Each labelled cell must have an entry in each of the columns {columns}, the `labels_hierarchy`, but some "
            "entries are missing. Repeat the finer or the coarser label there."
        )
    parents: dict[str, str] = {}
    for coarse, fine in zip(columns, columns[1:], strict=False):
        n_cells = labelled[[coarse, fine]].astype(str).groupby([fine, coarse]).size()
        for child, of_child in n_cells.groupby(level=0):
            counts = of_child.droplevel(0)
            # one name in both columns is one node; it is a parent like others only where there are others
            named = {parent for parent in (*counts.index, parents.get(str(child))) if parent is not None}
            if len(counts) > 1 or len(named - {child}) > 1:
                found = " and ".join(
                    f"{parent!r} ({counts[parent]} cells)" if parent in counts else repr(parent)
                    for parent in sorted(named)
                )
                raise ValueError(
                    f"In `labels_hierarchy` a label must have one parent, but {child!r} of obs[{fine!r}] has "
                    f"{found}. Give its cells two names, or correct obs[{coarse!r}]."
                )
            if counts.index[0] != child:
                parents[str(child)] = counts.index[0]
    return parents


def _parents_from_ontology(path: Path, labels: Sequence[str]) -> dict[str, str]:
    """Reduce the `is_a` graph of an ontology to a tree of the labels and their common ancestors.

    In the graph a term can have several parents. Here each node gets the ancestor with the fewest labels below it. Of
    the terms with the same labels below them, only the deepest one is kept.
    """
    import networkx as nx
    import obonet

    with path.open() as file:
        graph = obonet.read_obo(file)
    is_a = nx.DiGraph((child, parent) for child, parent, kind in graph.edges(keys=True) if kind == "is_a")
    is_a.add_nodes_from(graph)
    missing = [label for label in labels if label not in is_a]
    if missing:
        raise ValueError(
            f"The labels must be ids of terms in {path.name}, but it lacks {missing[:3]}. Its ids look like "
            f"{sorted(is_a)[:2]}."
        )
    with_ancestors = {label: nx.descendants(is_a, label) | {label} for label in labels}
    n_labels = pd.Series([term for terms in with_ancestors.values() for term in terms]).value_counts()
    nodes = [term for term in n_labels.index if term in labels or n_labels[term] > 1]
    ancestors = {node: nx.descendants(is_a, node) & set(nodes) for node in nodes}
    parents: dict[str, str] = {}
    for node in nodes:
        wider = [other for other in ancestors[node] if n_labels[other] > n_labels[node]]
        if wider:
            parents[node] = min(wider, key=lambda other: (n_labels[other], -len(ancestors[other]), other))
    return parents
