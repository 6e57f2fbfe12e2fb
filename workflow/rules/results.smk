"""Score every test image, collect the table, and draw the figures.

REQUIRED INPUTS: the denoised and the noisy test images, the ground truth, the training histories.
OUTPUTS: results/{run}/table.md (the published columns) and methods.md (every method), each as
csv and html too; pairs.csv, the methods compared in pairs; scores.csv, a line for each test image;
variances/, how much each method's images vary; figures/. The rule `figures` makes all figures; a
run without a target makes those of the examples, the training and the costs.
"""


rule score_images:
    input:
        clean=prepared("test.npy"),
        split=prepared("split.csv"),
        images=branch(
            lambda wildcards: wildcards.method == "noisy",
            then="results/{run}/noisy/{noise}{draw}/test.npy",
            otherwise="results/{run}/denoised/{noise}{draw}/{method}{training}.npy",
        ),
    output:
        scores=SCORES,
        variance=VARIANCES,
    log:
        "results/{run}/logs/score_images/{noise}{draw}/{method}{training}.log",
    benchmark:
        "results/{run}/benchmarks/score_images/{noise}{draw}/{method}{training}.tsv"
    localrule: IS_QUICK
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=megabytes,
        runtime=minutes(a_megabyte=0.001),
    params:
        code=source_digests("score_images.py"),
        packages=package_versions("score_images.py"),
    script:
        "../scripts/score_images.py"


rule make_table:
    input:
        published=PUBLISHED,
        spread=SPREAD,
        scores=each_replicate(SCORES, ["noisy", *IN_TABLE]),
        variances=each_replicate(VARIANCES, ["noisy", *IN_TABLE]),
    output:
        csv="results/{run}/table.csv",
        md="results/{run}/table.md",
        html=report(
            "results/{run}/table.html",
            caption="../report/table.rst",
            category="Table",
            labels={"result": "Table in the published form"},
        ),
    log:
        "results/{run}/logs/make_table.log",
    benchmark:
        "results/{run}/benchmarks/make_table.tsv"
    localrule: True
    conda:
        "../envs/workflow.yaml"
    params:
        dataset=config["dataset"],
        rendered=IS_RENDERED,
        image_size=config["image_size"],
        noise={name: config["noise"][name] for name in NOISES},
        labels={method: LABELS[method] for method in IN_TABLE},
        budgets={
            method: {
                noise: settings["training"]
                for noise, settings in METHODS[method].settings.items()
                if noise in NOISES
            }
            for method in IN_TABLE
            if method in TRAINED
        },
        elsewhere={name: ELSEWHERE[name] for name in IN_TABLE if name in ELSEWHERE},
        code=source_digests("make_table.py"),
    script:
        "../scripts/make_table.py"


rule compare_methods:
    input:
        published=PUBLISHED,
        scores=each_replicate(SCORES, ["noisy", *SELECTED]),
        variances=each_replicate(VARIANCES, ["noisy", *SELECTED]),
        costs=each("results/{run}/costs/{noise}/{method}.csv", SELECTED),
        tuning=each("results/{run}/tuning/{noise}/{method}.json", TUNED),
    output:
        scores=report(
            "results/{run}/scores.csv",
            caption="../report/scores.rst",
            category="Table",
            labels={"result": "All scores, a line for each test image"},
        ),
        csv="results/{run}/methods.csv",
        pairs="results/{run}/pairs.csv",
        md="results/{run}/methods.md",
        html=report(
            "results/{run}/methods.html",
            caption="../report/methods.rst",
            category="Table",
            labels={"result": "All methods: scores, costs, settings"},
        ),
    log:
        "results/{run}/logs/compare_methods.log",
    benchmark:
        "results/{run}/benchmarks/compare_methods.tsv"
    localrule: True
    conda:
        "../envs/workflow.yaml"
    params:
        dataset=config["dataset"],
        rendered=IS_RENDERED,
        image_size=config["image_size"],
        noise={name: config["noise"][name] for name in NOISES},
        labels=LABELS,
        uses={name: list(method.uses) for name, method in SELECTED.items()},
        caveats=CAVEATS,
        references=REFERENCES,
        elsewhere=ELSEWHERE,
        allowed=config.get("allowed", {}),
        trained=TRAINED,
        given=[name for name, method in SELECTED.items() if method.model],
        margin=config["margin"],
        code=source_digests("compare_methods.py"),
    script:
        "../scripts/compare_methods.py"


