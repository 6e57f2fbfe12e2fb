import functools
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")

sys.path.insert(0, str(Path(workflow.basedir) / "workflow" / "scripts"))
from files.atomic import forget
from engine.configuration import (
    applies,
    check_arguments,
    checked,
    declarations,
    declared_by,
    inverts,
    is_trained,
    is_tuned,
    label_of,
    options_of,
    plugin_of,
    read_files,
    recipe_of,
    settings_of,
    usable,
    uses_of,
)
from engine.job import GO_ON
from engine.machine import package_versions, wants_gpu
from engine.locks import begin
from engine.digests import source_digests

begin(
    Path(workflow.basedir),
    main=workflow.is_main_process,
    dry=workflow.output_settings.dryrun,
)

# With --directory, the one there, if there is one.
CONFIG = Path("config.yaml")
if not CONFIG.exists():
    CONFIG = Path(workflow.basedir) / CONFIG
with usable():
    files = read_files([CONFIG, *workflow.overwrite_configfiles])
    check_arguments(sys.argv, workflow.config_settings.config)


configfile: str(CONFIG)


with usable():
    config = checked(config, files)
# For the records of jobs: what makes them again.
config["options"] = options_of(
    Path(workflow.main_snakefile),
    workflow.overwrite_configfiles,
    workflow.config_settings.config,
)


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/images.smk"  # get, resize and split the images
include: "workflow/rules/noise.smk"  # augment and corrupt them
include: "workflow/rules/denoise.smk"  # tune or train the methods and apply them
include: "workflow/rules/results.smk"  # score, tabulate and plot
include: "workflow/rules/docs.smk"  # compare the phantom with the real images


rule all:
    default_target: True
    input:
        expand(
            "results/{run}/{file}",
            run=config["run"],
            file=["table.md", "methods.md", "scores.csv", "figures/compute.png"],
        ),
        expand(
            "results/{run}/figures/{noise}.png",
            run=config["run"],
            noise=config["select"]["noise"],
        ),
        MODELS,
        branch(HISTORIES, then=f"results/{config['run']}/figures/training.png"),


onerror:
    print(f"Not finished. When the cause is mended, {GO_ON}.")


onsuccess:
    # Only now: a job that is killed at its very end is done again.
    for model, checkpoint in zip(MODELS, CHECKPOINTS, strict=True):
        if Path(model).exists():
            forget(Path(checkpoint))
    print(
        f"Results are in results/{config['run']}; table.md and methods.md are the tables."
    )
