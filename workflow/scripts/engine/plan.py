"""The plan of a run, which its jobs on other machines must come to as well.

There, Snakemake reads configuration and code again, but keeps in its records what the main process
read. So what was edited while jobs waited would be used, and recorded as what it was before.
"""

import hashlib
import json
import os
from collections.abc import Collection

from engine.digests import SCRIPTS, rules_digest, source_digests
from engine.job import DIFFERENT
from engine.machine import package_versions
from engine.methods import Method
from engine.plugins import Config

HANDED_ON = PLANS, GPUS = ("WORKFLOW_PLANS", "WORKFLOW_GPUS")  # environment variables
# By this process; several where the workflow is a module of another one.
_PLANNED: list[str] = []
_DIFFERENT: dict[str, None] = {}


def agree(config: Config, methods: Collection[Method], *, main: bool) -> None:
    """Hand a plan on to the jobs, or let a job fail on a machine that comes to another plan.

    Args:
        config: The checked configuration.
        methods: Those that are run.
        main: Whether this process is the one that plans.
    """
    code = {path.name for path in SCRIPTS.glob("*.py")}
    code |= {f"methods/{method.plugin}.py" for method in methods}
    code |= {f"recipes/{method.recipe}.py" for method in methods if method.recipe}
    noise = map(config["noise"].get, config["select"]["noise"])
    code |= {f"distributions/{setting['distribution']}.py" for setting in noise}
    parts = {
        "the configuration": {k: v for k, v in config.items() if k != "options"},
        "the code": [source_digests(*code), rules_digest(SCRIPTS.parent.glob("rules/*.smk"))],
        "installed packages": package_versions(*code),
    }
    plan = [hashlib.sha256(json.dumps(part).encode()).hexdigest()[:12] for part in parts.values()]
    _PLANNED.append("-".join(plan))
    if main:
        os.environ[PLANS] = " ".join(_PLANNED)
    planned = os.environ.get(PLANS, "").split()[len(_PLANNED) - 1 :] or ["--"]
    pairs = zip(parts, plan, planned[0].split("-"), strict=True)
    _DIFFERENT.update(dict.fromkeys(name for name, ours, theirs in pairs if ours != theirs))
    # Said by the job, see `engine.job`, since only its own log reaches the user's terminal.
    os.environ[DIFFERENT] = " and ".join(_DIFFERENT)


def planned_gpus(found: int, *, main: bool) -> int:
    """Return how many GPUs a training takes (0, 1): on all machines what the main process found."""
    if main or GPUS not in os.environ:
        os.environ[GPUS] = str(int(found))
    return int(os.environ[GPUS])
