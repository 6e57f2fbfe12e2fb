"""Denoising radiographs: from the images to the table and the figures.

Every setting is in config.yaml; config/ has what differs for the paper and for other runs.
"""

from snakemake.utils import min_version

min_version("9.0")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"  # read the configuration, and name what rules share
include: "workflow/rules/resources.smk"  # what jobs may take on a cluster
include: "workflow/rules/images.smk"  # get, resize and split the images
include: "workflow/rules/noise.smk"  # augment and corrupt them
include: "workflow/rules/denoise.smk"  # tune or train the methods and apply them
include: "workflow/rules/results.smk"  # score, tabulate and plot
include: "workflow/rules/report.smk"  # write a run as one page
include: "workflow/rules/docs.smk"  # compare the phantom with the real images
include: "workflow/rules/films_common.smk"  # name what rules of films share
include: "workflow/rules/films.smk"  # denoise a folder of films


rule all:
    default_target: True
    input:
        expand(
            "results/{run}/{file}",
            run=config["run"],
            file=[
                "table.md",
                "methods.md",
                "pairs.csv",
                "scores.csv",
                "figures/compute.png",
            ],
        ),
        expand(
            "results/{run}/figures/{noise}.png",
            run=config["run"],
            noise=config["select"]["noise"],
        ),
        MODELS,
        branch(HISTORIES, then=f"results/{config['run']}/figures/training.png"),


# In place of all, where `images` names a folder of films to denoise.
rule films:
    default_target: bool(FILMS)
    input:
        expand(
            "results/{run}/{file}",
            run=config["run"],
            file=["finished.txt", "index.html", "noise.csv"],
        ),
        denoised_films("results/{run}/films/{film}/image"),
        denoised_films("results/{run}/films/{film}/sheet.png"),


onerror:
    print(f"Not finished. When the cause is mended, {RESUME}.")
    if FILMS:
        name_refused()


onsuccess:
    for sentence in film_endings() if FILMS else endings():
        print(sentence)
