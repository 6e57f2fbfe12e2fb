"""Get the images of a data set, as arrays of one size, and split them.

REQUIRED INPUTS: none; a data set is rendered, or read from its `sources` or `join`.
OUTPUTS: resources/datasets/{dataset}/{size}px/{train,test}.npy, shape (N, size, size), float64 in
[0, 1]; split.csv, which says which image is in which part; twins.txt, which names films that are
there twice. They depend on the data set alone, so all runs share them. twins/{trained_on}.txt names
films that test and are among the training images of another data set, if a method learns from these.
"""


rule fetch_images:
    input:
        manifest=lambda wildcards: dataset_file(wildcards.dataset, "manifest"),
    output:
        images=directory("resources/datasets/{dataset}/images"),
        checksums="resources/datasets/{dataset}/images.csv",
        passed_over="resources/datasets/{dataset}/passed_over.txt",
    log:
        "resources/datasets/{dataset}/logs/fetch_images.log",
    benchmark:
        "resources/datasets/{dataset}/benchmarks/fetch_images.tsv"
    wildcard_constraints:
        dataset=one_of(config["datasets"].keys() - RENDERED),
    localrule: True
    conda:
        "../envs/workflow.yaml"
    params:
        # Without a manifest the source is all that says what the images are.
        sources=lambda wildcards, input: (
            None if input.manifest else dataset_setting("sources")(wildcards)
        ),
        join=dataset_setting("join"),
        code=source_digests("fetch_images.py"),
    script:
        "../scripts/fetch_images.py"


rule resize_images:
    input:
        # A folder is compared by date, a table by what it holds.
        images=ancient("resources/datasets/{dataset}/images"),
        checksums="resources/datasets/{dataset}/images.csv",
    output:
        images="resources/datasets/{dataset}/{size}px/images.npy",
        ids="resources/datasets/{dataset}/{size}px/ids.csv",
    log:
        "resources/datasets/{dataset}/logs/resize_images/{size}px.log",
    benchmark:
        "resources/datasets/{dataset}/benchmarks/resize_images/{size}px.tsv"
    wildcard_constraints:
        dataset=one_of(config["datasets"].keys() - RENDERED),
    conda:
        "../envs/workflow.yaml"
    threads: 4
    resources:
        mem_mb=megabytes,
        runtime=minutes(a_megabyte=0.001),
    params:
        size=lambda wildcards: int(wildcards.size),
        white=dataset_setting("white", "auto"),
        window=dataset_setting("window", False),
        fit=dataset_setting("fit", "squash"),
        code=source_digests("resize_images.py"),
    script:
        "../scripts/resize_images.py"


rule render_phantom:
    output:
        images="resources/datasets/{dataset}/{size}px/images.npy",
        ids="resources/datasets/{dataset}/{size}px/ids.csv",
    log:
        "resources/datasets/{dataset}/logs/render_phantom/{size}px.log",
    benchmark:
        "resources/datasets/{dataset}/benchmarks/render_phantom/{size}px.tsv"
    wildcard_constraints:
        dataset=one_of(RENDERED),
    conda:
        "../envs/workflow.yaml"
    threads: 4
    resources:
        mem_mb=megabytes,
        runtime=rendering_minutes,
    params:
        subjects=dataset_setting("subjects"),
        seed=dataset_setting("seed"),
        variety=dataset_setting("variety", 1),
        size=lambda wildcards: int(wildcards.size),
        code=source_digests("render_phantom.py"),
    script:
        "../scripts/render_phantom.py"


rule split_images:
    input:
        images="resources/datasets/{dataset}/{size}px/images.npy",
        ids="resources/datasets/{dataset}/{size}px/ids.csv",
        table=branch(
            names_table, then=lambda wildcards: dataset_file(wildcards.dataset, "test")
        ),
    output:
        train="resources/datasets/{dataset}/{size}px/train.npy",
        test="resources/datasets/{dataset}/{size}px/test.npy",
        split="resources/datasets/{dataset}/{size}px/split.csv",
        twins="resources/datasets/{dataset}/{size}px/twins.txt",
    log:
        "resources/datasets/{dataset}/logs/split_images/{size}px.log",
    benchmark:
        "resources/datasets/{dataset}/benchmarks/split_images/{size}px.tsv"
    localrule: IS_QUICK
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=megabytes,
        # 30 milliseconds an image for its twins.
        runtime=minutes(a_megabyte=0.001 + 60 / config["image_size"] ** 2),
    params:
        train=dataset_setting("train"),
        test=dataset_setting("test"),
        patient=dataset_setting("patient"),
        duplicates=duplicates,
        code=source_digests("split_images.py"),
    script:
        "../scripts/split_images.py"


rule search_twins:
    input:
        test="resources/datasets/{dataset}/{size}px/test.npy",
        split="resources/datasets/{dataset}/{size}px/split.csv",
        train="resources/datasets/{trained_on}/{size}px/train.npy",
        train_split="resources/datasets/{trained_on}/{size}px/split.csv",
    output:
        twins="resources/datasets/{dataset}/{size}px/twins/{trained_on}.txt",
    log:
        "resources/datasets/{dataset}/logs/search_twins/{size}px/{trained_on}.log",
    benchmark:
        "resources/datasets/{dataset}/benchmarks/search_twins/{size}px/{trained_on}.tsv"
    localrule: IS_QUICK
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=megabytes,
        # As for `split_images`.
        runtime=minutes(a_megabyte=0.001 + 60 / config["image_size"] ** 2),
    params:
        duplicates=duplicates,
        code=source_digests("search_twins.py"),
    script:
        "../scripts/search_twins.py"
