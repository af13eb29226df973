"""The card of a model as Markdown, with the front matter of Hugging Face."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hrca._messages import counted
from hrca.annotation._prediction_warnings import MIN_EXPECTED_LOG_RATIO
from hrca.uncertainty._held_out import N_DEPTHS

from ._card import ModelCard
from ._card_facts import (
    MAX_COMPARED_LABELS,
    MIN_CONFUSED_FRACTION,
    STATED,
    CardFacts,
    ClosePairs,
    HeldOutTables,
    card_facts,
)
from ._model_file import MODEL_FORMAT

if TYPE_CHECKING:
    from ._base import HRCABase

NOT_STATED = "not stated"

# Scores that the command line shows, and their names there.
SHOWN_SCORES = {"accuracy": "accuracy", "macro_f1": "macro F1", "calibration_error": "calibration error"}

# Licences that Hugging Face has a name for, of those that data and weights are shared under
# (https://huggingface.co/docs/hub/repositories-licenses). Another one is "other", with its name beside it.
HUB_LICENSES = frozenset(
    "agpl-3.0 apache-2.0 bsd bsd-2-clause bsd-3-clause cc cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 "
    "cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 "
    "cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0 gpl "
    "gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 mit mpl-2.0 odbl odc-by openrail other pddl unknown unlicense".split()
)

# Characters that have a meaning in Markdown within a line.
MARKDOWN = re.compile(r"([\\`*_{}\[\]<>&~$#])")


def build_card(model: "HRCABase", stated: Mapping[str, str], panel: Sequence[str] | None = None) -> ModelCard:
    """Write the card of a model.

    Parameters
    ----------
    model
        The model, fine-tuned.
    stated
        What the user states, by the names in :data:`hrca.model._card_facts.STATED`.
    panel
        Genes of a panel, over which labels are compared; None: the genes that the model uses.

    Raises
    ------
    ValueError
        If the model is not fine-tuned, or shares no gene with the panel.
    """
    facts = card_facts(model, stated, panel)
    entries = {"format": MODEL_FORMAT, **facts.front_matter}
    tags = ["hrca", "scvi-tools", "biology", "single-cell", "spatial-transcriptomics", "cell-type-annotation"]
    tags += [stated[name] for name in ("species", "tissue") if name in stated]
    metadata = {**_license(stated.get("license")), "library_name": "hrca", "tags": tags, "hrca": entries}
    parts = [
        _head(entries),
        _reference(entries),
        _scores(facts),
        _pairs(facts.close_pairs),
        _versions(entries),
    ]
    return ModelCard(metadata, "\n".join(parts))


def escape(text: object) -> str:
    r"""Return text that Markdown shows as it is, in a line or in a cell of a table.

    Parameters
    ----------
    text
        The text.

    Examples
    --------
    >>> print(escape("CD8_T|a*"))
    CD8\_T&#124;a\*
    """
    # parsers of tables disagree about a backslash before "|"
    return MARKDOWN.sub(r"\\\1", " ".join(str(text).split())).replace("|", "&#124;")


def _license(name: str | None) -> dict[str, str]:
    """Return the entries of the front matter that state a licence."""
    if name is None:
        return {}
    identifier = re.sub(r"[\s_]+", "-", name.strip().lower())
    if identifier in HUB_LICENSES:
        return {"license": identifier}
    return {"license": "other", "license_name": identifier}


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table. The cells of the first two columns may be text, and are escaped; the others are numbers."""
    lines = [columns, ["---"] * len(columns), *([_cell(value) for value in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, str):
        return escape(value)
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "–"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    return f"{value:.3f}"


def _head(entries: dict[str, Any]) -> str:
    title = " ".join(entries["stated"].get(name, "") for name in ("species", "tissue")).strip()
    description = entries["stated"].get("description")
    return (
        f"# HRCA model{': ' + escape(title) if title else ''}\n\n"
        f"{description + chr(10) * 2 if description else ''}"
        f"The model labels single cells of spatial and of sequencing data with {len(entries['labels'])} cell types, "
        "from their raw counts, by [HRCA](https://hrca.readthedocs.io).\n\n"
        "```python\n"
        "import hrca\n\n"
        'model = hrca.models.pull("owner/name")  # of a folder: hrca.HRCA.load("folder")\n'
        "model.predict(query)  # an AnnData with raw counts\n"
        'query.obs[["hrca", "hrca_confidence", "hrca_novel_probability"]]\n'
        "```\n"
    )


def _reference(entries: dict[str, Any]) -> str:
    stated = entries["stated"]
    names = {"data": "data", "data_license": "licence of the data", "license": "licence of the model"}
    names |= {"species": "species", "tissue": "tissue"}
    # the user may write links here
    rows = [
        (text, " ".join(stated.get(name, NOT_STATED).split()).replace("|", "&#124;")) for name, text in names.items()
    ]
    not_known = "not known"
    rows += [
        ("cells", not_known if entries["n_obs"] is None else f"{entries['n_obs']:,}"),
        ("cells that trained", not_known if entries["n_train"] is None else f"{entries['n_train']:,}"),
        ("genes", f"{entries['n_genes']:,}"),
        ("labels", f"{len(entries['labels'])}, of `{entries['labels_key']}`"),
        ("parameters of the networks", f"{entries['n_parameters']:,}"),
        ("cells of the reference whose counts the files hold", f"{entries['n_stored_cells']:,}"),
        ("fingerprint of the weights", f"`{entries['model_id']}`"),
    ]
    lines = "".join(f"| {name} | {value} |\n" for name, value in rows)
    return f"## Reference\n\n| | |\n|---|---|\n{lines}"


def _scores(facts: CardFacts) -> str:
    entries, tables = facts.front_matter, facts.held_out
    counts = entries["labels"]
    if tables is None:
        rows = [(label, n) for label, n in counts.items()]
        return (
            "## Scores\n\nNo cells of the reference were held out: there are no scores, and the confidence is not "
            f"calibrated.\n\n{_table(['label', 'cells'], rows)}"
        )
    notes = ["Cells of the reference that the networks were not trained on were predicted as a query is."]
    if facts.n_folds is not None:
        notes.append(f"They come from a cross-fitting with {facts.n_folds} folds.")
    notes.append("The calibration was fitted to these cells. A query of another platform is labelled less accurately.")
    if facts.is_adapted:
        notes.append("The model was adapted to a query after these scores were computed.")
    overall = {name: int(x) if name == "n_obs" else float(x) for name, x in tables.overall.items()}
    overall["cells"] = overall.pop("n_obs")
    by_label = [
        (label, counts[label], int(row.n_held_out), *row[1:].astype(float)) for label, row in tables.by_label.iterrows()
    ]
    columns = ["label", "cells", "held out", "precision", "recall", "F1", "confidence", "calibration error"]
    return "\n".join(
        [
            f"## Scores\n\n{' '.join(notes)}\n",
            _table(
                ["score", ""], [(name.replace("_", " ").replace("f1", "F1"), value) for name, value in overall.items()]
            ),
            "### By label\n\nThe last two columns are about the cells that are predicted to have the label. Where the "
            "confidence is above the precision, it is too high.\n",
            _table(columns, by_label),
            _by_depth(tables),
        ]
    )


def _by_depth(tables: HeldOutTables) -> str:
    rows = [
        (depth, int(row.n_obs), row.accuracy, row.macro_f1, row.confidence, row.calibration_error)
        for depth, row in tables.by_depth.iterrows()
    ]
    both = tables.by_label_and_depth
    accuracy, confidence = (
        both[name].unstack("depth").reindex(columns=tables.by_depth.index) for name in both.columns[1:]
    )
    crossed = [
        (
            label,
            *("–" if np.isnan(x) else f"{x:.2f} / {y:.2f}" for x, y in zip(row, confidence.loc[label], strict=True)),
        )
        for label, row in accuracy.iterrows()
    ]
    at_least = f"at least {MIN_CONFUSED_FRACTION}"
    confused = [tuple(row) for row in tables.confusions.itertuples(index=False)]
    parts = [
        "### By depth\n\nThe depth of a cell is its number of counts on the genes of the model. Each held-out cell was "
        f"also predicted from {N_DEPTHS - 1} copies, which keep a random part of its counts.\n",
        _table(["depth", "copies", "accuracy", "macro F1", "confidence", "calibration error"], rows),
        "### By label and depth\n\nAccuracy / mean confidence of the copies of a known label.\n",
        _table(["label", *map(escape, tables.by_depth.index)], crossed),
        f"### Commonest confusions\n\nFractions of all copies of a label, {at_least}.\n",
        _table(["label", "predicted", "fraction"], confused) if confused else f"None of {at_least}.\n",
    ]
    return "\n".join(parts)


def _pairs(close: ClosePairs | None) -> str:
    title = "## Labels that the genes hardly tell apart\n\n"
    if close is None:
        most = f"more than {MAX_COMPARED_LABELS}"
        return f"{title}Not computed: the model has no count likelihood, one label, or {most}.\n"
    log_ratio = MIN_EXPECTED_LOG_RATIO
    ratio = f"an expected log-likelihood ratio of {log_ratio:g}, a factor of {np.exp(log_ratio):.1f}"
    if close.n_pairs:
        found = f"{counted(close.n_pairs, 'pair')} of labels need more counts than"
    else:
        found = "no pair of labels needs more counts than"
    sentence = (
        f"On {close.n_genes:,} genes, {found} a cell of {close.depth:,.0f} counts has, for {ratio} between their "
        "profiles. Cells vary around the profile of their label: the confusions above were measured. Those that need "
        "most:"
    )
    rows = [
        (
            row.label,
            row.other_label,
            "any number is too few" if np.isinf(row.counts) else f"{np.ceil(row.counts):,.0f}",
            "–" if np.isnan(row.remaining) else f"{row.remaining:.0%}",
        )
        for row in close.pairs.itertuples(index=False)
    ]
    columns = ["label", "other label", "counts needed", "part of the difference on all genes"]
    return f"{title}{sentence}\n\n{_table(columns, rows)}"


def _versions(entries: dict[str, Any]) -> str:
    rows = [*entries["versions"].items(), ("format of the files", str(entries["format"]))]
    return f"## Versions\n\n{_table(['package', 'version'], rows)}"


def summary_lines(card: ModelCard) -> list[str]:
    """Return the key facts of a card, for the command line.

    Parameters
    ----------
    card
        The card.
    """
    facts = card.facts
    stated, scores, versions = (facts.get(name) or {} for name in ("stated", "scores", "versions"))
    lines = [f"{name.replace('_', ' ')}: {stated.get(name, NOT_STATED)}" for name in STATED if name != "description"]
    shown = [f"{words} {scores[name]:.3f}" for name, words in SHOWN_SCORES.items() if scores.get(name) is not None]
    n_cells = "held-out cells" if scores.get("n_obs") is None else f"{scores['n_obs']:,.0f} held-out cells"
    lines.append(f"{n_cells}: {', '.join(shown) or 'none'}")
    lines.append(f"written by {', '.join(f'{name} {number}' for name, number in versions.items()) or NOT_STATED}")
    return lines
