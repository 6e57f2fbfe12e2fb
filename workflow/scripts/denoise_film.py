"""Denoises a film, writes it in its own format, and draws its sheet."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from engine.job import Snakemake, run
from engine.messages import Progress
from files.jsons import read_json, write_json
from films.links import link
from films.methods import denoiser_of
from films.residual import Residual
from films.sheet import draw_sheet
from films.strips import Film, open_film
from films.tiles import denoised_rows
from films.writing import write_film


def said(record: dict[str, Any], label: str) -> str:
    """Return what was done to a film, in words."""
    noise = f"variance {record['gain']:.3g} * grey + {record['deviation']:.3g}^2"
    origin = "estimated of the film" if record["estimated"] else "given"
    return f"Denoised with {label}; noise of {noise} at grey levels of [0, 1], {origin}"


def measured(
    film: Film, rows: Iterator[np.ndarray], residual: Residual, progress: Progress
) -> Iterator[np.ndarray]:
    """Hand bands of denoised rows on, and add up what was taken from the film."""
    top = 0
    for band in rows:
        residual.add(film.rows(top, top + len(band)), band)
        top += len(band)
        progress.advance(len(band))
        yield band


def main(snakemake: Snakemake) -> None:
    params, output = snakemake.params, snakemake.output
    record = read_json(snakemake.input.noise)
    noise = record["gain"], record["deviation"]
    model = snakemake.input.get("model") or None
    if model:
        import torch  # takes seconds, and looks for GPUs: only now the job has its own

        torch.set_num_threads(snakemake.threads)
    started = time.monotonic()
    original, out = Path(params.film), Path(params.out)
    image, sheet = out / params.image, out / params.sheet
    film, residual = open_film(original, record["white"]), Residual(*noise)
    progress = Progress(f"denoising {record['path']}, rows", film.shape[0])
    rows = denoised_rows(film, denoiser_of(params.plugin, model, *noise, params.device))
    write_film(
        original, film, measured(film, rows, residual, progress), image, said(record, params.label)
    )
    record |= {
        "method": params.label,
        "image": params.image,
        "sheet": params.sheet,
        "note": params.note,
        "seconds": time.monotonic() - started,
        "residual_deviation": residual.deviation,
        "residual_correlation": residual.correlation,
    }
    draw_sheet(sheet, film, open_film(image, like=film), record)
    link(output.image, image)
    link(output.sheet, sheet)
    write_json(output.record, record)


if __name__ == "__main__":
    run(main)
