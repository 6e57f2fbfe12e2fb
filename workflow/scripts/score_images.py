"""Scores each test image of one method against the ground truth, and how much its images vary."""

from engine.job import Snakemake, run
from files.arrays import StoredImages
from files.tables import ids_of, write_table
from noise.seeds import replicate_number
from results.scores import scores, variance_between


def main(snakemake: Snakemake) -> None:
    inputs, wildcards = snakemake.input, snakemake.wildcards
    clean, images = StoredImages(inputs.clean), StoredImages(inputs.images)
    found = scores(clean, images)
    job = {"noise": wildcards.noise, "method": wildcards.method}
    drawn = {name: replicate_number(wildcards[name]) for name in ("training", "draw")}
    rows = zip(ids_of("test", inputs.split), found["ssim"], found["psnr"], strict=True)
    lines = (job | {"image": name, "ssim": ssim, "psnr": psnr} | drawn for name, ssim, psnr in rows)
    write_table(snakemake.output.scores, lines)
    of_clean = variance_between(clean)
    share = variance_between(images) / of_clean if of_clean else None  # of equal images, or of one
    write_table(snakemake.output.variance, [job | {"variance_share": share}])


if __name__ == "__main__":
    run(main)
