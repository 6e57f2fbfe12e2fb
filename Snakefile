"""Denoising radiographs: from the images to the table and the figures.

Every setting is in config.yaml; config/ has what differs for the paper and for other runs.
"""

from snakemake.utils import min_version

min_version("9.0")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"  # read the configuration, and name what rules share
include: "workflow/rules/images.smk"  # get, resize and split the images
include: "workflow/rules/noise.smk"  # augment and corrupt them
include: "workflow/rules/denoise.smk"  # tune or train the methods and apply them
include: "workflow/rules/results.smk"  # score, tabulate and plot
include: "workflow/rules/report.smk"  # write a run as one page
include: "workflow/rules/docs.smk"  # compare the phantom with the real images


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


onerror:
    print(f"Not finished. When the cause is mended, {RESUME}.")


onsuccess:
    for sentence in endings():
        print(sentence)
