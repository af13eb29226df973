"""The code of docs/models.md, in order, against a server that answers as Hugging Face does."""

import copy
import re

import pytest
from conftest import ROOT
from hub_server import serving

from hrca.models import push

PAGE = (ROOT / "docs" / "models.md").read_text()


@pytest.fixture
def tiny_model(tiny_model):
    """A copy: a model keeps what a card states."""
    return copy.copy(tiny_model)


def test_the_code_of_the_page_runs(tiny_model, query, tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub", reason="the extra `hub` is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_none")
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 7
    names = {"query": query, "panel_genes": list(tiny_model.gene_names[:30])}
    with serving(monkeypatch, str(tmp_path / "cache")) as server:
        push(tiny_model, "lab/mouse-hypothalamus")
        for block in blocks:
            exec(block, names)
        published = server.repositories["lab/mouse-hypothalamus"]["README.md"].decode()
    assert names["card"].facts["stated"]["tissue"] == "hypothalamus"
    assert published == (tmp_path / "model" / "README.md").read_text()
    assert "hrca" in query.obs