rule plot_compute:
    input:
        methods="results/{run}/methods.csv",
        scores="results/{run}/scores.csv",
    output:
        figure=report(
            "results/{run}/figures/compute.png",
            caption="../report/compute.rst",
            category="Table",
            labels={"result": "Scores against costs"},
        ),
        svg="results/{run}/figures/compute.svg",
    log:
        "results/{run}/logs/plot_compute.log",
    benchmark:
        "results/{run}/benchmarks/plot_compute.tsv"
    localrule: True
    conda:
        "../envs/workflow.yaml"
    params:
        rendered=IS_RENDERED,
        dataset=config["dataset"],
        uses={name: list(method.uses) for name, method in SELECTED.items()},
        caveats=CAVEATS,
        code=source_digests("plot_compute.py"),
    script:
        "../scripts/plot_compute.py"


rule plot_examples:
    input:
        clean=prepared("test.npy"),
        split=prepared("split.csv"),
        noisy="results/{run}/noisy/{noise}/test.npy",
        denoised=of_candidates("results/{run}/denoised/{noise}/{method}.npy"),
        scores=of_candidates(SCORES, "noisy"),
    output:
        figure=report(
            "results/{run}/figures/{noise}.png",
            caption="../report/examples.rst",
            category="Examples",
            labels={"noise": "{noise}"},
        ),
        svg="results/{run}/figures/{noise}.svg",
    log:
        "results/{run}/logs/plot_examples/{noise}.log",
    benchmark:
        "results/{run}/benchmarks/plot_examples/{noise}.tsv"
    localrule: True
    conda:
        "../envs/workflow.yaml"
    params:
        dataset=config["dataset"],
        rendered=IS_RENDERED,
        noise=lookup(dpath="noise/{noise}", within=config),
        published=IN_TABLE,
        candidates=candidates,
        repeated=REPEATED,
        code=source_digests("plot_examples.py"),
    script:
        "../scripts/plot_examples.py"


rule plot_training:
    input:
        histories=HISTORIES,
    output:
        figure=report(
            "results/{run}/figures/training.png",
            caption="../report/training.rst",
            category="Training",
            labels={"result": "Losses of all trainings"},
        ),
        svg="results/{run}/figures/training.svg",
    log:
        "results/{run}/logs/plot_training.log",
    benchmark:
        "results/{run}/benchmarks/plot_training.tsv"
    localrule: True
    conda:
        "../envs/workflow.yaml"
    params:
        labels={name: LABELS[name] for name in TRAINED},
        code=source_digests("plot_training.py"),
    script:
        "../scripts/plot_training.py"


rule plot_paired:
    input:
        scores="results/{run}/scores.csv",
    output:
        figure=report(
            "results/{run}/figures/paired.png",
            caption="../report/paired.rst",
            category="Table",
            labels={"result": "Scores of every test image"},
        ),
        svg="results/{run}/figures/paired.svg",
    log:
        "results/{run}/logs/plot_paired.log",
    benchmark:
        "results/{run}/benchmarks/plot_paired.tsv"
    localrule: True
    conda:
        "../envs/workflow.yaml"
    params:
        dataset=config["dataset"],
        rendered=IS_RENDERED,
        published=IN_TABLE,
        candidates={method: LABELS[method] for method in CANDIDATES},
        code=source_digests("plot_paired.py"),
    script:
        "../scripts/plot_paired.py"


rule plot_errors:
    input:
        clean=prepared("test.npy"),
        noisy="results/{run}/noisy/{noise}/test.npy",
        denoised=of_candidates("results/{run}/denoised/{noise}/{method}.npy"),
        scores=of_candidates(SCORES),
    output:
        figure=report(
            "results/{run}/figures/errors/{noise}.png",
            caption="../report/errors.rst",
            category="Errors",
            labels={"noise": "{noise}"},
        ),
        svg="results/{run}/figures/errors/{noise}.svg",
    log:
        "results/{run}/logs/plot_errors/{noise}.log",
    benchmark:
        "results/{run}/benchmarks/plot_errors/{noise}.tsv"
    localrule: IS_QUICK
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=megabytes,
        runtime=minutes(a_megabyte=0.001),
    params:
        dataset=config["dataset"],
        rendered=IS_RENDERED,
        noise=lookup(dpath="noise/{noise}", within=config),
        published=IN_TABLE,
        candidates=candidates,
        repeated=REPEATED,
        code=source_digests("plot_errors.py"),
    script:
        "../scripts/plot_errors.py"


# All figures, in the order of a page: the caption in workflow/report/, a title, the file.
FIGURES = [
    ("compute", "Scores against costs", "compute.png"),
    ("paired", "Scores of every test image", "paired.png"),
    *([("training", "Losses of all trainings", "training.png")] if TRAINED else []),
    *(("examples", f"Examples: {noise}", f"{noise}.png") for noise in NOISES),
    *(("errors", f"Errors: {noise}", f"errors/{noise}.png") for noise in NOISES),
]


rule figures:
    input:
        expand(
            "results/{run}/figures/{file}",
            run=config["run"],
            file=[file for _, _, file in FIGURES],
        ),
