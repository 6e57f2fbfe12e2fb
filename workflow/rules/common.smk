"""The configuration, names that wildcards may take, and what several rules share.

Each rule is handed only its own slice of the configuration, and digests of the code that it runs.
So a change reruns what depends on it and nothing else.
"""

import functools
import math
import sys
from pathlib import Path

PROJECT = Path(workflow.current_basedir).parents[1]
sys.path.insert(0, str(PROJECT / "workflow" / "scripts"))
from engine.configuration import configured, options_of
from engine.digests import source_digests
from engine.locks import begin
from engine.machine import package_versions, wants_gpu
from engine.messages import RESUME
from engine.methods import methods_of
from engine.plan import HANDED_ON, agree, planned_gpus
from files.tables import ids_of
from noise.seeds import replicate_parts

begin(
    PROJECT,
    main=workflow.is_main_process,
    dry=workflow.output_settings.dryrun,
)


def own_file(path):
    """Return a file of the project by its path; with --directory the one there, if it exists."""
    ours = PROJECT / path
    return str(ours) if ours.exists() and not Path(path).exists() else path


if workflow.modifier.is_main_snakefile():
    # Snakemake would read the files by itself, and give --config another order and numbers as text.
    workflow.configfiles.insert(0, own_file("config.yaml"))  # as `configfile:` does
    config = configured(
        map(Path, workflow.configfiles),
        workflow.config_settings.config,
        sys.argv[1:] if workflow.is_main_process else [],
    )
else:  # a module of another workflow, which gives its own settings as `config:`
    config = configured([PROJECT / "config.yaml"], config, [])
# For the records of jobs: what makes them again.
config["options"] = options_of(
    Path(workflow.main_snakefile),
    workflow.overwrite_configfiles,
    workflow.config_settings.config,
)

# Many jobs run the same code, which is taken as it is when they are planned.
source_digests = functools.cache(source_digests)
package_versions = functools.cache(package_versions)

METHODS = methods_of(config)  # all that are defined
NOISES = config["select"]["noise"]  # what this run has
SELECTED = {name: METHODS[name] for name in config["select"]["methods"]}
TRAINED = [name for name, method in SELECTED.items() if method.recipe]
TUNED = [name for name, method in SELECTED.items() if method.grid]
IN_TABLE = [name for name in config["table"] if name in SELECTED]
LABELS = {name: method.label for name, method in SELECTED.items()}
CAVEATS = {name: method.caveat for name, method in SELECTED.items() if method.caveat}
REFERENCES = [name for name, method in SELECTED.items() if method.reference]
CANDIDATES = [
    name
    for name, method in SELECTED.items()
    if not method.caveat and not method.reference
]
RENDERED = [name for name, entry in config["datasets"].items() if "subjects" in entry]
# Then what only reads and writes arrays takes seconds.
IS_QUICK = config["image_size"] <= 256
IS_RENDERED = config["dataset"] in RENDERED
GPUS = planned_gpus(wants_gpu(config["device"]), main=workflow.is_main_process)
agree(config, SELECTED.values(), main=workflow.is_main_process)


envvars:
    *HANDED_ON,


# The limit is for this machine: a job on another one has a GPU there.
resource_scopes:
    gpu="local",


def one_of(names):
    """Return a regular expression for exactly these names."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    run=one_of([config["run"]]),
    dataset=one_of(config["datasets"]),
    size=r"\d+",
    noise=one_of(config["noise"]),
    method=one_of([*METHODS, "noisy"]),
    part="train|test",
    # Of a training and of a draw of the noise: nothing for the first, `/2` for the second.
    training=r"|/\d+",
    draw=r"|/\d+",


TRAININGS = replicate_parts(config["replicates"]["training"])
DRAWS = replicate_parts(config["replicates"]["noise"])
REPEATED = len(TRAININGS) > 1 or len(DRAWS) > 1


def each(pattern, methods, noises=NOISES, trainings=[""], draws=[""]):
    """Return the files of the methods for each noise setting that they are for.

    By default those of the first training and of the first draw of the noise.
    """
    return [
        path
        for noise in noises
        for method in methods
        if method == "noisy" or noise in METHODS[method].settings
        for path in expand(
            pattern,
            run=config["run"],
            noise=noise,
            method=method,
            training=trainings if method in TRAINED else "",
            draw=draws,
        )
    ]


def each_replicate(pattern, methods):
    """Return the files of all trainings and of all draws of the noise."""
    return each(pattern, methods, trainings=TRAININGS, draws=DRAWS)


def of_candidates(pattern, *others):
    """Return a function that gives the files of a noise setting, of methods without a caveat."""
    return lambda wildcards: each(pattern, [*others, *CANDIDATES], [wildcards.noise])


def candidates(wildcards):
    """Return the labels of the methods of `of_candidates`, in the same order."""
    return {
        method: LABELS[method]
        for method in CANDIDATES
        if wildcards.noise in METHODS[method].settings
    }


SCORES = "results/{run}/scores/{noise}{draw}/{method}{training}.csv"
VARIANCES = "results/{run}/variances/{noise}{draw}/{method}{training}.csv"
MODELS = each(
    "results/{run}/models/{noise}/{method}{training}.pt", TRAINED, trainings=TRAININGS
)
HISTORIES = each(
    "results/{run}/training/{noise}/{method}{training}.csv",
    TRAINED,
    trainings=TRAININGS,
)


def dataset_setting(key, default=None):
    """Return a function that gives a setting of a job's data set."""
    return lambda wildcards: config["datasets"][wildcards.dataset].get(key, default)


