"""A machine that has a GPU, but neither Snakemake nor a network: what is packed for it and run."""

import contextlib
import csv
import re
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml

import run_packed
from conftest import ROOT, TWO_NOISES, Project, environment_with, tiny
from engine.messages import InputError
from pack import HERE, THERE, pack_images

POISSON = TWO_NOISES[1]
# As `finished` has it.
SETTINGS = {
    "select": {"noise": [POISSON], "methods": ["autoencoder", "median"]},
    "methods": {"autoencoder": {"training": {"steps": 6, "batch": 4}}},
    "replicates": {"noise": 1},
}
PAGE = ["--configfile", "config/paper.yaml", "config/replicates.yaml", "small.yaml"]
PAGE += ["--config", "dataset=phantom", "replicates={training: 2}"]
REPLICATES = "results/phantom-replicates"
ARRAYS = ["clean", "noisy", "denoised", "models", "checkpoints"]
PAGE += ["--", f"{REPLICATES}/table.md", f"{REPLICATES}/methods.md"]


def ssim(file: Path) -> list[float]:
    with file.open() as lines:
        return [float(line["ssim"]) for line in csv.DictReader(lines)]


@pytest.mark.slow
def test_where_snakemake_is_missing_networks_are_trained_and_tables_made_here(finished, tmp_path):
    bare = environment_with(tmp_path / "bare", THERE)
    assert subprocess.run([bare, "-c", "import snakemake"], stderr=-3, check=False).returncode == 1
    pack, out = tmp_path / "pack", tmp_path / "out"
    options = [str(pack), "--dataset=phantom", "--size=16", f"--python={HERE}"]
    done = finished.run(sys.executable, str(ROOT / "workflow/tools/pack.py"), *options)
    assert done.returncode == 0, done.stdout
    assert (pack / f"packages-{HERE}.tar.xz").stat().st_size < 12e6

    (tmp_path / "there").mkdir()
    there, here = Project(tmp_path / "there"), finished.copied(tmp_path / "here")
    there.edit_config(tiny)
    for project in (there, here):
        (project.folder / "small.yaml").write_text(yaml.safe_dump(SETTINGS))
    options = ["--configfile=small.yaml", "--runs=replicates", "--trainings=2", f"--out={out}"]
    done = there.run(bare, "workflow/tools/run_packed.py", str(pack), *options)
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("all done\n"), (out / "log.txt").read_text()
    for name, scores in (("", "3 of 3"), ("/autoencoder/2.csv", "1 of 1")):
        assert f"{REPLICATES}/scores/{POISSON}{name}: {scores} files\n" in done.stdout

    for archive in out.glob("results-*.tar.gz"):
        with tarfile.open(archive) as tar:
            assert not [name for name in tar.getnames() if name.endswith((".npy", ".pt"))]
            tar.extractall(here.folder, filter="data")
    file = f"scores/{POISSON}/autoencoder.csv"
    packed, whole = (ssim(here.folder / run / file) for run in (REPLICATES, "results/phantom"))
    np.testing.assert_allclose(packed, whole, atol=1e-6)
    assert here.planned(*PAGE) == {("make_table",), ("compare_methods",)}
    here.succeed(*PAGE)
    with (here.folder / REPLICATES / "scores.csv").open() as lines:
        found = {(line["method"], line["training"]) for line in csv.DictReader(lines)}
    assert {("autoencoder", "1"), ("autoencoder", "2")} <= found


def test_all_tests_that_need_a_gpu_can_come_before():
    need_one = r"(?m)mark\.gpu|^from conftest import .*PROCESSORS"
    for path in (ROOT / "tests").glob("test_*.py"):
        name = path.stem.removeprefix("test_")
        assert bool(re.search(need_one, path.read_text())) == (name in run_packed.GPU_TESTS), name


