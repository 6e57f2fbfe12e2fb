"""Write a finished run as one page to mail; no part of a run.

REQUIRED INPUTS: the tables, the figures, the test images with what the methods made of them, and
beside them the records, benchmarks and logs of the jobs.
OUTPUTS: results/{run}/report.html, and table.tex and methods.tex: its tables as LaTeX.
"""


rule write_report:
    input:
        template=own_file("workflow/report/page.html.j2"),
        references=own_file("resources/references.yaml"),
        table="results/{run}/table.csv",
        methods="results/{run}/methods.csv",
        scores="results/{run}/scores.csv",
        pairs="results/{run}/pairs.csv",
        tuning=each("results/{run}/tuning/{noise}/{method}.json", TUNED),
        clean=prepared("test.npy"),
        split=prepared("split.csv"),
        noisy=each("results/{run}/noisy/{noise}/test.npy", ["noisy"]),
        denoised=each("results/{run}/denoised/{noise}/{method}.npy", CANDIDATES),
        figures=[f"results/{{run}}/figures/{file}" for _, _, file in FIGURES],
        captions=[own_file(f"workflow/report/{name}.rst") for name, _, _ in FIGURES],
    output:
        page="results/{run}/report.html",
        table="results/{run}/table.tex",
        methods="results/{run}/methods.tex",
    log:
        "results/{run}/logs/write_report.log",
    benchmark:
        "results/{run}/benchmarks/write_report.tsv"
    localrule: True
    conda:
        "../envs/workflow.yaml"
    params:
        dataset=config["dataset"],
        rendered=IS_RENDERED,
        image_size=config["image_size"],
        seed=config["seed"],
        device=config["device"],
        replicates=config["replicates"],
        noise={name: config["noise"][name] for name in NOISES},
        labels=LABELS,
        caveats=CAVEATS,
        candidates=CANDIDATES,
        elsewhere=ELSEWHERE,
        table=config["table"],
        titles=[title for _, title, _ in FIGURES],
        plugins={name: in_prose(method) for name, method in SELECTED.items()},
        configuration={
            **{
                key: config[key]
                for key in (
                    "run",
                    "image_size",
                    "seed",
                    "device",
                    "margin",
                    "replicates",
                )
            },
            "dataset": {
                name: public(config["datasets"][name])
                for name in dict.fromkeys(
                    [config["dataset"], *(it["dataset"] for it in ELSEWHERE.values())]
                )
            },
            "noise": {name: config["noise"][name] for name in NOISES},
            "methods": {
                name: entry | ({"model": "a file"} if "model" in entry else {})
                for name, entry in config["methods"].items()
                if name in SELECTED
            },
        },
        code=source_digests("write_report.py"),
    script:
        "../scripts/write_report.py"


rule page:
    input:
        expand("results/{run}/report.html", run=config["run"]),
