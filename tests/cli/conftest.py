"""Files for the command."""

import pytest
from shell import write_files


@pytest.fixture(scope="session")
def files(tmp_path_factory, tiny_model):
    """A folder with files; read only."""
    return write_files(tmp_path_factory.mktemp("files"), tiny_model)
