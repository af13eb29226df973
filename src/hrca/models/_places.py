"""Names of shared models, the facts in their cards, and their files on this machine."""

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hrca._paths import user_path
from hrca.model._card import CARD_FILE, ModelCard, check_facts

# Hugging Face's rule for the parts of a name: letters, digits, "-", "_" and ".", but neither "-" nor "." at either end,
# and no two of these in a row.
NAME_PART = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?", re.ASCII)


def check_name(repo_id: str) -> None:
    """Check the name of a model on a hub.

    Parameters
    ----------
    repo_id
        The name.

    Raises
    ------
    ValueError
        If it is not "owner/name" by the rules of Hugging Face. A local hub then has no file outside its folder.

    Examples
    --------
    >>> check_name("lab/mouse-hypothalamus")
    """
    parts = str(repo_id).split("/")
    if len(parts) != 2 or not all(NAME_PART.fullmatch(part) for part in parts):
        raise ValueError(
            'The name of a shared model must be "owner/name", of letters, digits, "-", "_" and ".", got '
            f'{str(repo_id)!r}. An example is "lab/mouse-hypothalamus"; `hub=` names the folder of a local hub.'
        )


def check_options(folder: str | Path | None, **options: object) -> None:
    """Check that no argument for Hugging Face is given for models in a folder, where it would have no effect.

    Parameters
    ----------
    folder
        The local hub, or the folder of a model; None: Hugging Face.
    **options
        The arguments.

    Raises
    ------
    ValueError
        If one is given.

    Examples
    --------
    >>> check_options("hub", revision=None, force_download=False)
    """
    given = [f"`{name}`" for name, value in options.items() if value is not None and value is not False]
    if folder is not None and given:
        raise ValueError(
            f"{' and '.join(given)} must be left out for the folder {str(folder)!r}: only Hugging Face has revisions, "
            "tokens, private models, messages and a cache. Without `hub`, Hugging Face is used."
        )


def download(
    repo_id: str,
    hub: str | Path | None,
    *,
    file_names: tuple[str, ...],
    revision: str | None = None,
    token: str | None = None,
    force_download: bool = False,
) -> Path:
    """Return a folder of this machine with the files of a shared model.

    Parameters
    ----------
    repo_id
        The name of the model, "owner/name".
    hub
        Folder of a local hub; None: Hugging Face.
    file_names
        The files.
    revision, token, force_download
        See :func:`pull`.

    Raises
    ------
    ValueError
        If `repo_id` is not such a name, or an argument for Hugging Face is given with a local hub.
    FileNotFoundError
        If the local hub has no such model.
    """
    check_name(repo_id)
    check_options(hub, revision=revision, token=token, force_download=force_download)
    if hub is None:
        snapshot_download = hugging_face().snapshot_download
        return Path(
            snapshot_download(
                repo_id,
                revision=revision,
                token=token,
                force_download=force_download,
                allow_patterns=list(file_names),
                library_name="hrca",
                library_version=version("hrca"),
            )
        )
    folder = user_path(hub) / repo_id
    if not folder.is_dir():
        raise FileNotFoundError(
            f"The hub {str(hub)!r} must have the model {repo_id!r}, but has not. "
            f"`hrca.models.list_models(hub=...)` lists what it has."
        )
    return folder


def shared_facts(
    hub: str | Path | None, author: str | None, search: str | None, token: str | None
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the name of each shared model, and the facts in its card. A malformed card is left out.

    Parameters
    ----------
    hub
        Folder of a local hub, of which all models are listed; None: Hugging Face.
    author, search, token
        Of Hugging Face, see :func:`list_models`.

    Raises
    ------
    ValueError
        If `token` is given with a local hub.
    FileNotFoundError
        If there is no such local hub.
    """
    check_options(hub, token=token)
    if hub is None:
        for found in hub_api(token).list_models(author=author, search=search, filter="hrca", cardData=True):
            facts = found.card_data and found.card_data.to_dict().get("hrca")
            if _is_card(facts, found.id):
                yield found.id, facts
        return
    folder = user_path(hub)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"There is no folder {str(folder)!r}. `hrca.models.push(model, name, hub=...)` makes it."
        )
    for path in sorted(folder.glob(f"*/*/{CARD_FILE}")):
        try:
            facts = ModelCard.read(path).facts
        except ValueError:  # a folder of something else, or a malformed card, which `read_card` describes
            continue
        yield path.parent.relative_to(folder).as_posix(), facts


def _is_card(facts: object, place: str) -> bool:
    try:
        check_facts(facts, place)
    except ValueError:
        return False
    return True


def hub_api(token: str | None) -> Any:
    """Return the interface to Hugging Face.

    Parameters
    ----------
    token
        Token of Hugging Face; None: that of ``hf auth login``.

    Raises
    ------
    ImportError
        If huggingface_hub is not installed.
    """
    return hugging_face().HfApi(token=token, library_name="hrca", library_version=version("hrca"))


def hugging_face() -> Any:
    """Return the module huggingface_hub.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            'Hugging Face needs the package huggingface_hub, which is not installed: `pip install "hrca[hub]"`. '
            "`hub=` names the folder of a local hub, which needs nothing."
        ) from error
    return huggingface_hub
