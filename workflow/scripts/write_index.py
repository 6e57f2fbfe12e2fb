"""Writes the page of a folder of films, and the table of their noise."""

from pathlib import Path

from engine.films import PAGE, TABLE
from engine.job import Snakemake, run
from files.atomic import checkpoint_of, forget, replacing, write_text
from files.jsons import read_json
from films.index import index, table
from films.links import link


def main(snakemake: Snakemake) -> None:
    params, out = snakemake.params, Path(snakemake.params.out)
    records = read_json(snakemake.input.films)
    found = map(read_json, snakemake.input.denoised)
    denoised = {record["path"]: record for record in found}
    records = [denoised.get(record["path"], record) for record in records]
    given = params.noise_level
    about = {
        "folder": params.folder,
        "method": params.label,
        "noise": "estimated of each film"
        if isinstance(given, str)
        else ", ".join(f"{key} {value:g}" for key, value in given.items()),
        "version": params.version,
    }
    page, lines = out / PAGE, out / TABLE
    with replacing(lines) as new:
        table(records).to_csv(new, index=False)
    write_text(page, index(records, about, snakemake.input.template))
    link(snakemake.output.table, lines)
    link(snakemake.output.page, page)
    if params.model:
        # Only now: a training that is killed at its very end is done again, from its checkpoint.
        forget(checkpoint_of(Path(snakemake.output.page).parent / params.model))


if __name__ == "__main__":
    run(main)
