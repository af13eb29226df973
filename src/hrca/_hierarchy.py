"""Labels as a tree: from what a user has to the parents of labels, from probabilities to an answer of any level."""

import logging
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

logger = logging.getLogger(__name__)

# What `setup_anndata` takes: parents, a separator, columns from coarse to fine, or an ontology.
Hierarchy = Mapping[str, str] | str | Sequence[str] | Path

# Sums of single-precision probabilities that should be 1 can fall short by this.
SUM_ATOL = 1e-6


@dataclass(frozen=True)
class LabelTree:
    """Labels and their ancestors.

    Attributes
    ----------
    labels
        The labels that a model tells apart, in its order.
    parents
        The parent of each label or ancestor that has one.
    """

    labels: Sequence[str]
    parents: Mapping[str, str]

    @property
    def nodes(self) -> list[str]:
        """The labels, then their ancestors by name."""
        ancestors = {node for label in self.labels for node in lineage(label, self.parents)}
        return [*self.labels, *sorted(ancestors - set(self.labels))]

    @property
    def n_levels(self) -> int:
        """How many levels there are, from the tops to the deepest label."""
        return max(len(lineage(label, self.parents)) for label in self.labels)

    def at_level(self, probabilities: np.ndarray, level: int) -> tuple["Tree", np.ndarray]:
        """Return the tree down to a level, 0 for the tops, and the probabilities of what are its labels then."""
        lineages = [lineage(label, self.parents)[::-1] for label in self.labels]
        stands_for = [line[min(level, len(line) - 1)] for line in lineages]
        names = list(dict.fromkeys(stands_for))
        belongs = np.equal.outer(np.array(stands_for, dtype=object), np.array(names, dtype=object))
        return LabelTree(names, self.parents), probabilities @ belongs.astype(probabilities.dtype)

    def aggregate(self, probabilities: np.ndarray) -> np.ndarray:
        """Sum probabilities of labels, shape (n_obs, n_labels), to all nodes, shape (n_obs, n_nodes)."""
        nodes = pd.Index(self.nodes)
        belongs = np.zeros((len(self.labels), len(nodes)), dtype=probabilities.dtype)
        for i, label in enumerate(self.labels):
            belongs[i, nodes.get_indexer(lineage(label, self.parents))] = 1
        return probabilities @ belongs

    def back_off(self, probabilities: np.ndarray, min_confidence: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Answer from the top down: the most probable child of the most probable parent, as far as the probability reaches.

        Parameters
        ----------
        probabilities
            Of the labels, shape (n_obs, n_labels).
        min_confidence
            The least probability of an answer.

        Returns
        -------
        Index of the node that answers, -1 where no top reaches `min_confidence`, and its probability, that of the
        most probable top where none does; both of shape (n_obs,).
        """
        nodes = pd.Index(self.nodes)
        sums = self.aggregate(probabilities)
        children: dict[int, list[int]] = {}
        for i, node in enumerate(nodes):
            parent = self.parents.get(node)
            children.setdefault(-1 if parent is None else nodes.get_loc(parent), []).append(i)
        answer = np.full(len(sums), -1)
        confidence = sums[:, children[-1]].max(axis=1, initial=0)
        going = {-1: np.arange(len(sums))}
        while going:
            node, cells = going.popitem()
            below = children.get(node, [])
            if not below or not len(cells):
                continue
            options = sums[np.ix_(cells, below)]
            # a node that is a label, too, holds what its children leave
            own = probabilities[cells, node] if 0 <= node < len(self.labels) else np.full(len(cells), -1.0)
            best, most = options.argmax(axis=1), options.max(axis=1)
            goes_on = (most >= min_confidence - SUM_ATOL) & (most >= own)
            for i in np.unique(best[goes_on]):
                moved = cells[goes_on & (best == i)]
                answer[moved], confidence[moved] = below[i], sums[moved, below[i]]
                going[below[i]] = moved
        return answer, confidence


def lineage(label: str, parents: Mapping[str, str]) -> list[str]:
    """Return a label and its ancestors, from the bottom up.

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
                "Take one of these links out."
            )
        line.append(parent)
    return line


