"""Make the card of a model, and read that of a shared one."""

from collections.abc import Sequence
from pathlib import Path

from hrca._docs import docs
from hrca._paths import user_path
from hrca.model._card import CARD_FILE, ModelCard
from hrca.model._card_facts import STATED
from hrca.model._card_text import build_card
from hrca.model._model import HRCA

from ._places import check_options, download


@docs.dedent
def make_card(
    model: HRCA,
    *,
    data: str | None = None,
    data_license: str | None = None,
    license: str | None = None,
    species: str | None = None,
    tissue: str | None = None,
    description: str | None = None,
    panel: Sequence[str] | None = None,
) -> ModelCard:
    """Write the card of a model: what it was trained on, how well it labels held-out cells, and its versions.

    The scores are those of the cells that were held out in training; they are not computed anew.
    ``model.save(folder)`` writes a card as well; one made by this function also contains the facts that you state.

    Parameters
    ----------
    model
        A model that is trained on labels.
    data
        The data of the reference: name, citation, link, in Markdown. None, here and in the next five: what the model
        was saved with, or "not stated".
    data_license
        The licence of these data, such as "CC BY 4.0".
    license
        The licence of the model.
    species
        The species, such as "mouse".
    tissue
        The tissue, such as "hypothalamus".
    description
        A paragraph at the head of the card, in Markdown.
    panel
        Names of the genes of a panel, shape (n_panel,), over which the card compares labels. None: all genes that the
        model uses.

    Returns
    -------
    The card. ``model.save(folder, card=card)`` and :func:`push` write it.

    Raises
    ------
    ValueError
        If the model is not trained on labels, or has no gene of the panel.
    TypeError
        If `panel` is a text, or a fact is not a text, or is empty.

    %(example_trained)s
    >>> card = hrca.models.make_card(
    ...     model,
    ...     data="PBMC 68k of 10x Genomics",
    ...     license="CC BY 4.0",
    ...     species="human",
    ... )
    >>> card.metadata["license"], card.facts["labels"]["CD19+ B"]
    ('cc-by-4.0', 95)
    """
    given = dict(zip(STATED, (data, data_license, license, species, tissue, description), strict=True))
    for name, text in given.items():
        if text is not None and not (isinstance(text, str) and text.strip()):
            raise TypeError(f"`{name}` must be a text or None, got {text!r}.")
    if isinstance(panel, str):
        raise TypeError(f"`panel` must be a sequence of names of genes, got the text {panel!r:.80}.")
    stated = {**model.stated_facts_, **{name: text for name, text in given.items() if text is not None}}
    return build_card(model, {name: stated[name] for name in STATED if name in stated}, panel)


@docs.dedent
def read_card(
    model: str | Path, *, hub: str | Path | None = None, revision: str | None = None, token: str | None = None
) -> ModelCard:
    """Read the card of a saved model, or of one on a hub, without its weights.

    Parameters
    ----------
    model
        The folder of a saved model, or the name of a model on a hub, "owner/name".
    hub
        Folder of a local hub; None: Hugging Face, unless `model` is a folder.
    %(revision)s
    %(hub_token)s

    Returns
    -------
    The card.

    Raises
    ------
    ValueError
        If there is no card; the file is not the card of an HRCA model; an entry of it has the wrong type; `model` is
        neither a folder nor a name "owner/name"; or `revision` or `token` is given for a folder.
    %(raises_shared_model)s

    Examples
    --------
    >>> import hrca
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> card = hrca.models.ModelCard({"hrca": {"n_genes": 60}}, "# A model")
    >>> with TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "README.md").write_text(str(card))
    ...     hrca.models.read_card(folder).facts
    {'n_genes': 60}
    """
    if hub is None and (folder := user_path(model)).is_dir():
        check_options(folder, revision=revision, token=token)
        return ModelCard.read(folder / CARD_FILE)
    folder = download(str(model), hub, file_names=(CARD_FILE,), revision=revision, token=token)
    return ModelCard.read(folder / CARD_FILE)
