"""Names that wildcards may take, and slices of the configuration, for all rules.

Each rule is handed only its own slice, and a digest of the code that it runs. So a change reruns
what depends on it and nothing else.
"""

# Many jobs run the same code, which does not change while they are planned.
source_digest = functools.cache(source_digest)

SELECTED = config["select"]
TRAINED = [method for method in SELECTED["methods"] if is_trained(config, method)]
RENDERED = [name for name, entry in config["datasets"].items() if "subjects" in entry]
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


def trained(pattern):
    """Return the files of all selected trained methods and noise settings."""
    return expand(pattern, run=config["run"], noise=SELECTED["noise"], method=TRAINED)


def prepared(name):
    """Return a file of the prepared data set, which all runs on it share."""
    return f"resources/datasets/{config['dataset']}/{config['image_size']}px/{name}"


def plugin_code(script):
    """Return a function that gives the digest of a script and of a job's plug-in."""
    return lambda wildcards: source_digest(
        script, f"methods/{plugin_of(config, wildcards.method)}.py"
    )


def method_settings(wildcards):
    return settings_of(config, wildcards.method, wildcards.noise)


def dataset_setting(key, default=None):
    """Return a function that gives a setting of a job's data set."""
    return lambda wildcards: config["datasets"][wildcards.dataset].get(key, default)
