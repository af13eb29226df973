"""Push models to a hub, pull them from it, and list them.

A hub is Hugging Face, or a folder with a folder ``owner/name`` for each model. The card and the metadata of a shared
model are also those that ``scvi.hub.HubModel`` opens. The other functions of scvi-tools' hub are not used:
``HubModelCardHelper`` writes cards for some classes of scvi-tools alone, and ``pull_from_huggingface_hub`` downloads no
weights but a pickle, which can run any program (scvi-tools 1.4.2).
"""

import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from hrca._docs import docs
from hrca._paths import user_path
from hrca.model._card import CARD_FILE, MODEL_FILES, ModelCard, verify_files
from hrca.model._model import HRCA
from hrca.module._stored_state import unfinished

from ._cards import make_card
from ._places import check_name, check_options, download, hub_api, shared_facts
from ._scvi_metadata import SCVI_FILE, write_scvi_metadata

# All files of a shared model. The card is the last one that is written: it lists the digests of the others.
SHARED_FILES = (*MODEL_FILES, SCVI_FILE, CARD_FILE)

# Statements of the user and scores that a list of models shows.
LISTED_STATEMENTS = ("species", "tissue", "data", "license")
LISTED_SCORES = ("accuracy", "macro_f1", "calibration_error")


@docs.dedent
def push(
    model: HRCA | str | Path,
    repo_id: str,
    *,
    hub: str | Path | None = None,
    card: ModelCard | None = None,
    private: bool | None = None,
    token: str | None = None,
    commit_message: str | None = None,
) -> str:
    """Publish a model, with its card, on Hugging Face or in a local hub.

    The weights, the state of the model, its card and the metadata of scvi-tools' hub are published, and replace those
    of an earlier version. Neither the whole reference nor a pickle is published. The state of the model, however, holds
    the raw counts of at most 2,000 cells of the reference, the summed counts of each label, and the names of all genes
    and labels.

    Parameters
    ----------
    model
        A model that is trained on labels, or the folder of a saved one. The card of a folder is published as it is.
    %(repo_id)s
    hub
        Folder of a local hub; it is made if there is none. None: Hugging Face.
    card
        The card, from :func:`make_card`. The model keeps what it states. None: one with what was stated before.
    private
        Whether a new repository on Hugging Face is private; None: as its owner has set.
    token
        Token of Hugging Face that may write; None: that of ``hf auth login``.
    commit_message
        Message of the commit on Hugging Face; None: one with the version of HRCA.

    Returns
    -------
    The address of the model: a URL, or the path of a folder.

    Raises
    ------
    ValueError
        If `repo_id` is not "owner/name"; the model is not trained on labels; the card is of another model; a file of
        the folder is not the one that its card lists; or `private`, `token` or `commit_message` is given with `hub`.
    TypeError
        If `card` is given with a folder, which has its own.
    %(raises_hub)s
    OSError
        If Hugging Face refuses the files or cannot be reached, or a file cannot be written.

    %(example_trained)s
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as hub:
    ...     path = hrca.models.push(model, "lab/blood", hub=hub)
    ...     sorted(file.name for file in Path(path).glob("model.*"))
    ['model.json', 'model.safetensors']
    """
    check_name(repo_id)
    check_options(hub, private=private, token=token, commit_message=commit_message)
    if card is not None and not isinstance(model, HRCA):
        raise TypeError(
            "A saved model is published with the card in its folder: leave out `card`. "
            "`model.save(folder, overwrite=True, card=card)` replaces the one in the folder."
        )
    with TemporaryDirectory() as temporary:
        source = Path(temporary) / "model"
        if isinstance(model, HRCA):
            if card is None:
                card = make_card(model)
            model.save(source, card=card)
        else:
            folder = user_path(model)
            verify_files(folder)
            source.mkdir()
            for name in (*MODEL_FILES, CARD_FILE):
                shutil.copyfile(folder / name, source / name)
        write_scvi_metadata(source)
        if hub is not None:
            return str(_copy_to_hub(source, user_path(hub) / repo_id))
        message = commit_message or f"Model of HRCA {version('hrca')}"
        return _upload(source, repo_id, private=private, token=token, message=message)


