"""Say which jobs a run would do and why, in words. Nothing is run.

Takes Snakemake's own options: `why.py --config seed=7` explains what `snakemake --config seed=7`
would do.
"""

import copy
import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import snakemake.cli
from snakemake.dag import DAG
from snakemake.jobs import Job
from snakemake.workflow import Workflow

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from engine.films import shown
from engine.messages import some
from engine.records import read_record, record_path

T = TypeVar("T")
FEW = 3  # files or rules that a reason names, the others are counted
DRY_RUN = ["--quiet", "rules", "progress", "--dry-run"]  # so quiet, it ends with the plan
# Parts of Snakemake's `Reason` about which `explained` says more than Snakemake does.
IN_OUR_WORDS = (
    *("forced", "_missing_output", "_incomplete_output"),
    *("_updated_input", "_updated_input_run", "input_changed", "params_changed"),
)


def plan(options: list[str], use: Callable[[DAG], T]) -> T:
    """Let Snakemake plan a run with some options, and return what `use` makes of the plan.

    `use` takes Snakemake's graph of jobs, and is called in the directory of the run.

    Raises:
        SystemExit: There is no plan. What Snakemake says about it has been printed.
    """
    output, results, status = io.StringIO(), list[T](), None
    execute = Workflow.execute

    def execute_and_use(workflow: Workflow, **settings: object) -> None:
        execute(workflow, **settings)
        results.append(use(workflow.dag))

    patched = mock.patch.object(Workflow, "execute", execute_and_use)
    with patched, redirect_stdout(output), redirect_stderr(output):
        try:
            snakemake.cli.main([*DRY_RUN, *options])
        except SystemExit as end:
            status = end.code
    if not results:
        print(output.getvalue())
        sys.exit(status or "these options of Snakemake plan no run")
    return results[0]


def planned(dag: DAG) -> list[list[Job]]:
    """Return the jobs that would run, without `all`, which only collects.

    They are in layers: each job comes in a later one than those that make what it needs.
    """
    jobs = {job for job in dag.needrun_jobs(exclude_finished=False) if not job.rule.norun}
    return [sorted(layer, key=name_of) for layer in dag.toposorted(jobs)]


def name_of(job: Job) -> str:
    """Return the rule and what its wildcards stand for; without the run, which all share."""
    values = (value for key, value in job.wildcards_dict.items() if key != "run" and value)
    return " ".join([job.rule.name, *values])


def explained(job: Job, dag: DAG) -> Iterator[str]:
    """Yield the reasons for a job: Snakemake's, with what differs from the record of the job."""
    record = read_record(record_path(job.log[0])) if job.log else {}  # none of other workflows
    reason = dag.reason(job)
    if reason.forced:
        yield "you forced it"
    if reason.missing_output:
        files = some(sorted(map(shown, reason.missing_output)), FEW)
        yield f"{files} is gone" if record else f"there is no {files}"
    if reason.incomplete_output:
        yield f"it was interrupted while it made {some(sorted(reason.incomplete_output), FEW)}"
    if files := sorted(reason.updated_input - reason.updated_input_run):
        yield f"{some(files, FEW)} is another one now"
    if reason.updated_input_run:
        makers = dag.dependencies[job].items()
        rules = {maker.rule.name for maker, made in makers if made & reason.updated_input_run}
        yield f"it needs what {some(sorted(rules), FEW)} will make"
    if reason.input_changed:
        yield from list(changed_inputs(record, job)) or ["it has other inputs"]
    if reason.params_changed:
        old, new = reason.params_changed.only_old, reason.params_changed.only_new
        yield from list(changed_params(record, job)) or [
            f"of its parameters, {some(sorted(old))} became {some(sorted(new))}"
        ]
    others = copy.copy(reason)
    for name in IN_OUR_WORDS:
        setattr(others, name, False)
    yield from others.get_names()


def changed_inputs(record: dict[str, Any], job: Job) -> Iterator[str]:
    """Yield which inputs of a job are new, and which it no longer has; nothing without a record."""
    old, new = set(record.get("inputs", job.input)), set(job.input)
    if new - old:
        yield f"it takes {some(sorted(new - old), FEW)} as well"
    if old - new:
        yield f"it no longer takes {some(sorted(old - new), FEW)}"


def changed_params(record: dict[str, Any], job: Job) -> Iterator[str]:
    """Yield which settings and which files of code of a job changed; nothing without a record."""
    if not record:
        return
    old, new = record["params"], json.loads(json.dumps(dict(job.params.items()), default=str))
    before, now = (params.pop("code", {}) for params in (old, new))
    if files := sorted(file for file in before | now if before.get(file) != now.get(file)):
        yield f"the code that it runs changed ({some(files, FEW)})"
    yield from differences("", old, new)


def differences(place: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """Yield what became of each setting that differs; the order in a setting counts as well.

    Both are read from JSON, at `place` in the parameters of a job, such as `settings.training.`.
    """
    if place and list(old) != list(new) and old.keys() == new.keys():
        yield f"{place[:-1]}: in another order"
    for key in old | new:
        name = f"{place}{key}"
        if key not in new:
            yield f"{name} is no longer given"
        elif key not in old:
            yield f"{name} is given now"
        elif isinstance(old[key], dict) and isinstance(new[key], dict):
            yield from differences(f"{name}.", old[key], new[key])
        elif json.dumps(old[key]) != json.dumps(new[key]):  # 1 is not 1.0 for Snakemake
            yield f"{name}: {old[key]} became {new[key]}"


def waiting(dag: DAG) -> list[str]:
    """Return the checkpoints that would run: the plan grows by what they find."""
    jobs = (job for layer in planned(dag) for job in layer)
    return sorted({name_of(job) for job in jobs if job.is_checkpoint})


def explanation(dag: DAG) -> str:
    """Return the jobs that would run with their reasons, causes first, in words."""
    lines, count = [], 0
    for layer in planned(dag):
        count += len(layer)
        groups: dict[tuple[str, ...], list[str]] = {}
        for job in layer:
            groups.setdefault(tuple(explained(job, dag)), []).append(name_of(job))
        for reasons, names in groups.items():
            lines += [*names, *(f"    because {reason}" for reason in reasons)]
    for name in waiting(dag):
        lines.append(f"what {name} finds decides what else runs, which is not known before")
    total = f"{count} job{'s' * (count > 1)} would run"
    return "\n".join([*lines, total if count else "nothing would run: all is up to date"])


def main() -> None:
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__.strip())
    else:
        print(plan(sys.argv[1:], explanation))


if __name__ == "__main__":
    main()
