"""Splits a data set in two parts, and sees to it that no film is in both."""

from engine.job import Snakemake, run
from engine.messages import InputError, log, number_of
from files.arrays import StoredImages, write_images
from files.atomic import write_text
from files.tables import read_table, write_table
from images.splits import (
    PARTS,
    check_patients,
    first_ones,
    grouped,
    named,
    patients_of,
    tabled,
)
from images.twins import LEAST_SIZE, Twins, counted, in_words, twins


def main(snakemake: Snakemake) -> None:
    params, inputs, output = snakemake.params, snakemake.input, snakemake.output
    images = StoredImages(inputs.images)
    lines = read_table(inputs.ids)
    ids = [line["id"] for line in lines]
    patients = patients_of(ids, params.patient) if params.patient else None
    found: list[Twins] = []
    if table := inputs.get("table"):
        parts, own = tabled(ids, table)
        if own and patients:
            raise InputError(f"patient: {table} has patients too; give one of the two")
        patients = patients or own
    elif params.test:
        parts = named(ids, params.test)
    else:
        if params.duplicates == "group":
            found = twins(images, range(len(ids)), range(len(ids)))
        parts = first_ones(grouped(patients or ids, [pair[:2] for pair in found]), params.train)
    if patients:
        check_patients(patients, parts)
    if params.duplicates in ("refuse", "keep"):
        train, test = ([n for n, own in enumerate(parts) if own == part] for part in PARTS)
        found = twins(images, test, train) if train else []
        if images.shape[1] < LEAST_SIZE:
            log.info("images below %d pixels: equal ones alone are found", LEAST_SIZE)
    pairs = in_words(found, [f"{name} ({own})" for name, own in zip(ids, parts, strict=True)])
    if found and params.duplicates == "refuse":
        raise InputError(
            f"the test would be of films that train: {pairs}. Remove one of each pair, or set "
            "`duplicates`: group puts both into one part, keep reports them"
        )
    text = counted(found, pairs)
    if text:
        log.warning("%s", text)
    for part in PARTS:
        names = [name for name, own in zip(ids, parts, strict=True) if own == part]
        ends = f", {names[0]} to {names[-1]}" if names else ""
        log.info("%s: %s", part, number_of(len(names), "image") + ends)
        chosen = (image for image, own in zip(images, parts, strict=True) if own == part)
        shape = (len(names), *images.shape[1:])
        write_images(output[part], shape, images.dtype, chosen)
    more = [{"patient": name} for name in patients] if patients else [{}] * len(ids)
    rows = zip(lines, parts, more, strict=True)
    write_table(output.split, (line | {"part": part} | own for line, part, own in rows))
    write_text(output.twins, text)


if __name__ == "__main__":
    run(main)
