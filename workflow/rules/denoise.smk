"""Tune or train each method that wants it, and denoise the test images with every method.

REQUIRED INPUTS: the training images, clean or as corrupted pairs; the corrupted test images.
OUTPUTS: results/{run}/models/{noise}/{method}.pt with its training/{noise}/{method}.csv,
tuning/{noise}/{method}.json, denoised/{noise}/{method}.npy, shape (N, size, size), float64, and
costs/{noise}/{method}.csv.
"""


rule train_denoiser:
    input:
        unpack(training_images),
    output:
        model="results/{run}/models/{noise}/{method}.pt",
        history="results/{run}/training/{noise}/{method}.csv",
    log:
        "results/{run}/logs/train_denoiser/{noise}/{method}.log",
    benchmark:
        "results/{run}/benchmarks/train_denoiser/{noise}/{method}.tsv"
    conda:
        "../envs/workflow.yaml"
    threads: lambda wildcards: method_settings(wildcards)["training"]["threads"]
    resources:
        gpu=GPUS,
    params:
        plugin=lambda wildcards: plugin_of(config, wildcards.method),
        settings=method_settings,
        noise=lookup(dpath="noise/{noise}", within=config),
        seed=config["seed"],
        device=config["device"],
        checkpoint="results/{run}/checkpoints/{noise}/{method}.pt",
        code=lambda wildcards: source_digests(
            *training_files(wildcards), noise_code(wildcards)
        ),
        packages=lambda wildcards: package_versions(*training_files(wildcards)),
    script:
        "../scripts/train_denoiser.py"


rule tune_method:
    input:
        images=prepared("train.npy"),
    output:
        tuning="results/{run}/tuning/{noise}/{method}.json",
    log:
        "results/{run}/logs/tune_method/{noise}/{method}.log",
    benchmark:
        "results/{run}/benchmarks/tune_method/{noise}/{method}.tsv"
    conda:
        "../envs/workflow.yaml"
    params:
        plugin=lambda wildcards: plugin_of(config, wildcards.method),
        settings=method_settings,
        grid=method_entry("tune", {}),
        inversion=lambda wildcards: inverts(config, wildcards.method),
        noise=lookup(dpath="noise/{noise}", within=config),
        seed=config["seed"],
        code=lambda wildcards: source_digests(
            "tune_method.py", *method_files(wildcards), noise_code(wildcards)
        ),
        packages=lambda wildcards: package_versions(
            "tune_method.py", *method_files(wildcards)
        ),
    script:
        "../scripts/tune_method.py"


rule denoise_images:
    input:
        noisy="results/{run}/noisy/{noise}/test.npy",
        model=branch(
            lambda wildcards: is_trained(config, wildcards.method),
            then="results/{run}/models/{noise}/{method}.pt",
        ),
        tuning=branch(
            lambda wildcards: is_tuned(config, wildcards.method),
            then="results/{run}/tuning/{noise}/{method}.json",
        ),
    output:
        images="results/{run}/denoised/{noise}/{method}.npy",
        cost="results/{run}/costs/{noise}/{method}.csv",
    log:
        "results/{run}/logs/denoise_images/{noise}/{method}.log",
    benchmark:
        "results/{run}/benchmarks/denoise_images/{noise}/{method}.tsv"
    conda:
        "../envs/workflow.yaml"
    resources:
        gpu=lambda wildcards: GPUS * is_trained(config, wildcards.method),
    params:
        plugin=lambda wildcards: plugin_of(config, wildcards.method),
        settings=method_settings,
        inversion=lambda wildcards: inverts(config, wildcards.method),
        noise=lookup(dpath="noise/{noise}", within=config),
        device=lambda wildcards: (
            config["device"] if is_trained(config, wildcards.method) else None
        ),
        code=lambda wildcards: source_digests(
            "denoise_images.py", *method_files(wildcards), noise_code(wildcards)
        ),
        packages=lambda wildcards: package_versions(*method_files(wildcards)),
    script:
        "../scripts/denoise_images.py"
