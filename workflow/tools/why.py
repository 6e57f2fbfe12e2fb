"""Say which jobs a run would do and why, in words. Nothing is run.

Takes Snakemake's own options: `why.py --config seed=7` explains what `snakemake --config seed=7`
would do.
"""

import argparse
import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from engine.records import read_record, record_path
from engine.wording import some

HELP = ("-h", "--help")
FEW = 3  # files or rules that a reason names, the others are counted
NOTHING = "Nothing to be done"  # what Snakemake says then
WHILE = "Union of exclusive params before and now across all output:"
# Between two reasons; what a value holds, such as a label, may have a semicolon as well.
BETWEEN = (
    "; (?=(?:Missing output|Incomplete output|Updated input|Input) files|Set of input files has|"
    "Params have|Code has|Software environment|Forced)"
)


@dataclass
class Job:
    """A planned job, as Snakemake's dry run shows it."""

    rule: str
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The rule and what its wildcards stand for, without the run, which all have in common."""
        values = (value for key, value in self.wildcards.items() if key != "run")
        return " ".join([self.rule, *values])

    @property
    def wildcards(self) -> dict[str, str]:
        """What the wildcards stand for."""
        return dict(pair.split("=", 1) for pair in self.files("wildcards"))

    def files(self, key: str) -> list[str]:
        """Return a field that is a list."""
        return self.fields[key].split(", ") if self.fields.get(key) else []


def planned(text: str) -> Iterator[Job]:
    """Yield the jobs in the output of a dry run, without `all`, which only collects."""
    job = None
    for line in [*text.splitlines(), "rule end:"]:
        if match := re.match(r"(?:local)?(?:rule|checkpoint) (\w+):$", line):
            if job and job.rule != "all":
                yield job
            job = Job(match[1])
        elif job and (match := re.match(r"    (\w+): (.*)$", line)):
            job.fields[match[1]] = match[2]


def in_order(jobs: list[Job], makers: dict[str, Job]) -> list[Job]:
    """Return the jobs, each after those that make what it needs; a dry run shows them in any order."""
    needs = {
        job.name: sorted({makers[f].name for f in job.files("input") if f in makers})
        for job in sorted(jobs, key=lambda job: job.name)
    }
    by_name = {job.name: job for job in jobs}
    return [by_name[name] for name in TopologicalSorter(needs).static_order()]


def explained(job: Job, makers: dict[str, Job], record: dict[str, Any]) -> list[str]:
    """Return the reasons for a job.

    Args:
        job: The job.
        makers: The planned jobs, by the files that they make.
        record: What `engine.records` recorded when the job was done the last time, if it was.
    """
    reasons = []
    for reason in re.split(BETWEEN, job.fields.get("reason", "")):
        what, _, rest = reason.partition(": ")
        match what:
            case "Missing output files":
                reasons.append(f"there is no {rest}" if record == {} else f"{rest} is gone")
            case "Incomplete output files":
                reasons.append(f"it was interrupted while it made {rest}")
            case "Updated input files":
                reasons.append(f"{rest} is another one now")
            case "Input files updated by another job":
                rules = sorted({makers[f].rule for f in rest.split(", ") if f in makers})
                reasons.append(f"it needs what {some(rules, FEW)} will make anew")
            case "Set of input files has changed since last execution":
                reasons.append(changed_inputs(record.get("inputs"), job.files("input")))
            case "Params have changed since last execution":
                reasons += changed_params(rest.removeprefix(WHILE), record.get("params", {}))
            case "Forced execution":
                reasons.append("you forced it")
            case "Software environment definition has changed since last execution":
                reasons.append("workflow/envs/workflow.yaml has changed")
            case _:
                reasons.append(reason)
    return list(dict.fromkeys(reasons))


def changed_params(text: str, recorded: dict[str, Any]) -> Iterator[str]:
    """Yield what of a job's parameters changed.

    Args:
        text: The values before and now that differ, without their names: `before: 1,{...} now: 2,{...}`.
        recorded: The parameters that the job had, by name.
    """
    before, _, now = text.strip().removeprefix("before: ").rpartition(" now: ")
    old, new = values_of(before), values_of(now)
    for value in old:
        name = next((n for n, v in recorded.items() if same(v, value)), "a parameter")
        other = max(new, key=lambda v: likeness(value, v), default=None)
        if other is None or likeness(value, other) == 0:
            yield f"{name}: {value} is no longer given"
            continue
        new.remove(other)
        if name == "code":
            files = [file for file in {**value, **other} if value.get(file) != other.get(file)]
            yield f"the code that it runs changed ({some(files, FEW)})"
        else:
            yield from list(differences(name, value, other)) or [f"{name}: in another order"]
    yield from (f"{value} is given now" for value in new)


def values_of(text: str) -> list[Any]:
    """Return the values in a list of Python literals."""
    try:
        return list(ast.literal_eval(f"[{text}]"))
    except (SyntaxError, ValueError):
        return [] if text == "<nothing exclusive>" else [text]


def same(recorded: object, value: object) -> bool:
    """Say whether a value is the recorded one, which has been JSON."""
    return recorded == json.loads(json.dumps(value, default=str))


def likeness(first: object, second: object) -> float:
    """Return how likely two values are the same parameter before and after a change."""
    if isinstance(first, dict) and isinstance(second, dict):
        return sum(likeness(first[key], second[key]) for key in first.keys() & second.keys()) + 0.5
    if first == second:
        return 2
    return float(type(first) is type(second))


def differences(place: str, old: object, new: object) -> Iterator[str]:
    """Yield, for each place in two values at which they differ, what happened there."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            if key not in new:
                yield f"{place}.{key} is no longer given"
            elif key not in old:
                yield f"{place}.{key} is given now"
            elif old[key] != new[key]:
                yield from differences(f"{place}.{key}", old[key], new[key])
    else:
        yield f"{place}: {old} became {new}"


def changed_inputs(old: list[str] | None, new: list[str]) -> str:
    """Say which inputs of a job are new, and which it no longer has."""
    if old is None:
        return "it has other inputs"
    parts = []
    if added := [file for file in new if file not in old]:
        parts.append(f"it takes {some(added, FEW)} as well")
    if removed := [file for file in old if file not in new]:
        parts.append(f"it no longer takes {some(removed, FEW)}")
    return "; ".join(parts) or "its inputs are in another order"


def main() -> None:
    options = sys.argv[1:]
    if options and options[0] in HELP:
        print(__doc__.strip())
        return
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--directory", "-d", type=Path, default=Path())
    folder = parser.parse_known_args(options)[0].directory
    command = [sys.executable, "-m", "snakemake", "--dry-run", *options]
    done = subprocess.run(
        command, text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    jobs = list(planned(done.stdout))
    if done.returncode or not (jobs or NOTHING in done.stdout):
        print(done.stdout)
        sys.exit(
            done.returncode
            or "Snakemake did not show its jobs: leave out options that make it quiet"
        )
    makers = {file: job for job in jobs for file in job.files("output")}
    groups: dict[tuple[str, ...], list[str]] = {}
    for job in in_order(jobs, makers):
        record = read_record(folder / record_path(job.files("log")[0]))
        groups.setdefault(tuple(explained(job, makers, record)), []).append(job.name)
    for reasons, names in groups.items():
        print(*names, sep="\n")
        print(*(f"    because {reason}" for reason in reasons), sep="\n")
    match len(jobs):
        case 0:
            print("nothing would run: all is up to date")
        case 1:
            print("1 job would run")
        case count:
            print(f"{count} jobs would run")


if __name__ == "__main__":
    main()
