"""The command ``hrca``: parse arguments, call a function, print its result."""

import logging
import time
import warnings
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="HRCA: cell types and their confidence for sparse spatial transcriptomics.", add_completion=False
)


@app.callback()
def main() -> None:
    """Keep ``demo`` a subcommand: typer would make a single command the program itself."""


@app.command()
def demo(
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
) -> None:
    """Train on real reference cells, annotate real query cells, and compare with two baselines."""
    # warnings and messages of the libraries would hide the result
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from . import _demo  # torch and scanpy take seconds to import, which `hrca --help` does not need

    start = time.perf_counter()
    pair = _demo.pbmc68k_pair(seed) if data is None else _demo.poa_pair(data)
    n_obs, n_genes = pair.reference.shape
    typer.echo(f"Reference: {n_obs} cells x {n_genes} genes; query: {pair.query.n_obs} cells.")
    scores = _demo.run(pair, out, quick=quick, seed=seed)
    if quick:
        typer.echo("So few epochs only show that everything runs: these scores cannot be compared.")
    typer.echo(scores.round(3).to_string())
    typer.echo(f"{time.perf_counter() - start:.0f} s. Results: {out.resolve()}")
