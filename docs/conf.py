"""Sphinx configuration."""

import shutil
from importlib.metadata import metadata
from pathlib import Path

HERE = Path(__file__).parent
# Sphinx reads only what is below its own folder; the tutorials stay at the top level for readers of the repository.
shutil.copytree(HERE.parent / "tutorials", HERE / "tutorials", dirs_exist_ok=True)

project = "HRCA"
author = "The HRCA developers"
release = metadata("hrca")["Version"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "HRCA"
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
# the notebook is executed by tests/test_tutorials.py, on every run of the tests
nb_execution_mode = "off"
autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
napoleon_google_docstring = False
napoleon_numpy_docstring = True
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
