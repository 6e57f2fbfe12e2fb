"""Compare the phantom with the real images, for the documentation; no part of a run.

REQUIRED INPUTS: the images of the data sets phantom and isbi2015, the published numbers, the page's
text without results.
OUTPUTS: docs/phantom.md and its figures: curves of both, pictures of the phantom alone.
"""


rule compare_datasets:
    input:
        phantom="resources/datasets/phantom/128px/images.npy",
        real="resources/datasets/isbi2015/128px/images.npy",
        published=own_file("resources/published.yaml"),
        template=own_file("workflow/report/phantom.md"),
    output:
        page="docs/phantom.md",
        statistics="docs/phantom_statistics.png",
        subjects="docs/phantom_subjects.png",
    log:
        "resources/datasets/phantom/logs/compare_datasets.log",
    benchmark:
        "resources/datasets/phantom/benchmarks/compare_datasets.tsv"
    localrule: True
    conda:
        "../envs/workflow.yaml"
    params:
        noise=config["noise"],
        first_test=lambda wildcards: config["datasets"]["phantom"]["train"],
        seed=config["seed"],
        code=source_digests(
            "compare_datasets.py",
            *{
                f"distributions/{entry['distribution']}.py"
                for entry in config["noise"].values()
            },
        ),
    script:
        "../scripts/compare_datasets.py"