def test_the_most_valuable_trainings_come_first(monkeypatch):
    monkeypatch.chdir(ROOT)
    given = {"dataset": "isbi2015", "image_size": 128, "replicates": {"training": 2}}
    called = [
        [path.removeprefix("results/isbi2015-") for path in call[call.index("--") + 1 :]]
        for rules, call in run_packed.calls(list(run_packed.RUNS), [], given)
        if rules == run_packed.RULES
    ]
    runs = [{path.split("/")[0] for path in paths} for paths in called]
    first, second = [paths for paths in called if "replicates/scores" in paths[-1]]
    assert runs == 2 * [{name} for name in ("replicates", "fair", "fair-time", "transfer", "blind")]
    for name in ("autoencoder", "unet"):
        assert f"replicates/scores/poisson_0.2_5/3/{name}.csv" in first
        assert f"replicates/scores/poisson_0.2_5/3/{name}/2.csv" in second
    for paths in called[1:3]:
        for name in ["unet+lattice", "unet_mse", "dncnn", "noise2noise", "noise2void"]:
            assert f"{paths[0].split('/')[0]}/scores/poisson_0.2_5/{name}.csv" in paths
    for name in ("median", "noisy"):  # once for each run that has them, with the first trainings
        where = [n for n, paths in enumerate(called) if any(f"/{name}.csv" in p for p in paths)]
        assert where == [0, 1, 2, 3] + ([4] if name == "noisy" else [])
    assert not [path for paths in called for path in paths if "wavelet" in path]  # tuned for long


def test_a_second_training_of_filters_alone_is_no_call(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    more = tmp_path / "filters.yaml"
    more.write_text("select: {methods: [median]}")
    given = {"dataset": "isbi2015", "image_size": 128, "replicates": {"training": 2}}
    assert len(list(run_packed.calls(["replicates"], [str(more)], given))) == 1


def test_phantoms_are_rendered_before_networks_learn_from_them(monkeypatch):
    monkeypatch.chdir(ROOT)
    given = {"dataset": "isbi2015", "image_size": 128, "replicates": {"training": 2}}
    (rules, first), *others = run_packed.calls(["transfer"], [], given)
    assert rules == ["render_phantom", "split_images"]
    images = [f"resources/datasets/{n}/128px/train.npy" for n in ("phantom", "phantom_varied")]
    assert first[first.index("--") + 1 :] == images
    assert all(rules == run_packed.RULES for rules, _ in others)


def test_what_runs_when_the_time_is_over_is_ended_with_its_children(tmp_path):
    log = tmp_path / "log.txt"
    child = "import time; print(1, flush=True); time.sleep(1000)"
    code = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {child!r}], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(1000)
"""
    while not (log.is_file() and log.read_text()):  # until there was time enough to begin
        assert run_packed.run_until(time.monotonic() + 2, ["-c", code], log) is None
    child = int(log.read_text().split()[0])  # then it may say that it was interrupted
    with contextlib.suppress(psutil.NoSuchProcess):
        begun = time.monotonic()
        while psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < begun + 60, "it still runs"
            time.sleep(0.02)  # a killed process takes a moment to end
    assert run_packed.run_until(time.monotonic() + 100, ["-c", "raise SystemExit(3)"], log) == 3


def test_results_go_into_archives_without_arrays_of_less_than_a_limit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_packed, "ARCHIVE", 3 * (1000 + 1024))
    kept = {f"results/run/scores/noise/{n}.csv" for n in range(7)}
    arrays = {f"results/run/{name}/noise/unet.npy" for name in ARRAYS}
    for name in kept | arrays:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(bytes(1000))
    run_packed.pack_results(tmp_path)
    found = []
    for archive in tmp_path.glob("results-*.tar.gz"):
        with tarfile.open(archive) as tar:
            assert 0 < len(tar.getnames()) <= 3
            found += tar.getnames()
    assert sorted(found) == sorted(kept)


def test_other_images_than_those_that_are_packed_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pack, prepared = Path("pack"), Path("resources/datasets/mine/8px")
    with pytest.raises(InputError, match=r"split.csv: there is no such file. Make it"):
        pack_images(prepared, pack / prepared)
    prepared.mkdir(parents=True)
    for name in ("split.csv", "ids.csv"):
        (prepared / name).write_text("id,part\n")
    images = np.random.default_rng(0).random((3, 8, 8))
    for name in ("train.npy", "test.npy"):
        np.save(prepared / name, images)
    pack_images(prepared, pack / prepared)
    date = (prepared / "test.npy").stat().st_mtime_ns
    assert run_packed.unpack_images(pack) == ("mine", 8)
    assert (prepared / "test.npy").stat().st_mtime_ns == date  # what is there is more precise
    (prepared / "train.npy").unlink()
    run_packed.unpack_images(pack)
    found = np.load(prepared / "train.npy")
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, images, atol=6e-8)
    np.save(prepared / "test.npy", images[::-1])
    with pytest.raises(InputError, match=r"test.npy: other images than those of pack; remove it"):
        run_packed.unpack_images(pack)
    (pack / "packages-3.7.tar.xz").touch()
    with pytest.raises(InputError, match=r"packages-3.7.tar.xz instead; give its version"):
        run_packed.unpack_packages(pack, "")
