"""The configuration, names that wildcards may take, and what several rules share.

Each rule is handed only its own slice of the configuration, and digests of the code that it runs.
So a change reruns what depends on it and nothing else.
"""

import atexit
import functools
import hashlib
import json
import math
import sys
from pathlib import Path

PROJECT = Path(workflow.current_basedir).parents[1]
sys.path.insert(0, str(PROJECT / "workflow" / "scripts"))
from engine.configuration import configured, options_of
from engine.digests import source_digests
from engine.films import PAGE, film_method, given_noise, refusals
from engine.locks import begin
from engine.machine import package_versions, wants_gpu
from engine.messages import RESUME
from engine.methods import methods_of
from engine.plan import HANDED_ON, agree, planned_gpus
from files.atomic import file_digest
from files.jsons import read_json
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
# Those that learn from another data set than the one that is scored.
ELSEWHERE = {
    name: {"dataset": method.elsewhere, "rendered": method.elsewhere in RENDERED}
    for name, method in SELECTED.items()
    if method.elsewhere
}
# Then what only reads and writes arrays takes seconds.
IS_QUICK = config["image_size"] <= 256
IS_RENDERED = config["dataset"] in RENDERED
# Those of a folder that is to be denoised, by their names in the run; of other runs none.
FILM_METHOD = film_method(config, own_file)
FILMS = {}
if FILM_METHOD:
    from films.folder import films_of  # takes time, which other runs don't need

    is_run = workflow.is_main_process and not workflow.output_settings.dryrun
    FILMS = films_of(config, FILM_METHOD, note=is_run)
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
    # Of pairs: nothing for those of the scored data set, `/NAME` for those of another one.
    other=f"|/(?:{one_of(config['datasets'])})",
    trained_on=one_of(config["datasets"]),
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


def prepared(name, dataset=config["dataset"]):
    """Return a file of a prepared data set, which all runs on it share."""
    return f"resources/datasets/{dataset}/{config['image_size']}px/{name}"


def of_method(value):
    """Return a function that gives what `value(method)` is for a job's method."""
    return lambda wildcards: value(METHODS[wildcards.method])


def given_model(wildcards):
    """Return the file of a job's network, which is trained already."""
    file = METHODS[wildcards.method].model.replace("{noise}", wildcards.noise)
    return own_file(file)


def told_noise(wildcards):
    """Return the noise that a job's network is told, the true one or another; None if none."""
    level = METHODS[wildcards.method].noise_level
    true = config["noise"][wildcards.noise]
    return {"told": true, "estimated": None, **config["noise"]}[level]


def is_network(method):
    return bool(method.recipe or method.model)


given = of_method(
    lambda method: bool(method.model)
)  # whether a job's network is trained already


def learned(method):
    """Return the clean images that a method learns from."""
    return prepared("train.npy", method.learns_from)


def prepared_for(name):
    """Return a function that gives a file of the data set that pairs are made from."""
    return lambda wildcards: prepared(name, wildcards.other[1:] or config["dataset"])


def pairs(pattern):
    """Return a function that gives the pairs that a job's method learns from: a `{file}`."""

    def path(wildcards):
        other = METHODS[wildcards.method].elsewhere
        file = f"train/{other}.npy" if other else "train.npy"
        return pattern.format(file=file, **dict(wildcards.items()))

    return path


def films_apart(wildcards):
    """Return the file that says whether films that a job's method learns from test it.

    None is needed if they are rendered: no subject is one of a film, or one of another seed.
    """
    other = METHODS[wildcards.method].elsewhere
    known = [config["datasets"][name] for name in (config["dataset"], other) if name]
    seeds = {entry["seed"] if "subjects" in entry else None for entry in known}
    return prepared(f"twins/{other}.txt") if other and len(seeds) == 1 else []


def method_settings(wildcards):
    return METHODS[wildcards.method].settings[wildcards.noise]


def plugin_code(wildcards):
    return f"methods/{METHODS[wildcards.method].plugin}.py"


def estimation_code(wildcards):
    """Return the code that estimates the noise, if it is not told to a network that wants it."""
    method = METHODS[wildcards.method]
    is_estimated = method.noise_level == "estimated"
    return "noise/estimation.py" if is_estimated else plugin_code(wildcards)


def reading_code(wildcards):
    """Return the code that reads a network which was trained before."""
    return "files/models.py" if given(wildcards) else plugin_code(wildcards)


# What scripts import by name, only where it is needed.
APART = (estimation_code, reading_code)


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
        "elsewhere": ELSEWHERE.get(method.name),
        "given": bool(method.model),
        "estimated": method.noise_level == "estimated",
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
    split = Path(prepared("split.csv"))
    if split.exists():
        parts = {part: ids_of(part, split) for part in ("train", "test")}
        ends = {part: f" ({ids[0]} to {ids[-1]})" for part, ids in parts.items() if ids}
        found = [f"{len(parts[part])} {part}{ends.get(part, '')}" for part in parts]
        yield f"Of the images, {' and '.join(found)}; {split} has them all."
    others = dict.fromkeys(other["dataset"] for other in ELSEWHERE.values())
    for name in ("twins.txt", *(f"twins/{other}.txt" for other in others)):
        twins = Path(prepared(name))
        if twins.exists() and (text := twins.read_text(encoding="utf-8")):
            yield f"Data set {config['dataset']}: {text}."
