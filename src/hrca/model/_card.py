"""The card of a model: ``README.md``, with a front matter that programs read."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import yaml

from hrca._paths import user_path
from hrca._warnings import warn_user
from hrca.module._stored_state import unfinished

# The name by which Hugging Face finds a card.
CARD_FILE = "README.md"

# The files that a card has the digests of.
MODEL_FILES = ("model.json", "model.safetensors")

# The line above and below the front matter.
FENCE = "---\n"

# The section with the digests. An author may have changed the sentence above its table.
FILES_SECTION = re.compile(r"\n## Files\n\n[^\n]*\n\n\| file \| SHA-256 \|\n\|---\|---\|(?:\n\|[^\n]*)*(?:\n|\Z)")

# Facts by their type, of those that are read again. Each may be missing or null.
COUNT_FACTS = ("n_obs", "n_train", "n_genes", "n_stored_cells", "n_parameters")
NUMBER_TABLES, TEXT_TABLES = ("labels", "scores"), ("stated", "versions")

# A data frame holds integers of 64 bits.
MAX_NUMBER = 2**63 - 1


@dataclass(frozen=True)
class ModelCard:
    """The card of a model, which :func:`hrca.models.make_card` writes.

    ``str(card)`` is the text of the file, and a notebook shows the card as a page.

    Parameters
    ----------
    metadata
        The front matter. ``metadata["hrca"]`` has the facts about the model: ``format``, ``model_id``, ``n_obs``,
        ``n_genes``, ``labels``, ``scores``, ``versions``, ``stated`` and, in a saved card, ``sha256``.
    text
        The page, in Markdown.

    Examples
    --------
    >>> import hrca
    >>> card = hrca.models.ModelCard({"hrca": {"n_genes": 60}}, "# A model")
    >>> print(card)
    ---
    hrca:
      n_genes: 60
    ---
    <BLANKLINE>
    # A model
    """

    metadata: dict[str, Any]
    text: str

    @property
    def facts(self) -> dict[str, Any]:
        """The facts about the model, ``metadata["hrca"]``.

        Examples
        --------
        >>> import hrca
        >>> hrca.models.ModelCard({"hrca": {"n_genes": 60}}, "# A model").facts
        {'n_genes': 60}
        """
        return self.metadata["hrca"]

    def __str__(self) -> str:
        # one line for each text: a line of a text that is a fence would otherwise end the front matter
        front_matter = yaml.safe_dump(self.metadata, sort_keys=False, allow_unicode=True, width=float("inf"))
        return f"{FENCE}{front_matter}{FENCE}\n{self.text}"

    def _repr_markdown_(self) -> str:
        return self.text

    @classmethod
    def read(cls, path: str | Path) -> Self:
        r"""Read a card that was saved with a model.

        Parameters
        ----------
        path
            The file.

        Returns
        -------
        The card.

        Raises
        ------
        ValueError
            If there is no such file, it is not the card of an HRCA model, or an entry of it has the wrong type.

        Examples
        --------
        >>> import hrca
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "README.md"
        ...     _ = path.write_text("---\nhrca: {n_genes: 60}\n---\n\n# A model")
        ...     hrca.models.ModelCard.read(path)
        ModelCard(metadata={'hrca': {'n_genes': 60}}, text='# A model')
        """
        path = user_path(path)
        if not path.is_file():
            raise ValueError(
                f"A shared model must have a card, but there is no {str(path)!r}. `hrca.HRCA.load(folder)` and "
                "`model.save(folder, overwrite=True)` write one."
            )
        content = path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")
        front_matter, separator, text = content.removeprefix(FENCE).partition(f"\n{FENCE}")
        try:
            metadata = yaml.safe_load(front_matter) if separator and content.startswith(FENCE) else None
        # PyYAML raises the last three for a type that is named with a value of another one
        except (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError, TypeError) as error:
            raise ValueError(
                f"The front matter of {path}, the lines between `---`, must be YAML, but is not: {error}. Mend it, or "
                "save the model again."
            ) from error
        metadata = dict(metadata) if isinstance(metadata, Mapping) else {}
        check_facts(metadata.get("hrca"), str(path))
        return cls(metadata, text.removeprefix("\n"))

    def with_digests(self, digests: Mapping[str, str]) -> Self:
        """Return a copy of the card that lists the SHA-256 of files.

        Parameters
        ----------
        digests
            SHA-256 by the name of the file.

        Returns
        -------
        The card. The section on the files is at its end, or replaces an earlier one.

        Examples
        --------
        >>> import hrca
        >>> card = hrca.models.ModelCard({"hrca": {"n_genes": 60}}, "# A model")
        >>> card.with_digests({"model.json": "0a1b"}).facts
        {'n_genes': 60, 'sha256': {'model.json': '0a1b'}}
        """
        facts = {**self.facts, "sha256": dict(digests)}
        rows = "".join(f"| `{name}` | `{digest}` |\n" for name, digest in digests.items())
        section = f"\n## Files\n\n`hrca.models.pull` verifies them.\n\n| file | SHA-256 |\n|---|---|\n{rows}"
        text, n_replaced = FILES_SECTION.subn(lambda _: section, self.text, count=1)
        if not n_replaced:
            text += section
        return replace(self, metadata={**self.metadata, "hrca": facts}, text=text)


def check_facts(facts: object, place: str) -> None:
    """Check the types of the facts in a card that others may have written.

    Parameters
    ----------
    facts
        The entry ``hrca`` of the front matter; None without one.
    place
        File or model that has the card, for the error.

    Raises
    ------
    ValueError
        If there are no facts, or one has another type than those that :func:`hrca.models.make_card` writes.

    Examples
    --------
    >>> check_facts({"n_genes": 60, "labels": {"B": 9}}, "README.md")
    """
    if not isinstance(facts, Mapping):
        raise ValueError(
            f"{place} must be the card of a model of HRCA, with `hrca:` in its front matter, but has none. "
            "`model.save` writes a card into a folder without a README.md."
        )
    wrong = {name: "an integer, 0 or more" for name in COUNT_FACTS if not _is_count(facts.get(name))}
    wrong |= {name: "numbers by their names" for name in NUMBER_TABLES if not _is_table(facts.get(name), _is_number)}
    wrong |= {name: "texts by their names" for name in TEXT_TABLES if not _is_table(facts.get(name), _is_text)}
    for name, kind in wrong.items():
        raise ValueError(
            f"In the card of a model, `{name}` must be {kind}, but in {place} it is {facts[name]!r:.80}. Correct the "
            "front matter, or get the card from its origin again."
        )


def _is_count(value: object) -> bool:
    return value is None or (isinstance(value, int) and _is_number(value) and value >= 0)


def _is_number(value: object) -> bool:
    if isinstance(value, int):  # a bool is an int
        return not isinstance(value, bool) and abs(value) <= MAX_NUMBER
    return value is None or isinstance(value, float)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_table(value: object, is_entry: Callable[[object], bool]) -> bool:
    if value is None:
        return True
    return isinstance(value, Mapping) and all(_is_text(key) and is_entry(entry) for key, entry in value.items())


def write_card(card: ModelCard | None, folder: Path, name_prefix: str) -> None:
    """Write a card beside the files of a model, or remove that of a model that is replaced.

    Parameters
    ----------
    card
        The card; None: the model has none.
    folder
        The folder of the model.
    name_prefix
        Text at the start of the file names; may be "".

    Warns
    -----
    UserWarning
        If a file of this name is not the card of a model. It stays.
    """
    path = folder / f"{name_prefix}{CARD_FILE}"
    if path.is_file():
        try:
            ModelCard.read(path)
        except ValueError:
            if card is not None:
                warn_user(
                    f"The model is saved without its card: {path} is another text, and stays. Save into another "
                    "folder, or rename the text and save again."
                )
            return
    if card is None:
        path.unlink(missing_ok=True)
        return
    digests = {f"{name_prefix}{name}": file_digest(folder / f"{name_prefix}{name}") for name in MODEL_FILES}
    with unfinished(path) as temporary:
        temporary.write_text(str(card.with_digests(digests)), encoding="utf-8")


def verify_files(folder: Path) -> ModelCard:
    """Compare the files of a model with the digests in its card.

    Parameters
    ----------
    folder
        The folder of the model.

    Returns
    -------
    The card.

    Raises
    ------
    ValueError
        If there is no card, it lacks a digest, or a file is missing or another.
    """
    card = ModelCard.read(folder / CARD_FILE)
    digests = card.facts.get("sha256")
    for name in MODEL_FILES:
        path = folder / name
        expected = digests.get(name) if isinstance(digests, Mapping) else None
        if expected is None:
            raise ValueError(
                f"The card of a shared model must have the SHA-256 of {name}, but {folder / CARD_FILE} has none. "
                "`model.save` writes a card with it."
            )
        if not path.is_file():
            raise ValueError(
                f"{str(folder)!r} must have the file {name} that its card lists, but has not. Get the model from its "
                "origin again, or save it again."
            )
        digest = file_digest(path)
        if digest != expected:
            raise ValueError(
                f"{path} must have the SHA-256 that its card states, {expected}, but has {digest}: it is damaged, or "
                "was changed after the card was written. Get the model from its origin again "
                "(`force_download=True`), or save it again if the change is yours."
            )
    return card


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