def read_hierarchy(
    hierarchy: Hierarchy | None, obs: pd.DataFrame, labels_key: str | None, unlabeled_category: str
) -> dict[str, str] | None:
    """Return the parent of each label and ancestor that has one.

    Parameters
    ----------
    hierarchy
        A mapping from child to parent; a separator between the levels of a label's name, coarse to fine; columns of
        `obs` from coarse to fine, the last one `labels_key`; a file of an ontology in OBO format, of which the labels
        are ids; None: no hierarchy.
    obs
        The reference's.
    labels_key
        Column with the labels.
    unlabeled_category
        The label of cells without one; it stands outside the tree.

    Raises
    ------
    ValueError
        If there are no labels, no label has a parent, a label has two, or a list in place of one, one is its own
        ancestor, the unlabelled category is in the tree, a column is missing, or the ontology lacks a label.
    """
    if hierarchy is None:
        return None
    if labels_key is None:
        raise ValueError("`labels_hierarchy` needs labels, but `labels_key` is None. Name their column.")
    labels = sorted(set(obs[labels_key].astype(str)) - {unlabeled_category})
    if isinstance(hierarchy, Mapping):
        parents = _of_mapping(hierarchy)
        remedy = f"It has parents for {_some(sorted(parents))}: spell these as the labels, {{child: parent}}."
    elif isinstance(hierarchy, Path):
        parents = _of_ontology(hierarchy, labels)
        remedy = "No term of the ontology holds two of them."
    elif isinstance(hierarchy, str):
        parents = _of_names(labels, hierarchy)
        remedy = f"None of them has the separator, {hierarchy!r}: name another, or a mapping {{child: parent}}."
    else:
        parents = _of_columns(obs, list(hierarchy), labels_key, unlabeled_category)
        remedy = f"The columns {list(hierarchy)} hold the same names: name a coarser one first."
    # only what the labels need, and every lineage walked once, so that a circle is found here
    nodes = {node for label in labels for node in lineage(label, parents)}
    if unlabeled_category in nodes:
        raise ValueError(
            f"{unlabeled_category!r} is what cells without a label are called, so it cannot be a parent in "
            "`labels_hierarchy`. Choose another `unlabeled_category`."
        )
    # whole if it was given so: scvi repeats the setup when a model is loaded with fewer cells, of fewer labels
    kept = parents if isinstance(hierarchy, Mapping) else nodes
    used = {node: parents[node] for node in sorted(kept) if node in parents}
    strangers = sorted(set(parents) - nodes)
    if strangers:
        logger.warning("`labels_hierarchy` has parents for %s, which no label is or comes under.", strangers[:3])
    if not nodes & set(used):
        raise ValueError(
            f"`labels_hierarchy` must give some label a parent, but gives none. The labels are {_some(labels)}. "
            f"{remedy}"
        )
    return used


def _of_mapping(hierarchy: Mapping[str, str]) -> dict[str, str]:
    for child, parent in hierarchy.items():
        if not isinstance(parent, (str, numbers.Number)) or parent != parent:
            raise ValueError(
                f"`labels_hierarchy` must name the one parent of each of its children, {{child: parent}}, but has "
                f"{parent!r} for {child!r}. Leave out what has no parent; for several children, name each: "
                "{'CD4 T': 'T', 'CD8 T': 'T'}."
            )
    return {str(child): str(parent) for child, parent in hierarchy.items()}


def _some(names: Sequence[str]) -> str:
    """Name at most three, and say of how many."""
    return f"{list(names[:3])} (of {len(names)})" if len(names) > 3 else str(list(names))


def _of_names(labels: Sequence[str], separator: str) -> dict[str, str]:
    if not separator:
        raise ValueError("`labels_hierarchy`, a separator, must not be empty. In 'T/CD4' it is '/'.")
    parents = {}
    for label in labels:
        parts = label.split(separator)
        names = [separator.join(parts[: i + 1]) for i in range(len(parts))]
        parents.update(zip(names[1:], names, strict=False))
    return parents


def _of_columns(obs: pd.DataFrame, columns: list[str], labels_key: str, unlabeled_category: str) -> dict[str, str]:
    missing = [column for column in columns if column not in obs]
    if missing or columns[-1:] != [labels_key]:
        raise ValueError(
            f"`labels_hierarchy`, columns of obs from coarse to fine, must end with {labels_key!r}, the `labels_key`, "
            f"got {columns}; obs has {list(obs.columns)}."
        )
    labelled = obs.loc[obs[labels_key] != unlabeled_category, columns]
    if labelled.isna().any(axis=None):
        raise ValueError(
            f"Every labelled cell must have an entry in {columns}, the `labels_hierarchy`, but some are missing. "
            "Repeat the finer or the coarser label there."
        )
    parents: dict[str, str] = {}
    for coarse, fine in zip(columns, columns[1:], strict=False):
        for parent, child in labelled[[coarse, fine]].astype(str).drop_duplicates().itertuples(index=False):
            # the same name on two levels is one node
            if parent != child and parents.setdefault(child, parent) != parent:
                raise ValueError(
                    f"In `labels_hierarchy` a label must have one parent, but {child!r} of obs[{fine!r}] has "
                    f"{parents[child]!r} and {parent!r}. Name its cells differently, or correct obs[{coarse!r}]."
                )
    return parents


def _of_ontology(path: Path, labels: Sequence[str]) -> dict[str, str]:
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
    above = {label: nx.descendants(is_a, label) | {label} for label in labels}
    holds = pd.Series([node for nodes in above.values() for node in nodes]).value_counts()
    return _tree_of(is_a, [node for node in holds.index if node in labels or holds[node] > 1], holds)


def _tree_of(is_a, nodes: Sequence[str], holds: pd.Series) -> dict[str, str]:
    """Give each of these nodes the one of its ancestors that holds the fewest labels: an ontology is no tree.

    Nodes that hold the same labels are one level: the deepest of them stays.
    """
    import networkx as nx

    ancestors = {node: nx.descendants(is_a, node) & set(nodes) for node in nodes}
    parents = {}
    for node in nodes:
        wider = [other for other in ancestors[node] if holds[other] > holds[node]]
        if wider:
            parents[node] = min(wider, key=lambda other: (holds[other], -len(ancestors[other]), other))
    return parents
