"""Sphinx configuration. `sphinx-build -W docs docs/_build` needs no internet, see inventories/README.md."""

import shutil
import sys
from importlib.metadata import metadata
from pathlib import Path

from sphinx.ext.napoleon import NumpyDocstring

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "inventories"))

from inventories import write_inventories  # noqa: E402

# Sphinx reads only what is below its own folder; the tutorials stay at the top level for readers of the repository.
shutil.copytree(HERE.parent / "tutorials", HERE / "tutorials", dirs_exist_ok=True)

project = "HRCA"
author = "The HRCA developers"
release = metadata("hrca")["Version"]
repository_url = "https://github.com/hrca-tools/hrca"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_autodoc_typehints",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxcontrib.bibtex",
]
exclude_patterns = ["_build", "inventories", "jupyter_execute"]
nitpicky = True
# a protocol that stands for the model, which `hrca.tl` does not import
nitpick_ignore = [("py:class", "hrca.tl._explain.ExplainingModel")]

html_theme = "sphinx_book_theme"
html_title = "HRCA"
html_theme_options = {
    "repository_url": repository_url,
    "repository_branch": "main",
    "path_to_docs": "docs",
    "use_repository_button": True,
    "navigation_with_keys": False,
}

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
# the notebook is executed by tests/test_tutorials.py, on every run of the tests
nb_execution_mode = "off"

bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"

intersphinx_mapping = write_inventories(HERE / "inventories" / "names.txt", HERE / "_build" / "inventories")

autosummary_generate = True
default_role = "literal"  # numpydoc's single backticks around a parameter
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
napoleon_google_docstring = False
napoleon_numpy_docstring = True
# types and defaults stand in the signatures alone; sphinx-autodoc-typehints brings them to the parameters' descriptions
typehints_defaults = "braces"
always_use_bars_union = True
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def _parse_returns(self: NumpyDocstring, section: str) -> list[str]:
    """Read "Returns" as a description, where napoleon reads each of its lines as a type; the annotation has the type.

    sphinx-autodoc-typehints inserts a line with a colon before the description to the same end, which fails if the
    description has several lines.
    """
    lines = self._dedent(self._consume_to_next_section())
    return [*self._format_block(":returns: ", lines[1:] if lines[0] == ":" else lines), ""]


NumpyDocstring._parse_returns_section = _parse_returns
