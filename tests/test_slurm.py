"""The workflow on a real Slurm, which is started on this machine for these tests."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from conftest import SNAKEMAKE, TWO_NOISES, Project, needed
from test_faults import Run

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]

GAUSSIAN, POISSON = TWO_NOISES
FOLDER = Path("/etc/slurm")  # its programs do not hand another place on to each other
NODE = socket.gethostname()
# One node, which pretends to have eight processors and two GPUs. Nobody else is here, so nobody has
# to prove who he is.
CONTROL = """\
ClusterName=tests
SlurmctldHost={node}(127.0.0.1)
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}
SlurmdSpoolDir={folder}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
MinJobAge=300
MpiDefault=none
GresTypes=gpu
NodeName={node} NodeAddr=127.0.0.1 CPUs=8 RealMemory=100000 Gres=gpu:2 State=UNKNOWN
PartitionName=tests Nodes={node} Default=YES MaxTime=01:00:00 State=UP
"""
DEVICES = "NodeName={node} Name=gpu File={folder}/gpu[0-1]\n"
QUICK = ["--latency-wait", "5", "--slurm-init-seconds-before-status-checks", "2"]
SLURM = ["--workflow-profile", "profiles/slurm-squeue", *QUICK]
MODELS = [f"results/phantom/models/{noise}/autoencoder.pt" for noise in TWO_NOISES]


def slurm(*command: str) -> str:
    done = subprocess.run(command, check=True, text=True, capture_output=True)
    return done.stdout


def reached(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "this takes too long"
        time.sleep(0.2)


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Slurm that runs as long as these tests do."""
    daemons = needed("slurmctld"), needed("slurmd")
    file = FOLDER / "slurm.conf"
    is_foreign = file.exists() and "ClusterName=tests\n" not in file.read_text()
    if os.getuid() or is_foreign:  # its own may have been left by tests that were killed
        pytest.skip("only root may start a Slurm, and only where there is none")
    folder = tmp_path_factory.mktemp("slurm")
    FOLDER.mkdir(exist_ok=True)
    files = {file: CONTROL, FOLDER / "gres.conf": DEVICES}
    for path, text in files.items():
        path.write_text(text.format(node=NODE, folder=folder))
    for number in range(2):  # as /dev/null is
        os.mknod(folder / f"gpu{number}", 0o666 | 0o020000, os.makedev(1, 3))
    try:
        slurm(daemons[0])
        reached(lambda: subprocess.run(["sinfo"], check=False, capture_output=True).returncode == 0)
        slurm(daemons[1], "-N", NODE)
        reached(lambda: slurm("sinfo", "-h", "-o", "%T").strip() == "idle")
        yield
        slurm("scancel", "--user=root")
    finally:
        for name in ("slurmd", "slurmctld"):
            with suppress(OSError, psutil.NoSuchProcess):
                daemon = psutil.Process(int((folder / f"{name}.pid").read_text()))
                daemon.terminate()
                daemon.wait(30)
        for path in files:
            path.unlink()


@pytest.fixture
def prepared(finished: Project, tmp_path: Path) -> Project:
    """A finished run in which the models are missing."""
    project = finished.copied(tmp_path / "prepared")
    for model in MODELS:
        (project.folder / model).unlink()
    return project


