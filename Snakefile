import functools
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

min_version("9.0")

sys.path.insert(0, str(Path(workflow.basedir) / "workflow" / "scripts"))
from common.configuration import (
    ConfigurationError,
    applies,
    checked,
    declarations,
    declared_by,
    inverts,
    is_trained,
    is_tuned,
    label_of,
    plugin_of,
    recipe_of,
    settings_of,
    uses_of,
)
from common.devices import wants_gpu
from common.source_digest import source_digest


configfile: "config.yaml"


try:
    config = checked(config)
except ConfigurationError as error:
    raise WorkflowError(f"The configuration can't be used.\n{error}")


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
        each("results/{run}/models/{noise}/{method}.pt", TRAINED),
        branch(HISTORIES, then=f"results/{config['run']}/figures/training.png"),


onsuccess:
    print(
        f"Results are in results/{config['run']}; table.md and methods.md are the tables."
    )
