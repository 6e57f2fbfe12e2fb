"""What the rules that denoise a folder of films share."""

FOLDER = Path(config.get("images", "")).expanduser()
OUT = Path(config.get("out", "")).expanduser()
FILM_NOISE = given_noise(config["noise_level"]) if FILMS else None
LEARNING = FILM_METHOD.learning if FILMS else None  # the settings, if there is any
IS_NETWORK = bool(FILMS and FILM_METHOD.model)
# One that is trained already.
FILM_MODEL = FILM_METHOD.model if FILMS and not LEARNING else None
LEARNED_MODEL = "models/films.pt"  # of a run
ALL_FILMS = expand(
    "results/{run}/films/{film}/noise.json", run=config["run"], film=FILMS
)


def film_path(wildcards):
    return str(FOLDER / FILMS[wildcards.film].path)


def is_pattern(path):
    """Whether Snakemake would take a path for a pattern."""
    return bool(set("{}") & set(path))


def film_input(wildcards):
    """Return the file of a film, unless its name can't be that of an input."""
    path = film_path(wildcards)
    return [] if is_pattern(path) else path


def film_content(wildcards):
    """Return what tells that a film changed, if it is no input."""
    return None if film_input(wildcards) else file_digest(film_path(wildcards))


def film_code(*parts):
    """Return code that a method of films runs, which scripts import by name."""
    network = ["training/inference.py"] if IS_NETWORK else ["films/anscombe.py"]
    return [*parts, *network, f"methods/{FILM_METHOD.plugin}.py"] if FILMS else []


def film_version():
    """Return a digest of the code that denoises films."""
    learns = ["train_on_films.py"] if LEARNING else []
    code = source_digests(*film_code("denoise_film.py"), *learns)
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()[:8]


def good_films():
    """Return the films that were not refused, by their names in the run."""
    found = checkpoints.gather_films.get(run=config["run"]).output.films
    refused = {record["path"] for record in read_json(found) if record["refused"]}
    return {key: film for key, film in FILMS.items() if film.path not in refused}


def denoised_films(pattern):
    """Return a function that gives the files of the films that were not refused."""
    return lambda wildcards: expand(pattern, run=config["run"], film=good_films())


def good_paths():
    """Return the files of these films."""
    return [str(FOLDER / film.path) for film in good_films().values()]


def learned_films(wildcards):
    """Return the files of the films that are learned from, those that can be inputs."""
    return [path for path in good_paths() if not is_pattern(path)]


def learned_contents(wildcards):
    """Return what tells that one of the others changed."""
    return {path: file_digest(path) for path in good_paths() if is_pattern(path)}


def learning_megabytes(wildcards, input, attempt):
    """Return the memory to learn from films: the patches several times, and one film whole."""
    sizes = [found["height"] * found["width"] for found in map(read_json, input.noise)]
    return attempt * math.ceil(3500 + 30e-6 * min(2e8, max(sizes)))


def learning_minutes(wildcards, attempt):
    """Return the time to learn from films: .2 seconds for each patch seen, .01 on a GPU."""
    seen = LEARNING["training"]["steps"] * LEARNING["training"]["batch"]
    return attempt * math.ceil(15 + seen * (0.01 if GPUS else 0.2) / 60)


def film_endings():
    """Yield what to say at the end of a run of films."""
    if (OUT / PAGE).exists():
        yield f"Results are in {OUT}; see {OUT / PAGE}."


def name_refused():
    """Say in the last lines of a run which films were refused, and why."""
    paths = [Path(path) for path in ALL_FILMS if Path(path).exists()]
    found = list(map(read_json, paths))
    # Snakemake has more to say after its own end.
    atexit.register(print, *refusals(found), sep="\n", file=sys.stderr, flush=True)
