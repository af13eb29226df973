"""Execute the tutorials from clean, and store their outputs in them.

``python tutorials/execute.py`` executes all, ``python tutorials/execute.py quickstart`` one of them. The environment
variable HRCA_DATA_DIR names the folder with the data sets, which all but the quickstart need.
"""

import argparse
import base64
import hashlib
import io
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

HERE = Path(__file__).parent

# The most seconds of a notebook.
TIMEOUT_S = 1800

# Colors of a stored picture: sections of thousands of cells then take a third of the space.
N_COLORS = 256

# Runs before the first cell and is not stored. A reader of the site sees HRCA's warnings without the path of the cell
# that they come from, and no warnings of other packages.
BEFORE = """
import sys, warnings
import matplotlib.pyplot as plt

def show(message, category, filename, lineno, file=None, line=None):
    if category.__module__.startswith("hrca"):
        print(f"{category.__name__}: {message}", file=sys.stderr)

warnings.showwarning = show
plt.rcParams["figure.dpi"] = 80
"""

# Runs after the last cell and is not stored: each tutorial ends with this series.
AFTER = "print(key_numbers.to_json())"


def main() -> None:
    """Execute the notebooks that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", nargs="*", default=names(), help="notebook without .ipynb; all of them by default")
    for name in parser.parse_args().name:
        path = HERE / f"{name}.ipynb"
        notebook = execute(path)
        nbformat.write(notebook, path)
        record = notebook.metadata["hrca"]
        print(
            f"{name}: {record['seconds']} s, {record['cpu_seconds']} s of CPU time, {path.stat().st_size / 1e3:.0f} kB"
        )


def names() -> list[str]:
    """Return the names of all tutorials."""
    return sorted(path.stem for path in HERE.glob("*.ipynb"))


def execute(path: Path) -> NotebookNode:
    """Execute a notebook in an empty folder, and return it with its outputs.

    Parameters
    ----------
    path
        The notebook, which must end by assigning the series ``key_numbers``. The file is not changed.

    Returns
    -------
    The notebook. ``metadata["hrca"]`` has its key numbers, the digest of its code, and the time that it took.
    """
    notebook = nbformat.read(path, as_version=4)
    n_cells = len(notebook.cells)
    notebook.cells = [nbformat.v4.new_code_cell(BEFORE), *notebook.cells, nbformat.v4.new_code_cell(AFTER)]
    start, cpu_start = time.monotonic(), _cpu_seconds()
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook, timeout=TIMEOUT_S, record_timing=False, resources={"metadata": {"path": folder}}
        )
        client.execute(env=_environment())
    key_numbers = json.loads(notebook.cells[-1].outputs[-1].text)
    notebook.cells = notebook.cells[1 : n_cells + 1]
    _clean_outputs(notebook)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python", "pygments_lexer": "ipython3"},
        "hrca": {
            "cpu_seconds": round(_cpu_seconds() - cpu_start),
            "key_numbers": key_numbers,
            "seconds": round(time.monotonic() - start),
            "source_digest": source_digest(notebook),
        },
    }
    return notebook


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the cells with code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def source_digest(notebook: NotebookNode) -> str:
    """Return a digest of the code, by which a test finds outputs that other code has made."""
    sources = json.dumps([cell.source for cell in code_cells(notebook)])
    return hashlib.sha256(sources.encode()).hexdigest()


def _clean_outputs(notebook: NotebookNode) -> None:
    """Number the cells, which the kernel counted with those before and after, and store text and pictures plainly."""
    for count, cell in enumerate(code_cells(notebook), 1):
        cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
            if output.output_type == "stream":
                output.text = output.text.replace("\r\n", "\n")  # of a shell command
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = _smaller_picture(output.data["image/png"])


def _smaller_picture(picture: str) -> str:
    """Return a PNG with fewer colors; both are encoded in base64."""
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    smaller = io.BytesIO()
    image.quantize(N_COLORS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        smaller, "png", optimize=True
    )
    return base64.b64encode(smaller.getvalue()).decode()


def _environment() -> dict[str, str]:
    """Return the environment of the kernel, which has another folder and no progress bars."""
    environment = {**os.environ, "TQDM_DISABLE": "1", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    # the command `hrca` of this Python
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    if "HRCA_DATA_DIR" in os.environ:
        environment["HRCA_DATA_DIR"] = str(Path(os.environ["HRCA_DATA_DIR"]).resolve())
    return environment


def _cpu_seconds() -> float:
    """Return the CPU time of all processes that have been started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
