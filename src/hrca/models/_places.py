"""Where shared models are: names, and the files of a model on this machine."""

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

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
        If `repo_id` is not such a name.
    FileNotFoundError
        If the local hub has no such model.
    """
    check_name(repo_id)
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
    folder = Path(hub) / repo_id
    if not folder.is_dir():
        raise FileNotFoundError(
            f"The hub {str(hub)!r} must have the model {repo_id!r}, but has not. "
            f"`hrca.models.list_models(hub=...)` lists what it has."
        )
    return folder


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
