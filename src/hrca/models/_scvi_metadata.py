"""The metadata by which scvi-tools' hub opens a shared model."""

from importlib.metadata import version
from pathlib import Path

from hrca.model._model import HRCA

# The name that scvi-tools gives its metadata.
SCVI_FILE = "_scvi_required_metadata.json"


def write_scvi_metadata(folder: Path) -> None:
    """Write the metadata by which ``scvi.hub.HubModel`` opens a folder, where its package is installed.

    Parameters
    ----------
    folder
        The folder of a saved model.
    """
    try:
        from scvi.hub import HubMetadata
    except ImportError:  # scvi-tools' hub needs huggingface_hub, and a local hub does not
        return
    registry = HRCA.load_registry(folder)
    metadata = HubMetadata(
        registry["scvi_version"], version("anndata"), registry["model_name"], model_parent_module="hrca"
    )
    metadata.save(str(folder / SCVI_FILE))
