"""Ends a run of films: fails if a film was refused, so that the exit status says so."""

from pathlib import Path

from engine.films import PAGE, refusals
from engine.job import Snakemake, run
from engine.messages import InputError, number_of
from files.atomic import write_text
from files.jsons import read_json


def main(snakemake: Snakemake) -> None:
    records = read_json(snakemake.input.films)
    if refused := refusals(records):
        where = f"each is named at the end, and in {Path(snakemake.params.out, PAGE)}"
        raise InputError(f"{refused[0]}; {where}")
    write_text(snakemake.output[0], f"{number_of(len(records), 'film')} denoised\n")


if __name__ == "__main__":
    run(main)
