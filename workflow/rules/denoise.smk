"""Tune or train each method that wants it, and denoise the test images with every method.

REQUIRED INPUTS: the training images, clean or as corrupted pairs; the corrupted test images.
OUTPUTS: results/{run}/models/{noise}/{method}.pt with its training/{noise}/{method}.csv,
tuning/{noise}/{method}.json, denoised/{noise}/{method}.npy, shape (N, size, size), float64, and
costs/{noise}/{method}.csv.
"""


rule train_denoiser:
    input:
        clean=branch(
            of_method(lambda method: method.data),
            cases={
                "clean": of_method(learned),
                "pairs": pairs("results/{run}/clean/{file}"),
                "noisy test": [],
            },
        ),
        noisy=branch(
            of_method(lambda method: method.data),
            cases={
                "clean": [],
                "pairs": pairs("results/{run}/noisy/{noise}{training}/{file}"),
                "noisy test": "results/{run}/noisy/{noise}/test.npy",
            },
        ),
        twins=films_apart,
    output:
        model="results/{run}/models/{noise}/{method}{training}.pt",
        history="results/{run}/training/{noise}/{method}{training}.csv",
    log:
        "results/{run}/logs/train_denoiser/{noise}/{method}{training}.log",
    benchmark:
        "results/{run}/benchmarks/train_denoiser/{noise}/{method}{training}.tsv"
    conda:
        "../envs/workflow.yaml"
    threads: lambda wildcards: method_settings(wildcards)["training"]["threads"]
    resources:
        gpu=GPUS,
        mem_mb=training_megabytes,
        runtime=training_minutes,
    params:
        learns_from=of_method(lambda method: method.learns_from),
        plugin=of_method(lambda method: method.plugin),
        settings=method_settings,
        noise=lookup(dpath="noise/{noise}", within=config),
        seed=config["seed"],
        device=config["device"],
        code=digests("train_denoiser.py", plugin_code, recipe_code, noise_code),
        packages=packages("train_denoiser.py", plugin_code, recipe_code),
    script:
        "../scripts/train_denoiser.py"


rule tune_method:
    input:
        images=of_method(learned),
        twins=films_apart,
    output:
        tuning="results/{run}/tuning/{noise}/{method}.json",
    log:
        "results/{run}/logs/tune_method/{noise}/{method}.log",
    benchmark:
        "results/{run}/benchmarks/tune_method/{noise}/{method}.tsv"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=megabytes,
        runtime=minutes(a_pixel=3e-4),
    params:
        plugin=of_method(lambda method: method.plugin),
        settings=method_settings,
        grid=of_method(lambda method: method.grid),
        inversion=of_method(lambda method: method.inversion),
        noise=lookup(dpath="noise/{noise}", within=config),
        seed=config["seed"],
        code=digests("tune_method.py", plugin_code, noise_code),
        packages=packages("tune_method.py", plugin_code),
    script:
        "../scripts/tune_method.py"


rule filter_images:
    input:
        noisy="results/{run}/noisy/{noise}{draw}/test.npy",
        tuning=branch(
            of_method(lambda method: bool(method.grid)),
            then="results/{run}/tuning/{noise}/{method}.json",
        ),
    output:
        images="results/{run}/denoised/{noise}{draw}/{method}.npy",
        cost="results/{run}/costs/{noise}{draw}/{method}.csv",
    log:
        "results/{run}/logs/filter_images/{noise}{draw}/{method}.log",
    benchmark:
        "results/{run}/benchmarks/filter_images/{noise}{draw}/{method}.tsv"
    wildcard_constraints:
        method=one_of(name for name in METHODS if not is_network(METHODS[name])),
    conda:
        "../envs/workflow.yaml"
    threads: 1 if IS_QUICK else 16
    resources:
        mem_mb=megabytes,
        runtime=minutes(a_megabyte=0.05),
    params:
        plugin=of_method(lambda method: method.plugin),
        settings=method_settings,
        inversion=of_method(lambda method: method.inversion),
        noise=lookup(dpath="noise/{noise}", within=config),
        code=digests("filter_images.py", plugin_code, noise_code),
        packages=packages("filter_images.py", plugin_code),
    script:
        "../scripts/filter_images.py"


rule apply_network:
    input:
        noisy="results/{run}/noisy/{noise}{draw}/test.npy",
        model=branch(
            given,
            then=given_model,
            otherwise="results/{run}/models/{noise}/{method}{training}.pt",
        ),
        twins=branch(given, then=films_apart),
    output:
        images="results/{run}/denoised/{noise}{draw}/{method}{training}.npy",
        cost="results/{run}/costs/{noise}{draw}/{method}{training}.csv",
    log:
        "results/{run}/logs/apply_network/{noise}{draw}/{method}{training}.log",
    benchmark:
        "results/{run}/benchmarks/apply_network/{noise}{draw}/{method}{training}.tsv"
    wildcard_constraints:
        method=one_of(name for name in METHODS if is_network(METHODS[name])),
    conda:
        "../envs/workflow.yaml"
    resources:
        gpu=GPUS,
        mem_mb=megabytes,
        runtime=minutes(a_megabyte=0.01),
    params:
        given=given,
        plugin=of_method(lambda method: method.plugin),
        learns_from=of_method(lambda method: method.learns_from),
        told=told_noise,
        noise=lookup(dpath="noise/{noise}", within=config),
        device=config["device"],
        code=digests("apply_network.py", plugin_code, noise_code, *APART),
        packages=packages("apply_network.py", plugin_code, *APART),
    script:
        "../scripts/apply_network.py"