@docs.dedent
def pull(
    repo_id: str,
    *,
    hub: str | Path | None = None,
    revision: str | None = None,
    token: str | None = None,
    force_download: bool = False,
    accelerator: str = "auto",
) -> HRCA:
    """Get a model from Hugging Face or from a local hub, and verify its files.

    Nothing of the files is executed. A model from Hugging Face stays in its cache, so that the next call needs no
    download. The digests in the card show damaged and exchanged files, but not who wrote them. To get the same model
    each time, name a commit by `revision`.

    Parameters
    ----------
    %(repo_id)s
    hub
        Folder of a local hub; None: Hugging Face.
    %(revision)s
    %(hub_token)s
    force_download
        If True, download the files also if the cache has them.
    accelerator
        Kind of device: "cpu", "gpu", or "auto", which chooses.

    Returns
    -------
    The model, without its reference. It can predict; :func:`read_card` returns its card.

    Raises
    ------
    ValueError
        If `repo_id` is not "owner/name"; the files are not those that the card lists; there is no card; the files are
        of another version; or `revision`, `token` or `force_download` is given with `hub`.
    %(raises_shared_model)s

    %(example_trained)s
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as hub:
    ...     path = hrca.models.push(model, "lab/blood", hub=hub)
    ...     pulled = hrca.models.pull("lab/blood", hub=hub)
    >>> bool((pulled.predict(reference) == model.predict(reference)).all())
    True
    """
    file_names = (*MODEL_FILES, CARD_FILE)
    folder = download(
        repo_id, hub, file_names=file_names, revision=revision, token=token, force_download=force_download
    )
    verify_files(folder)
    return HRCA.load(folder, adata=False, accelerator=accelerator)


@docs.dedent
def list_models(
    author: str | None = None,
    *,
    hub: str | Path | None = None,
    search: str | None = None,
    token: str | None = None,
) -> pd.DataFrame:
    """List the models of HRCA on Hugging Face or in a local hub, by their cards.

    A model whose card is malformed is left out.

    Parameters
    ----------
    author
        Owner of the models; None: all owners.
    hub
        Folder of a local hub; None: Hugging Face.
    search
        Text in the names of the models, in upper or lower case; None: all names.
    %(hub_token)s

    Returns
    -------
    One row for each model, index ``repo_id``, with these columns:

    - ``n_labels`` and ``n_genes``;
    - ``n_obs``, the number of cells of the reference, missing where it is not known;
    - ``accuracy``, ``macro_f1`` and ``calibration_error`` of held-out cells, 0 to 1, missing where there are none;
    - ``species``, ``tissue``, ``data`` and ``license``, as the author stated them, or missing;
    - ``labels``, the list of the labels.

    Raises
    ------
    ValueError
        If `token` is given with `hub`.
    FileNotFoundError
        If there is no such local hub.
    %(raises_hub)s
    OSError
        If Hugging Face cannot be reached.

    Examples
    --------
    >>> import hrca
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> facts = {"n_genes": 60, "labels": {"B": 9, "T": 8}}
    >>> card = hrca.models.ModelCard({"hrca": facts}, "# A model")
    >>> with TemporaryDirectory() as hub:
    ...     folder = Path(hub) / "lab" / "blood"
    ...     folder.mkdir(parents=True)
    ...     _ = (folder / "README.md").write_text(str(card))
    ...     hrca.models.list_models(hub=hub)[["n_labels", "n_genes"]].to_dict("index")
    {'lab/blood': {'n_labels': 2, 'n_genes': 60}}
    """
    rows = {}
    for repo_id, facts in shared_facts(hub, author, search, token):
        is_wanted = author is None or repo_id.split("/")[0].lower() == author.lower()
        if is_wanted and (search is None or search.lower() in repo_id.lower()):
            rows[repo_id] = _listed(facts)
    columns = ["n_labels", "n_genes", "n_obs", *LISTED_SCORES, *LISTED_STATEMENTS, "labels"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("repo_id").sort_index()
    return table.astype(dict.fromkeys(columns[:3], "Int64") | dict.fromkeys(LISTED_SCORES, float))


def _listed(facts: Mapping[str, Any]) -> list[Any]:
    scores, stated, labels = (facts.get(name) or {} for name in ("scores", "stated", "labels"))
    return [
        len(labels),
        facts.get("n_genes"),
        facts.get("n_obs"),
        *(scores.get(name) for name in LISTED_SCORES),
        *(stated.get(name) for name in LISTED_STATEMENTS),
        list(labels),
    ]


def _upload(folder: Path, repo_id: str, *, private: bool | None, token: str | None, message: str) -> str:
    api = hub_api(token)
    url = api.create_repo(repo_id, private=private, exist_ok=True)
    api.upload_folder(repo_id=repo_id, folder_path=folder, allow_patterns=list(SHARED_FILES), commit_message=message)
    return str(url)


def _copy_to_hub(source: Path, target: Path) -> Path:
    target.mkdir(parents=True, exist_ok=True)
    for name in SHARED_FILES:
        if not (source / name).is_file():
            (target / name).unlink(missing_ok=True)  # of an earlier version
            continue
        with unfinished(target / name) as temporary:
            shutil.copyfile(source / name, temporary)
    return target