def test_a_cluster_makes_what_one_machine_makes(finished, tmp_path):
    (tmp_path / "project").mkdir()
    project = Project(tmp_path / "project")
    (project.folder / "config.yaml").write_text((finished.folder / "config.yaml").read_text())
    project.edit_config(lambda config: config.update(select={"noise": [POISSON]}))
    done = project.run(*SNAKEMAKE, *SLURM)
    assert done.returncode == 0, done.stdout
    assert not project.planned()
    assert project.script("verify.py").returncode == 0
    ours, theirs = (p.folder / "results/phantom" for p in (project, finished))
    for name in ("table.csv", "scores.csv"):
        lines = (theirs / name).read_text().splitlines()
        assert (ours / name).read_text().splitlines() == [x for x in lines if GAUSSIAN not in x]
    for path in theirs.glob(f"denoised/{POISSON}/*.npy"):
        np.testing.assert_array_equal(np.load(path), np.load(ours / path.relative_to(theirs)))
    # What takes a second did not wait in the queue.
    submitted = {path.name for path in project.folder.glob(".snakemake/slurm_logs/*")}
    heavy = ("render_phantom", "train_denoiser", "filter_images", "apply_network")
    assert submitted <= {f"rule_{name}" for name in heavy}
    assert done.stdout.count("has been submitted") == 1 + 2 + 3


def test_a_configuration_that_is_edited_while_jobs_wait_is_not_used(prepared):
    (prepared.folder / "more.yaml").write_text("seed: 2015\n")
    slurm("scontrol", "update", "partitionname=tests", "state=down")
    run = Run(
        prepared, *SLURM, "--retries", "0", "--configfile", "more.yaml", "--", "all", forked=True
    )
    reached(lambda: len(slurm("squeue", "-h", "-t", "PENDING").splitlines()) == 2)
    (prepared.folder / "more.yaml").write_text("seed: 7\n")
    slurm("scontrol", "update", "partitionname=tests", "state=up")
    assert run.process.wait(120) == 1
    assert "autoencoder: not as planned: the configuration. It was edited while" in run.text
    assert not any((prepared.folder / model).exists() for model in MODELS)
    text = prepared.script("why.py", "--configfile", "more.yaml").stdout
    assert "because seed: 2015 became 7" in text


def test_what_a_job_on_a_node_says_reaches_the_terminal(prepared):
    options = [*SLURM, "--retries", "0", "--config", "device=cuda"]
    done = prepared.run(*SNAKEMAKE, *options, "--", MODELS[0])
    assert done.returncode == 1
    assert "autoencoder: device: cuda, but torch finds no usable GPU" in done.stdout


def test_trainings_have_gpus_side_by_side_and_resume_when_they_are_cancelled(prepared):
    """With the default profile, whose limit of one GPU is that of this machine."""
    steps = ["--config", "methods={autoencoder: {training: {steps: 400}}}"]
    slow = ["--executor", "slurm", "--jobs", "4", *QUICK]
    slow += ["--slurm-status-command", "squeue", "--default-resources", "mem_mb=500"]
    targets = ["--", *MODELS]
    run = Run(prepared, *slow, "--set-resources", "train_denoiser:gpu=1", *steps, *targets)
    saved = [prepared.folder / model.replace("models", "checkpoints") for model in MODELS]
    assert run.reaches(lambda: all(path.exists() for path in saved)), run.text
    listed = slurm("squeue", "-h", "-t", "RUNNING", "-O", "JobID,tres-per-job")
    running = [line.split() for line in listed.splitlines()]
    assert [gpus for _, gpus in running] == ["gres:gpu:1"] * 2
    jobs = [job for job, _ in running]
    slurm("scontrol", "suspend", ",".join(jobs))

    # Snakemake is killed, its jobs are alive on the node; so the next run must not train again.
    run.kill()
    again = prepared.run(*SNAKEMAKE, *slow, *steps, *targets)
    assert again.returncode == 1
    for job in jobs:
        assert f"autoencoder.pt runs already: job {job} of Slurm, process " in again.stdout

    for job in jobs:
        slurm("scontrol", "resume", job)
    slurm("scancel", *jobs)
    reached(lambda: not slurm("squeue", "-h"))
    done = prepared.run(*SNAKEMAKE, *slow, *steps, *targets)
    assert done.returncode == 0, done.stdout
    for noise in TWO_NOISES:
        log = prepared.folder / f"results/phantom/logs/train_denoiser/{noise}/autoencoder.log"
        assert "resumes after step " in log.read_text()
