"""Names that wildcards may take, and slices of the configuration, for all rules.

Each rule is handed only its own slice, and digests of the code that it runs. So a change reruns
what depends on it and nothing else.
"""

# Many jobs run the same code, which is taken as it is when they are planned.
source_digests = functools.cache(source_digests)
package_versions = functools.cache(package_versions)

SELECTED = config["select"]
TRAINED = [method for method in SELECTED["methods"] if is_trained(config, method)]
TUNED = [method for method in SELECTED["methods"] if is_tuned(config, method)]
IN_TABLE = [method for method in config["table"] if method in SELECTED["methods"]]
RENDERED = [name for name, entry in config["datasets"].items() if "subjects" in entry]
CAVEATS = {
    method: declared_by(config, method)["CAVEAT"]
    for method in SELECTED["methods"]
    if "CAVEAT" in declared_by(config, method)
}
# To be shown as the best.
CANDIDATES = [method for method in SELECTED["methods"] if method not in CAVEATS]
LABELS = {method: label_of(config, method) for method in SELECTED["methods"]}
IS_RENDERED = config["dataset"] in RENDERED
GPUS = int(wants_gpu(config["device"]))


def file_of(dataset, key):
    """Return the file that a data set's setting names, if it has it; with --directory the project's own."""
    path = config["datasets"][dataset].get(key, [])
    ours = Path(workflow.basedir) / (path or "")
    return str(ours) if path and ours.exists() and not Path(path).exists() else path


PUBLISHED = file_of(config["dataset"], "published")


def one_of(names):
    """Return a regular expression for exactly these names."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    run=one_of([config["run"]]),
    dataset=one_of(config["datasets"]),
    size=r"\d+",
    noise=one_of(config["noise"]),
    method=one_of([*config["methods"], "noisy"]),
    part="train|test",


def each(pattern, methods, noises=SELECTED["noise"]):
    """Return the files of the methods for each noise setting that they are for."""
    return [
        path
        for noise in noises
        for method in methods
        if method == "noisy" or applies(config, method, noise)
        for path in expand(pattern, run=config["run"], noise=noise, method=method)
    ]


MODELS = each("results/{run}/models/{noise}/{method}.pt", TRAINED)
CHECKPOINTS = each("results/{run}/checkpoints/{noise}/{method}.pt", TRAINED)
HISTORIES = each("results/{run}/training/{noise}/{method}.csv", TRAINED)


def prepared(name):
    """Return a file of the prepared data set, which all runs on it share."""
    return f"resources/datasets/{config['dataset']}/{config['image_size']}px/{name}"


def noise_code(wildcards):
    return f"distributions/{config['noise'][wildcards.noise]['distribution']}.py"


def method_files(wildcards):
    """Return a method's own code: its plug-in, and what applies it if it is trained."""
    return [
        f"methods/{plugin_of(config, wildcards.method)}.py",
        *(["training/inference.py"] if is_trained(config, wildcards.method) else []),
    ]


def training_files(wildcards):
    """Return the code of a training: its script, plug-in and recipe."""
    recipe = f"recipes/{recipe_of(config, wildcards.method)}.py"
    return ["train_denoiser.py", recipe, *method_files(wildcards)[:1]]


def training_images(wildcards):
    """Return the arrays that a method's recipe trains on, by name."""
    data = declarations("recipes", recipe_of(config, wildcards.method))["DATA"]
    if data == "pairs":
        return {
            "clean": "results/{run}/clean/train.npy",
            "noisy": "results/{run}/noisy/{noise}/train.npy",
        }
    return {"clean": prepared("train.npy")}


def method_settings(wildcards):
    return settings_of(config, wildcards.method, wildcards.noise)


def method_entry(key, default):
    """Return a function that gives a part of a job's method's entry in `methods`."""
    return lambda wildcards: config["methods"][wildcards.method].get(key, default)


def dataset_setting(key, default=None):
    """Return a function that gives a setting of a job's data set."""
    return lambda wildcards: config["datasets"][wildcards.dataset].get(key, default)
