"""Denoise the films of a folder, `images`, into another one, `out`. No part of other runs.

REQUIRED INPUTS: the films; the file of a trained network, unless the method is a classical one.
One that learns from the films starts from such a file.
OUTPUTS: OUT/images and OUT/sheets, a file a film; OUT/noise.csv and OUT/index.html. A film may have
any name, and Snakemake takes braces in names for wildcards. So what jobs declare lies in
results/{run}/, under names that are escaped, {film}; there are links to the files in OUT. A file
that is gone is made again, since its link then leads nowhere. results/{run}/films/{film}/noise.json
and denoised.json say what was found and done.
"""


rule examine_film:
    input:
        film=film_input,
        model=FILM_MODEL or [],
    output:
        record="results/{run}/films/{film}/noise.json",
    log:
        "results/{run}/logs/examine_film/{film}.log",
    benchmark:
        "results/{run}/benchmarks/examine_film/{film}.tsv"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=examining_megabytes,
        runtime=minutes(a_megabyte=0.01),
    params:
        film=film_path,
        content=film_content,
        name=lambda wildcards: FILMS[wildcards.film].path,
        noise=FILM_NOISE,
        white=config.get("white"),
        code=source_digests("examine_film.py"),
    script:
        "../scripts/examine_film.py"


checkpoint gather_films:
    input:
        records=ALL_FILMS,
    output:
        films="results/{run}/films.json",
    log:
        "results/{run}/logs/gather_films.log",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    params:
        out=str(OUT),
        code=source_digests("gather_films.py"),
    script:
        "../scripts/gather_films.py"


rule train_on_films:
    input:
        films=learned_films,
        noise=denoised_films("results/{run}/films/{film}/noise.json"),
        start=FILM_METHOD.model if LEARNING else [],
    output:
        model=f"results/{{run}}/{LEARNED_MODEL}",
    log:
        "results/{run}/logs/train_on_films.log",
    benchmark:
        "results/{run}/benchmarks/train_on_films.tsv"
    conda:
        "../envs/workflow.yaml"
    threads: LEARNING["training"]["threads"] if LEARNING else 1
    resources:
        gpu=GPUS,
        mem_mb=learning_megabytes,
        runtime=learning_minutes,
    params:
        folder=str(FOLDER),
        contents=learned_contents,
        settings=LEARNING,
        seed=config["seed"],
        device=config["device"],
        code=source_digests("train_on_films.py"),
        packages=lambda wildcards: package_versions("train_on_films.py"),
    script:
        "../scripts/train_on_films.py"


rule denoise_film:
    input:
        film=film_input,
        noise="results/{run}/films/{film}/noise.json",
        model=rules.train_on_films.output.model if LEARNING else FILM_MODEL or [],
    output:
        record="results/{run}/films/{film}/denoised.json",
        image="results/{run}/films/{film}/image",
        sheet="results/{run}/films/{film}/sheet.png",
    log:
        "results/{run}/logs/denoise_film/{film}.log",
    benchmark:
        "results/{run}/benchmarks/denoise_film/{film}.tsv"
    conda:
        "../envs/workflow.yaml"
    threads: film_threads
    resources:
        gpu=GPUS if IS_NETWORK else 0,
        mem_mb=denoising_megabytes,
        runtime=denoising_minutes,
    params:
        film=film_path,
        content=film_content,
        out=str(OUT),
        image=lambda wildcards: FILMS[wildcards.film].image,
        sheet=lambda wildcards: FILMS[wildcards.film].sheet,
        note=lambda wildcards: FILMS[wildcards.film].note,
        plugin=FILM_METHOD.plugin if FILMS else None,
        label=FILM_METHOD.label if FILMS else None,
        device=config["device"] if IS_NETWORK else "cpu",
        code=lambda wildcards: source_digests(*film_code("denoise_film.py")),
        packages=lambda wildcards: package_versions(*film_code("denoise_film.py")),
    script:
        "../scripts/denoise_film.py"


rule write_index:
    input:
        template=own_file("workflow/report/films.html.j2"),
        films="results/{run}/films.json",
        denoised=denoised_films("results/{run}/films/{film}/denoised.json"),
    output:
        page="results/{run}/index.html",
        table="results/{run}/noise.csv",
    log:
        "results/{run}/logs/write_index.log",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    params:
        folder=FOLDER.resolve().name,
        out=str(OUT),
        noise_level=config.get("noise_level"),
        label=FILM_METHOD.label if FILMS else None,
        version=film_version(),
        model=LEARNED_MODEL if LEARNING else None,
        code=source_digests("write_index.py"),
    script:
        "../scripts/write_index.py"


# Last, since it fails if a film was refused: then the exit status says so.
rule finish_films:
    input:
        films="results/{run}/films.json",
        page="results/{run}/index.html",
        images=denoised_films("results/{run}/films/{film}/image"),
        sheets=denoised_films("results/{run}/films/{film}/sheet.png"),
    output:
        "results/{run}/finished.txt",
    log:
        "results/{run}/logs/finish_films.log",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    params:
        out=str(OUT),
        code=source_digests("finish_films.py"),
    script:
        "../scripts/finish_films.py"
