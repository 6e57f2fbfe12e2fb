"""Augment the training images, and write the corrupted sets of each noise setting.

REQUIRED INPUTS: the split data set.
OUTPUTS: results/{run}/clean/train.npy, five arrays an image; results/{run}/noisy/{noise}/train.npy
and test.npy, the noise drawn once for each; in {noise}/2/ and so on drawn again, for replicates. Of
a data set that only trains, in train/NAME.npy.
"""


rule augment_images:
    input:
        images=prepared_for("train.npy"),
        split=prepared_for("split.csv"),
    output:
        images="results/{run}/clean/train{other}.npy",
    log:
        "results/{run}/logs/augment_images{other}.log",
    benchmark:
        "results/{run}/benchmarks/augment_images{other}.tsv"
    localrule: IS_QUICK
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=megabytes,
        runtime=minutes(a_megabyte=0.001),
    params:
        seed=config["seed"],
        code=source_digests("augment_images.py"),
    script:
        "../scripts/augment_images.py"


rule corrupt_images:
    input:
        images=branch(
            lambda wildcards: wildcards.part == "train",
            then="results/{run}/clean/train{other}.npy",
            otherwise=prepared_for("test.npy"),
        ),
        split=prepared_for("split.csv"),
    output:
        images="results/{run}/noisy/{noise}{draw}/{part}{other}.npy",
    log:
        "results/{run}/logs/corrupt_images/{noise}{draw}/{part}{other}.log",
    benchmark:
        "results/{run}/benchmarks/corrupt_images/{noise}{draw}/{part}{other}.tsv"
    localrule: IS_QUICK
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=megabytes,
        runtime=minutes(a_megabyte=0.001),
    params:
        noise=lookup(dpath="noise/{noise}", within=config),
        seed=config["seed"],
        code=digests("corrupt_images.py", noise_code),
    script:
        "../scripts/corrupt_images.py"
