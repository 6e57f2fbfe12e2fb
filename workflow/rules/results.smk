"""Score every test image, collect the table, and draw the figures.

REQUIRED INPUTS: the denoised and the noisy test images, the ground truth, the training histories.
OUTPUTS: results/{run}/scores.csv, table.md, table.csv, table.html and figures/.
"""


rule score_images:
    input:
        clean=prepared("test.npy"),
        split=prepared("split.csv"),
        images=branch(
            lambda wildcards: wildcards.method == "noisy",
            then="results/{run}/noisy/{noise}/test.npy",
            otherwise="results/{run}/denoised/{noise}/{method}.npy",
        ),
    output:
        scores="results/{run}/scores/{noise}/{method}.csv",
    log:
        "results/{run}/logs/score_images/{noise}/{method}.log",
    benchmark:
        "results/{run}/benchmarks/score_images/{noise}/{method}.tsv"
    conda:
        "../envs/workflow.yaml"
    params:
        code=source_digest("score_images.py"),
    script:
        "../scripts/score_images.py"


rule make_table:
    input:
        published=config["datasets"][config["dataset"]].get("published", []),
        scores=expand(
            "results/{{run}}/scores/{noise}/{method}.csv",
            noise=SELECTED["noise"],
            method=["noisy", *SELECTED["methods"]],
        ),
    output:
        scores="results/{run}/scores.csv",
        csv="results/{run}/table.csv",
        md="results/{run}/table.md",
        html=report(
            "results/{run}/table.html",
            caption="../report/table.rst",
            category="Table",
            labels={"run": "{run}"},
        ),
    log:
        "results/{run}/logs/make_table.log",
    benchmark:
        "results/{run}/benchmarks/make_table.tsv"
    conda:
        "../envs/workflow.yaml"
    params:
        dataset=config["dataset"],
        kind=KIND,
        image_size=config["image_size"],
        noise={name: config["noise"][name] for name in SELECTED["noise"]},
        labels=LABELS,
        budgets={
            method: {
                noise: settings_of(config, method, noise)["training"]
                for noise in SELECTED["noise"]
            }
            for method in TRAINED
        },
        code=source_digest("make_table.py"),
    script:
        "../scripts/make_table.py"


rule plot_examples:
    input:
        clean=prepared("test.npy"),
        split=prepared("split.csv"),
        noisy="results/{run}/noisy/{noise}/test.npy",
        denoised=expand(
            "results/{{run}}/denoised/{{noise}}/{method}.npy",
            method=SELECTED["methods"],
        ),
        scores=expand(
            "results/{{run}}/scores/{{noise}}/{method}.csv",
            method=["noisy", *SELECTED["methods"]],
        ),
    output:
        figure=report(
            "results/{run}/figures/{noise}.png",
            caption="../report/examples.rst",
            category="Examples",
            labels={"noise": "{noise}"},
        ),
    log:
        "results/{run}/logs/plot_examples/{noise}.log",
    benchmark:
        "results/{run}/benchmarks/plot_examples/{noise}.tsv"
    conda:
        "../envs/workflow.yaml"
    params:
        dataset=config["dataset"],
        kind=KIND,
        noise=lookup(dpath="noise/{noise}", within=config),
        labels=LABELS,
        code=source_digest("plot_examples.py"),
    script:
        "../scripts/plot_examples.py"


rule plot_training:
    input:
        histories=trained("results/{run}/training/{noise}/{method}.csv"),
    output:
        figure=report(
            "results/{run}/figures/training.png",
            caption="../report/training.rst",
            category="Training",
            labels={"run": "{run}"},
        ),
    log:
        "results/{run}/logs/plot_training.log",
    benchmark:
        "results/{run}/benchmarks/plot_training.tsv"
    conda:
        "../envs/workflow.yaml"
    params:
        labels={name: label_of(config, name) for name in TRAINED},
        code=source_digest("plot_training.py"),
    script:
        "../scripts/plot_training.py"
