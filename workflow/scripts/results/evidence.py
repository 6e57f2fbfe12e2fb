"""Scores of runs that take hours, kept with what made them where they outlive results/."""

import copy
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from engine.checks import fill_defaults, method_schema
from engine.records import LOGS, RECORDS, read_record, read_records, record_path
from files.atomic import file_digest, replacing
from files.models import load_model
from results.pages import write_texts
from results.reading import REPLICATE, read_scores
from results.wording import images_of

EVIDENCE = Path("resources/evidence")
DATASETS = Path("resources/datasets")
RUN = ["noise", "method", *REPLICATE]
Entry = dict[str, Any]


def kept_files(run: Path) -> tuple[Path, Path]:
    """Return where the scores of a run are kept, and what made them."""
    return EVIDENCE / f"{run.name}.csv.gz", EVIDENCE / f"{run.name}.yaml"


def gathered(run: Path, elsewhere: bool = False) -> tuple[str, pd.DataFrame, dict[str, Entry]]:
    """Return of which images a run has scores, these and earlier ones, and what made them.

    Args:
        run: Folder in results/.
        elsewhere: Whether methods may have learned from another data set than the one scored.

    Raises:
        SystemExit: When there are none, or they don't belong together.
    """
    kept, sidecar = kept_files(run)
    before = yaml.safe_load(sidecar.read_text(encoding="utf-8")) if sidecar.exists() else {}
    images, made = images_in(run, elsewhere), made_in(run, before)
    return images, scores_of(run, kept), made


def keep(run: Path, scores: pd.DataFrame, made: dict[str, Entry], tool: str) -> None:
    """Write what `gathered` returned to a tool, with a few more decimals than tables show."""
    kept, sidecar = kept_files(run)
    with replacing(kept) as new:  # no date is in the file
        scores.round(7).to_csv(new, index=False, compression={"method": "gzip", "mtime": 1})
    head = f"# Made by workflow/tools/{tool}\n"
    write_texts({str(sidecar): head + yaml.safe_dump(made, sort_keys=False)})


def made_in(run: Path, before: dict[str, Entry]) -> dict[str, Entry]:
    """Return what made each method's results, by `NOISE/METHOD`, earlier and in a run's records.

    Raises:
        SystemExit: When a method had other settings, or was given another network, since its runs
            are then no replicates.
    """
    found, records = dict(before), list(read_records([run]))
    own = {None, *read_by(records, "score_images")}
    for path, record in records:
        rule, params = record["rule"], record["params"]
        given = rule == "apply_network" and params["given"]
        if rule in ("train_denoiser", "filter_images") or given:
            noise, *parts = path.relative_to(run / RECORDS / rule).with_suffix("").parts
            (method,) = (part for part in parts if not part.isdigit())
            name = f"{noise}/{method}"
            kept = {key: params.get(key) for key in ("plugin", "settings", "noise")}
            if params.get("learns_from") not in own:
                kept["learns_from"] = params["learns_from"]
            log = run / LOGS / path.relative_to(run / RECORDS).with_suffix(".log")
            made = trained(record, log)
            if given:
                _, file, *_ = map(Path, record["inputs"])  # the noisy images come first
                of_network, made = given_network(file)
                kept |= {"told": params["told"]} | of_network
            entry = found.setdefault(name, kept | {"made": {}})
            if completed(entry) != completed(kept):
                what = "network or what it is told differs" if given else "settings differ"
                sys.exit(f"{name}: its {what} among runs; give the run a new name")
            entry |= kept
            if made:
                entry["made"][int(parts[-1]) if parts[-1].isdigit() else 1] = made
    return dict(sorted(found.items()))


def given_network(model: Path) -> tuple[Entry, str | None]:
    """Return what an entry says of a network that is given, and `trained` if it was in results/."""
    held = load_model(model)
    about = {"settings": held["settings"] | {"training": held["training"]}}
    *run, _, noise, name = "", "", *model.parts  # a path may have fewer parts
    log = Path(*run, LOGS, "train_denoiser", noise, name).with_suffix(".log")
    return about | {"model": file_digest(model)}, trained(read_record(record_path(log)), log)


def trained(record: Entry, log: Path) -> str | None:
    """Return when a network was trained, with which packages, and on what; None of other jobs."""
    if record.get("rule") != "train_denoiser":
        return None
    packages = (f"{name} {version}" for name, version in record["params"]["packages"].items())
    made_on = re.findall(r" runs on (.*?):", log.read_text(encoding="utf-8"))
    return ", ".join([record["made"][:10], *packages, *made_on[-1:]])


def completed(entry: Entry) -> Entry:
    """Return what an entry says of its method, with the defaults of settings that it lacks.

    These are newer than the entry, and their defaults are what is done without them.
    """
    settings = copy.deepcopy(entry["settings"])
    fill_defaults(method_schema(entry["plugin"], {}, []), settings)
    return entry | {"settings": settings, "made": None}


def read_by(records: Iterable[tuple[Path, Entry]], rule: str | None = None) -> set[str]:
    """Return the data sets whose images a rule has read, or without a rule, any; by the records."""
    chosen = (record for _, record in records if rule in (None, record["rule"]))
    paths = (Path(path) for record in chosen for path in record["inputs"])
    return {p.relative_to(DATASETS).parts[0] for p in paths if p.is_relative_to(DATASETS)}


def images_in(run: Path, elsewhere: bool = False) -> str:
    """Return in words of which images a run has scores, by the records of both.

    Raises:
        SystemExit: When there are no records, or they don't tell whether these images are rendered,
            or methods learned from another data set and may not: what these give is no replicate.
    """
    inputs = read_by(read_records([run]), "score_images" if elsewhere else None)
    if not inputs:
        sys.exit(f"{run}: no records of scores: give the folder of a run, such as results/phantom")
    if len(inputs) > 1:
        sys.exit(f"{run}: methods learned from another data set: {', '.join(sorted(inputs))}")
    (dataset,) = inputs
    rules = {record["rule"] for _, record in read_records([DATASETS / dataset])}
    kind = rules & {"render_phantom", "fetch_images"}
    if len(kind) != 1:
        sys.exit(
            f"{DATASETS}: the records don't say where the images of {run} come from: keep them"
        )
    return images_of(dataset, rendered=kind == {"render_phantom"})


def scores_of(run: Path, kept: Path) -> pd.DataFrame:
    """Return the scores of earlier and present runs; a present one replaces its earlier self."""
    files = sorted((run / "scores").rglob("[!.]*.csv"))
    if not files:
        sys.exit(f"{run / 'scores'}: there are no scores")
    scores = read_scores(map(str, [*([kept] if kept.exists() else []), *files]))
    scores = scores.assign(**{key: scores.get(key, 1) for key in REPLICATE})
    return scores.drop_duplicates([*RUN, "image"], keep="last").sort_values([*RUN, "image"])
