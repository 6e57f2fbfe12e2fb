"""Sees to it that no film of another data set, which trains, is among those that test."""

from engine.job import Snakemake, run
from engine.messages import InputError, log
from files.arrays import StoredImages
from files.atomic import write_text
from files.tables import ids_of
from images.twins import LEAST_SIZE, Joined, counted, in_words, twins


def main(snakemake: Snakemake) -> None:
    wildcards, inputs, output = snakemake.wildcards, snakemake.input, snakemake.output
    test, train = StoredImages(inputs.test), StoredImages(inputs.train)
    both = Joined(test, train)
    found = twins(both, range(len(test)), range(len(test), len(both)))
    if both.shape[1] < LEAST_SIZE:
        log.info("images below %d pixels: equal ones alone are found", LEAST_SIZE)
    names = [f"{name} (test)" for name in ids_of("test", inputs.split)]
    other = wildcards.trained_on
    names += [f"{name} ({other}, train)" for name in ids_of("train", inputs.train_split)]
    pairs = in_words(found, names)
    if found and snakemake.params.duplicates != "keep":
        raise InputError(
            f"what is trained on {other} would be tested on its own films: {pairs}. Remove one of "
            f"each pair, or set `duplicates: keep` for {wildcards.dataset}, which reports them"
        )
    text = counted(found, pairs)
    if text:
        log.warning("%s", text)
    write_text(output.twins, text)


if __name__ == "__main__":
    run(main)
