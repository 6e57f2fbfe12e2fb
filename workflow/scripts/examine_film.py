"""Examines a film: can it be read, what noise has it, can that be removed."""

from pathlib import Path

from engine.job import Snakemake, run
from engine.messages import log
from files.jsons import write_json
from films.examining import NO_LIMITS, examined, ranges_of
from images.depths import white_given


def main(snakemake: Snakemake) -> None:
    params, model = snakemake.params, snakemake.input.get("model")
    ranges = ranges_of(model) if model else NO_LIMITS
    white = white_given(params.white)
    record = examined(Path(params.film), params.name, params.noise, ranges, white)
    if record["refused"]:
        log.warning("%s %s", record["path"], record["refused"])
    write_json(snakemake.output.record, record)


if __name__ == "__main__":
    run(main)
