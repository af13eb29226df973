"""The command ``hrca``: parse, call, exit."""

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
    """Keep ``demo`` a subcommand while it is the only one."""


@app.command()
def demo(
    data: Annotated[
        Path | None, typer.Option(help="Folder with the scRNA-seq -> MERFISH pair; without it, blood cells of scanpy.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("hrca_demo"),
    quick: Annotated[bool, typer.Option("--quick", help="10 + 18 epochs only: shows that it runs.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
) -> None:
    """Train on a real reference, annotate a real query, and compare with two plain baselines."""
    # what the libraries say of themselves would bury the few lines that matter here
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from . import _demo as job

    start = time.perf_counter()
    pair = job.pbmc68k_pair(seed) if data is None else job.poa_pair(data)
    n_obs, n_genes = pair.reference.shape
    typer.echo(f"Reference: {n_obs} cells x {n_genes} genes; query: {pair.query.n_obs} cells.")
    scores = job.run(pair, out, quick=quick, seed=seed)
    typer.echo(scores.round(3).to_string())
    if quick:
        typer.echo("So few epochs only show that everything runs: their scores do not compare.")
    typer.echo(f"{time.perf_counter() - start:.0f} s. Results: {out.resolve()}")
