"""Sphinx configuration. `sphinx-build -W docs docs/_build` needs no internet, see inventories/README.md."""

import importlib
import inspect
import os
import re
import shutil
import sys
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import nbformat
from sphinx.ext.napoleon import NumpyDocstring
from sphinx.util.inspect import stringify_signature

import hrca

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "inventories"), str(HERE.parent)]

from inventories import write_inventories  # noqa: E402

from tutorials.execute import execute  # noqa: E402

# Sphinx reads only what is below its own folder; the tutorials stay at the top level for readers of the repository.
shutil.copytree(
    HERE.parent / "tutorials",
    HERE / "tutorials",
    ignore=shutil.ignore_patterns("*.py", "__pycache__"),
    dirs_exist_ok=True,
)
# The data of this one are installed. The others keep the outputs that are stored in the repository.
if not os.environ.get("SKIP_QUICKSTART"):
    nbformat.write(execute(HERE.parent / "tutorials" / "quickstart.ipynb"), HERE / "tutorials" / "quickstart.ipynb")

project = "HRCA"
author = "The HRCA developers"
release = metadata("hrca")["Version"]
repository_url = "https://github.com/hrca-tools/hrca"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.linkcode",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx-mathjax-offline",  # copies MathJax into the site, where sphinx.ext.mathjax alone loads it from another host
    "sphinx_autodoc_typehints",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxcontrib.bibtex",
]
exclude_patterns = ["_build", "inventories", "jupyter_execute"]
templates_path = ["_templates"]
nitpicky = True

html_theme = "sphinx_book_theme"
html_title = "HRCA"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_theme_options = {
    "repository_url": repository_url,
    "repository_branch": "main",
    "path_to_docs": "docs",
    "use_repository_button": True,
    "navigation_with_keys": False,
    # the sidebar has a search field; pydata_sphinx_theme would add a header for a second one
    "navbar_persistent": [],
}

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
# tutorials/execute.py executes them
nb_execution_mode = "off"

bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"

intersphinx_mapping = write_inventories(HERE / "inventories" / "names.txt", HERE / "_build" / "inventories")

autosummary_generate = True
# a page of its own for a method of these would hold two lines; the networks' methods are of no use without HRCA
autosummary_context = {
    "methods_of": {
        "hrca.models.ModelCard": ["facts", "read", "with_digests"],
        "hrca.pp.ValidationReport": ["sentence", "to_dict"],
    }
}
smartquotes = False  # pages quote code and messages
default_role = "literal"  # numpydoc's single backticks around a parameter
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_numpy_docstring = True
napoleon_use_ivar = True  # attributes in a list, where those that are properties have pages of their own
# types and defaults stand in the signatures alone; sphinx-autodoc-typehints brings them to the parameters' descriptions
typehints_defaults = "braces"
typehints_document_rtype_none = False
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


def _find_source(value: Any) -> str | None:
    """Return the address of a function's or class's source on GitHub, or None if it is not HRCA's."""
    package = Path(hrca.__file__).parent
    path = Path(inspect.getfile(value))
    if not path.is_relative_to(package):
        return None
    lines, first = inspect.getsourcelines(value)
    place = path.relative_to(package).as_posix()
    return f"{repository_url}/blob/main/src/hrca/{place}#L{first}-L{first + len(lines) - 1}"


def _show_public_names() -> dict[type, str | None]:
    """Give each class the name by which users import it, where Sphinx would show the module in which it is written.

    Returns the address of the source of each of them, since Python would not find it by the new name.
    """
    sources = {}
    for module in (hrca, hrca.hrca, hrca.models, hrca.pp):
        for value in (getattr(module, name) for name in module.__all__):
            if inspect.isclass(value):
                sources[value] = _find_source(value)
                value.__module__ = module.__name__
    # `hrca.tl` may not import the model, and names a protocol in its place
    hrca.tl.explain.__annotations__["model"] = hrca.HRCA
    return sources


class_sources = _show_public_names()


def linkcode_resolve(domain: str, info: dict[str, str]) -> str | None:
    """Return the address of the source of a documented name."""
    value = importlib.import_module(info["module"])
    for part in info["fullname"].split("."):
        value = inspect.getattr_static(value, part) if inspect.isclass(value) else getattr(value, part)
    if inspect.isclass(value):
        return class_sources[value]
    function = inspect.unwrap(getattr(value, "fget", None) or getattr(value, "__func__", value))
    return _find_source(function) if inspect.isfunction(function) else None


def _keep_underscores(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Escape the last character of an attribute such as ``query_match_``, which reStructuredText takes for a link."""
    lines[:] = [re.sub(r"^:ivar (\w+)_:", r":ivar \1\\_:", line) for line in lines]


def _leave_out_cls(app: Any, what: str, name: str, value: Any, *_: Any) -> tuple[str, str] | None:
    """Return the signature of a class method that a decorator wraps, and None for any other object.

    sphinx-autodoc-typehints looks at the function behind the decorator, which is not bound, and would show ``cls``.
    """
    if not (inspect.ismethod(value) and hasattr(value, "__wrapped__")):
        return None
    return stringify_signature(inspect.signature(value), show_annotation=False, show_return_annotation=False), ""


def setup(app: Any) -> None:
    """Connect what changes docstrings and signatures.

    A high number comes after napoleon. A low number comes before sphinx-autodoc-typehints.
    """
    app.connect("autodoc-process-signature", _leave_out_cls, priority=100)
    app.connect("autodoc-process-docstring", _keep_underscores, priority=900)