def dataset_file(dataset, key):
    """Return the file that a data set's setting names, if it has it."""
    path = config["datasets"][dataset].get(key)
    return own_file(path) if path else []


def names_table(wildcards):
    """Whether a data set's `test` is the path of a table."""
    return str(dataset_setting("test")(wildcards)).endswith(".csv")


def duplicates(wildcards):
    """Return what to do with films that are in both parts; rendered ones are new each."""
    entry = config["datasets"][wildcards.dataset]
    known = "keep" if "manifest" in entry else "refuse"
    return entry.get("duplicates", None if "subjects" in entry else known)


PUBLISHED = dataset_file(config["dataset"], "published")
SPREAD = dataset_file(config["dataset"], "spread")


def prepared(name):
    """Return a file of the prepared data set, which all runs on it share."""
    return f"resources/datasets/{config['dataset']}/{config['image_size']}px/{name}"


def of_method(value):
    """Return a function that gives what `value(method)` is for a job's method."""
    return lambda wildcards: value(METHODS[wildcards.method])


def method_settings(wildcards):
    return METHODS[wildcards.method].settings[wildcards.noise]


# What a job may take on a cluster; the next attempt may take more. A training that has used up its
# time resumes. More than a partition allows would never start, so hours are not asked for lightly.


def megabytes(wildcards, attempt):
    """Return the memory of a job: Python, torch, and a hundred images several times."""
    return attempt * math.ceil(2000 + 0.005 * config["image_size"] ** 2)


def minutes(a_megabyte=0, a_pixel=0):
    """Return a function that gives the time of a job, of its input and of one image's pixels."""
    size = config["image_size"] ** 2
    return lambda wildcards, input, attempt: (
        attempt * math.ceil(15 + a_megabyte * input.size_mb + a_pixel * size)
    )


def rendering_minutes(wildcards, attempt):
    """Return the time of a rendering: 15, and 18 microseconds for each pixel of its images."""
    subjects = config["datasets"][wildcards.dataset]["subjects"]
    pixels = subjects * int(wildcards.size) ** 2
    return attempt * math.ceil(15 + 3e-7 * pixels)


def batch_pixels(wildcards):
    batch = method_settings(wildcards)["training"]["batch"]
    return batch * config["image_size"] ** 2


def training_megabytes(wildcards, input, attempt):
    """Return the memory of a training: its images, up to 8 GB, and 4 kB a pixel of a batch."""
    images = 1.2 * min(8000, input.size_mb) + 0.004 * batch_pixels(wildcards)
    return attempt * math.ceil(images) + megabytes(wildcards, attempt)


def training_minutes(wildcards):
    """Return the time of a training: 20 microseconds for each pixel that it sees, 1 on a GPU."""
    steps = method_settings(wildcards)["training"]["steps"]
    seconds = steps * batch_pixels(wildcards) * (1e-6 if GPUS else 20e-6)
    return math.ceil(15 + seconds / 60)


def plugin_code(wildcards):
    return f"methods/{METHODS[wildcards.method].plugin}.py"


def recipe_code(wildcards):
    return f"recipes/{METHODS[wildcards.method].recipe}.py"


def noise_code(wildcards):
    return f"distributions/{config['noise'][wildcards.noise]['distribution']}.py"


def digests(script, *parts):
    """Return a function that gives digests of a job's code: a script, and plug-ins by wildcards."""
    return lambda wildcards: source_digests(
        script, *(part(wildcards) for part in parts)
    )


def packages(script, *parts):
    """Return a function that gives the packages that a job's code imports, see `digests`."""
    return lambda wildcards: package_versions(
        script, *(part(wildcards) for part in parts)
    )


def public(entry):
    """Return a data set's entry without the names of folders, which a page to mail keeps private."""
    return entry | {
        key: [s if "://" in s else "a folder or an archive" for s in entry[key]]
        for key in entry.keys() & {"sources", "join"}
    }


def in_prose(method):
    """Return what the methods paragraph says of a method; settings by noise setting."""
    found = {name: method.settings[name] for name in NOISES if name in method.settings}
    budget = ("steps", "batch", "learning_rate")
    return {
        "plugin": method.plugin,
        "recipe": method.recipe,
        "grid": method.grid,
        "inversion": method.inversion,
        "settings": {
            noise: {k: v for k, v in settings.items() if k != "training"}
            for noise, settings in found.items()
        },
        "training": {
            noise: {
                k: settings["training"][k] for k in budget if k in settings["training"]
            }
            for noise, settings in found.items()
            if method.recipe
        },
    }


def endings():
    """Yield what to say at the end of a run, which may have had other targets than all."""
    passed_over = Path(f"resources/datasets/{config['dataset']}/passed_over.txt")
    if passed_over.exists() and (text := passed_over.read_text(encoding="utf-8")):
        yield f"Data set {config['dataset']}: {text}."
    results = Path(f"results/{config['run']}")
    tables = [name for name in ("table.md", "methods.md") if (results / name).exists()]
    if tables:
        yield f"Results are in {results}; tables: {', '.join(tables)}."
    split, twins = Path(prepared("split.csv")), Path(prepared("twins.txt"))
    if split.exists():
        parts = {part: ids_of(part, split) for part in ("train", "test")}
        found = [
            f"{len(ids)} {part} ({ids[0]} to {ids[-1]})" for part, ids in parts.items()
        ]
        yield f"Of the images, {' and '.join(found)}; {split} has them all."
    if twins.exists() and (text := twins.read_text(encoding="utf-8")):
        yield f"Data set {config['dataset']}: {text}."
