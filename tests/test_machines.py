"""Several GPUs and several machines: who has which GPU, who trains, and what was planned."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from conftest import ROOT, TWO_NOISES
from engine import digests, gpus, plan
from engine.configuration import checked, read_file
from engine.job import check_plan
from engine.locks import HELD, alone
from engine.messages import InputError
from engine.methods import methods_of

SCRIPTS = Path(plan.__file__).parents[1]
# Holds a GPU for a moment, and notes when it had it; every fourth one is killed.
JOB = """
import os, signal, sys, time
from engine.gpus import take_gpu
take_gpu(1, every=0.01)
path = f"{sys.argv[1]}/{os.environ['CUDA_VISIBLE_DEVICES']}.log"
def note(what):
    with open(path, "a") as file:
        file.write(f"{what} {os.getpid()}\\n")
note("begin")
time.sleep(0.1)
note("end")
if int(sys.argv[2]) % 4 == 0:
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def released(monkeypatch, tmp_path):
    """Leave no lock and no environment variable behind."""
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", plan.PLANS, plan.GPUS, plan.DIFFERENT):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(gpus.tempfile, "gettempdir", lambda: str(tmp_path))
    held = len(HELD)
    yield
    for file in HELD[held:]:
        file.close()
    del HELD[held:]


@pytest.mark.parametrize("ids", ["0,1", "MIG-7f,MIG-8a"])
def test_no_two_jobs_ever_have_the_same_gpu(tmp_path, ids):
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ids, "TMPDIR": str(tmp_path)}
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", JOB, tmp_path, str(n)], cwd=SCRIPTS, env=environment
        )
        for n in range(20)
    ]
    killed = [job.wait(60) for job in jobs].count(-9)
    assert killed == 5
    logs = [(tmp_path / f"{name}.log").read_text().split() for name in ids.split(",")]
    for words in logs:
        assert words[::4] == ["begin"] * (len(words) // 4)
        assert words[1::4] == words[3::4]  # the one that began has ended before the next began
    assert sum(map(len, logs)) == 20 * 4
    assert min(map(len, logs)) > 4


def taken(monkeypatch, wanted=1, **environment) -> str | None:
    """Return `CUDA_VISIBLE_DEVICES` after a job was started, in which torch is not imported."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    gpus.take_gpu(wanted)
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def test_what_is_given_is_respected(monkeypatch):
    assert taken(monkeypatch, 0, CUDA_VISIBLE_DEVICES="0,1") == ""
    assert taken(monkeypatch, CUDA_VISIBLE_DEVICES="3") == "3"
    assert taken(monkeypatch, CUDA_VISIBLE_DEVICES="3") == "3"
    assert taken(monkeypatch, CUDA_VISIBLE_DEVICES="4, 5") == "4"
    assert taken(monkeypatch, CUDA_VISIBLE_DEVICES="4, 5") == "5"
    # Those of an allocation of Slurm are not those of the machine.
    assert taken(monkeypatch, CUDA_VISIBLE_DEVICES="4, 5", SLURM_JOB_ID="7") == "4"


def test_the_gpus_of_the_machine_are_counted(monkeypatch):
    found = [Path("/dev/nvidia0"), Path("/dev/nvidia1")]
    monkeypatch.setattr(Path, "glob", lambda path, pattern: found)
    assert [taken(monkeypatch), os.environ.pop("CUDA_VISIBLE_DEVICES")] == ["0", "0"]
    assert [taken(monkeypatch), os.environ.pop("CUDA_VISIBLE_DEVICES")] == ["1", "1"]
    assert taken(monkeypatch, SLURM_JOB_ID="7") is None  # Slurm handed out none
    found.clear()
    monkeypatch.delenv("SLURM_JOB_ID")
    assert taken(monkeypatch) is None  # torch will say that there is none


def test_a_job_has_its_gpu_before_torch_looks_for_one():
    with pytest.raises(RuntimeError, match="torch is imported before the job has its GPU"):
        gpus.take_gpu(1)
    code = "import sys, train_denoiser, apply_network; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, check=False).returncode == 0


def test_the_second_training_says_who_has_the_first(tmp_path):
    lock = tmp_path / "new/unet.lock"
    code = f"""
import time
from pathlib import Path
from engine.locks import alone
with alone(Path({str(lock)!r}), "x"):
    print(flush=True)
    time.sleep(60)
"""
    environment = os.environ | {"SLURM_JOB_ID": "17"}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=SCRIPTS, env=environment, stdout=subprocess.PIPE) as first:
        first.stdout.readline()
        said = (
            rf"training of a.pt runs already: job 17 of Slurm, process {first.pid} on \S+, since 2"
        )
        with pytest.raises(InputError, match=said), alone(lock, "the training of a.pt"):
            pass
        first.kill()
    with alone(lock, "the training of a.pt"):
        assert f"process {os.getpid()} on " in lock.read_text()
        assert "Slurm" not in lock.read_text()


@pytest.fixture
def node(tmp_path, monkeypatch):
    """What a node reads: code in a folder of its own, and the configuration."""
    folder = tmp_path / "workflow/scripts"
    for path in ("score_images.py", "methods/median.py", "methods/wavelet.py", "files/a.py"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("import files.a\n")
    for name in ("gaussian", "poisson"):
        (folder / "distributions").mkdir(exist_ok=True)
        (folder / f"distributions/{name}.py").write_text("")
    (tmp_path / "workflow/rules").mkdir()
    (tmp_path / "workflow/rules/a.smk").write_text("rule a:\n    shell: 'b'\n")
    for module in (digests, plan):
        monkeypatch.setattr(module, "SCRIPTS", folder)
    return tmp_path / "workflow"


def agree(*, main: bool, change=lambda config: None) -> None:
    """Plan as the main process does, or as a node does that starts anew."""
    plan._PLANNED.clear()
    plan._DIFFERENT.clear()
    given = {"select": {"methods": ["median"], "noise": TWO_NOISES}}
    config = checked(read_file(ROOT / "config.yaml"), given)
    change(config)
    methods = methods_of(config)
    plan.agree(config, [methods["median"]], main=main)


@pytest.mark.parametrize(
    ("file", "text", "different"),
    [
        (None, "", ""),
        ("scripts/score_images.py", "# a comment\nimport files.a\n", ""),
        ("scripts/methods/wavelet.py", "x = 1", ""),  # not run
        ("rules/a.smk", "\n# a comment\nrule a:\n\n    shell: 'b'  # c\n", ""),
        ("scripts/methods/median.py", "x = 1", "the code"),
        ("scripts/files/a.py", "x = 1", "the code"),
        ("scripts/distributions/poisson.py", "x = 1", "the code"),
        ("rules/a.smk", "rule a:\n    shell: 'c'\n", "the code"),
    ],
)
def test_a_node_that_reads_other_code_is_told_from_one_that_does_not(node, file, text, different):
    agree(main=True)
    check_plan()
    if file:
        (node / file).write_text(text)
    agree(main=False)
    assert os.environ[plan.DIFFERENT] == different
    if different:
        with pytest.raises(InputError, match=r"^not as planned: the code\. It was edited while"):
            check_plan()


def test_a_node_that_reads_other_settings_or_packages_does_not_run_the_job(node, monkeypatch):
    agree(main=True)
    agree(main=False, change=lambda config: config.update(seed=7))
    with pytest.raises(InputError, match=r"^not as planned: the configuration"):
        check_plan()
    agree(main=False, change=lambda config: config.update(options=["--snakefile", "elsewhere"]))
    check_plan()
    monkeypatch.setattr(plan, "package_versions", lambda *files: {"scipy": "0.1"})
    agree(main=False)
    with pytest.raises(InputError, match=r"^not as planned: installed packages"):
        check_plan()
    monkeypatch.delenv(plan.PLANS)  # an executor that hands nothing on
    agree(main=False)
    with pytest.raises(
        InputError, match=r"^not as planned: the configuration and the code and inst"
    ):
        check_plan()


def test_each_module_is_compared_with_its_own_plan(node):
    agree(main=True)
    config = json.loads(json.dumps(checked(read_file(ROOT / "config.yaml"), {"seed": 7})))
    plan.agree(config, [], main=True)
    agree(main=False)
    check_plan()
    plan.agree(config | {"seed": 8}, [], main=False)
    with pytest.raises(InputError, match=r"^not as planned: the configuration"):
        check_plan()


def test_nodes_use_as_many_gpus_as_the_main_process_found():
    assert plan.planned_gpus(found=True, main=False) == 1  # nothing was handed on
    assert plan.planned_gpus(found=False, main=True) == 0
    assert plan.planned_gpus(found=True, main=False) == 0


SUBMITTED = """
import json, sys
sys.path.insert(0, "workflow/tools")
from why import plan

def jobs(dag):
    here = dag.workflow._localrules
    for job in dag.needrun_jobs(exclude_finished=False):
        if not job.rule.norun:
            yield job.rule.name, job.rule.name in here, job.threads, dict(job.resources.items())

print(json.dumps(plan(sys.argv[1:], lambda dag: list(jobs(dag))), default=str))
"""


def test_what_is_submitted_to_a_cluster_says_what_it_takes(project):
    """No job asks for more processors than the smallest node has: it would wait for ever."""
    tables = {"make_table", "compare_methods", "plot_compute", "plot_examples", "plot_training"}
    arrays = {"split_images", "augment_images", "corrupt_images", "score_images"}
    for size, here in ((16, arrays | tables), (512, tables)):
        options = ["--workflow-profile", "profiles/slurm", "--config", f"image_size={size}"]
        jobs = json.loads(project.run(sys.executable, "-c", SUBMITTED, *options).stdout)
        assert {name for name, local, *_ in jobs if local} == here
        submitted = {name for name, local, *_ in jobs if not local}
        assert {"render_phantom", "train_denoiser", "filter_images", "apply_network"} <= submitted
        for name, local, threads, resources in jobs:
            if not local:
                assert threads == 1
                limits = {"mem_mb": (2000, 10_000), "runtime": (15, 60)}
                for what, (least, most) in limits.items():  # unknown before the input is there
                    found = resources[what]
                    assert found == "<TBD>" or least < found <= most, (name, what)


def test_profiles_for_slurm_compare_as_the_default_one_does():
    profiles = {
        name: yaml.safe_load((ROOT / f"profiles/{name}/config.yaml").read_text())
        for name in ("default", "slurm", "slurm-squeue")
    }
    reruns = {key: value for key, value in profiles["default"].items() if key != "resources"}
    assert "rerun-triggers" in reruns
    assert reruns.items() <= profiles["slurm"].items()
    squeue = {"slurm-status-command": "squeue", "slurm-no-account": True}
    assert profiles["slurm-squeue"] == profiles["slurm"] | squeue
