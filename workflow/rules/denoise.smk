"""Train each method that learns, and denoise the test images with every method.

REQUIRED INPUTS: the corrupted sets and the augmented training images.
OUTPUTS: results/{run}/models/{noise}/{method}.pt with its training/{noise}/{method}.csv, and
results/{run}/denoised/{noise}/{method}.npy, shape (N, size, size), float64.
"""


rule train_denoiser:
    input:
        clean="results/{run}/clean/train.npy",
        noisy="results/{run}/noisy/{noise}/train.npy",
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
        seed=config["seed"],
        device=config["device"],
        checkpoint="results/{run}/checkpoints/{noise}/{method}.pt",
        code=plugin_code("train_denoiser.py"),
    script:
        "../scripts/train_denoiser.py"


rule denoise_images:
    input:
        noisy="results/{run}/noisy/{noise}/test.npy",
        model=branch(
            lambda wildcards: is_trained(config, wildcards.method),
            then="results/{run}/models/{noise}/{method}.pt",
        ),
    output:
        images="results/{run}/denoised/{noise}/{method}.npy",
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
        noise=lookup(dpath="noise/{noise}", within=config),
        device=lambda wildcards: (
            config["device"] if is_trained(config, wildcards.method) else None
        ),
        code=plugin_code("denoise_images.py"),
    script:
        "../scripts/denoise_images.py"
