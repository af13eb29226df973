"""A model as published files."""

from pathlib import Path

import pytest

from hrca.compat._published_weights import save_published


@pytest.fixture
def published(tmp_path, tiny_networks) -> Path:
    """A tiny model as published files: 60 genes, 4 heads, 3 labels."""
    save_published(tiny_networks, tmp_path, epoch=200)
    return tmp_path
