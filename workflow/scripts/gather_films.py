"""Gathers what was found of all films of a folder; then it is known which are denoised."""

from pathlib import Path

from engine.films import refusals
from engine.job import Snakemake, run
from engine.messages import log, number_of
from engine.records import LOGS, record_path
from files.jsons import read_json, write_json


def forget(results: Path, film: Path, out: Path) -> None:
    """Delete what a run made of a film that is refused now, since it is not of this film.

    Args:
        results: The folder of the run.
        film: What is known of the film, a folder below `films` there.
        out: The folder that took the results.
    """
    made = film / "denoised.json"
    if not made.is_file():
        return
    record = read_json(made)
    log.info("%s is refused now: %s is deleted", record["path"], out / record["image"])
    files = [out / record[key] for key in ("image", "sheet")]
    job = results / LOGS / "denoise_film" / film.relative_to(results / "films")
    # What names the files is the last to go, so that nothing is forgotten if this is stopped.
    files += [film / "image", film / "sheet.png", record_path(f"{job}.log"), made]
    for file in files:
        file.unlink(missing_ok=True)


def main(snakemake: Snakemake) -> None:
    records = list(map(read_json, snakemake.input.records))
    for path, record in zip(map(Path, snakemake.input.records), records, strict=True):
        if record["refused"]:
            results = Path(snakemake.output.films).parent
            forget(results, path.parent, Path(snakemake.params.out))
    log.info("%s examined, %d refused", number_of(len(records), "film"), len(refusals(records)[1:]))
    write_json(snakemake.output.films, records)


if __name__ == "__main__":
    run(main)
