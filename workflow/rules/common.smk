"""Names that wildcards may take, and slices of the configuration, for all rules.

Each rule is handed only its own slice, and a digest of the code that it runs. So a change reruns
what depends on it and nothing else.
"""

# Many jobs run the same code and packages, which do not change while they are planned.
source_digest = functools.cache(source_digest)


@functools.cache
def packages(*names):
    """Return the versions of packages, as far as results depend on them: without patch releases."""
    return {
        name: ".".join(importlib.metadata.version(name).split(".")[:2])
        for name in names
    }


SELECTED = config["select"]
TRAINED = [method for method in SELECTED["methods"] if is_trained(config, method)]
TUNED = [method for method in SELECTED["methods"] if is_tuned(config, method)]
IN_TABLE = [method for method in config["table"] if method in SELECTED["methods"]]
RENDERED = [name for name, entry in config["datasets"].items() if "subjects" in entry]
LATTICE = [
    m for m in SELECTED["methods"] if declared_by(config, m).get("EXPLOITS_LATTICE")
]
CANDIDATES = [
    m for m in SELECTED["methods"] if m not in LATTICE
]  # to be shown as the best
PUBLISHED = config["datasets"][config["dataset"]].get("published", [])
LABELS = {method: label_of(config, method) for method in SELECTED["methods"]}
KIND = "digital phantom" if config["dataset"] in RENDERED else "real images"
GPUS = int(wants_gpu(config["device"]))


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


HISTORIES = each("results/{run}/training/{noise}/{method}.csv", TRAINED)


def prepared(name):
    """Return a file of the prepared data set, which all runs on it share."""
    return f"resources/datasets/{config['dataset']}/{config['image_size']}px/{name}"


def noise_code(wildcards):
    return f"distributions/{config['noise'][wildcards.noise]['distribution']}.py"


def method_code(script):
    """Return a function that gives the digest of a script, a job's plug-in and noise model."""
    return lambda wildcards: source_digest(
        script,
        f"methods/{plugin_of(config, wildcards.method)}.py",
        noise_code(wildcards),
        *(["common/inference.py"] if is_trained(config, wildcards.method) else []),
    )


def method_packages(wildcards):
    return packages("torch" if is_trained(config, wildcards.method) else "scikit-image")


def training_code(wildcards):
    """Return the digest of the code that a training runs."""
    recipe = f"recipes/{recipe_of(config, wildcards.method)}.py"
    plugin = f"methods/{plugin_of(config, wildcards.method)}.py"
    return source_digest("train_denoiser.py", recipe, plugin, noise_code(wildcards))


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
