"""``hrca demo``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ._flags import add_flags
from ._prediction_flags import QUIET, THREADS
from ._run import redirect_output, show

EXAMPLES = """
hrca demo

hrca demo --data DATA --out hrca_demo
"""


@add_flags((THREADS, QUIET))
def demo(
    *,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder with the files of a scRNA-seq reference and a MERFISH query, poa_scrna_moffitt.h5ad and "
            "poa_merfish_b0.06.h5ad. Without it, 700 blood cells that scanpy ships are used."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the annotated cells and the figures.")] = Path("hrca_demo"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Train for 10 + 18 epochs: a test that everything runs.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = 0,
    **flags: Any,
) -> None:
    """Train on real cells that lack a type, annotate sparse cells that have it, and compare with two baselines."""
    with redirect_output(flags):
        from hrca.train._random_states import check_seed

        from ._checks import prepare_folder

        check_seed(seed)
        prepare_folder("out", out)
        from ._demo import run
        from ._demo_pairs import pbmc68k_pair, poa_pair

        pair = pbmc68k_pair(seed) if data is None else poa_pair(data)
        result = run(pair, out, quick=quick, seed=seed, enable_progress_bar=not flags["quiet"])
    show({}, result.text(), as_json=False)
