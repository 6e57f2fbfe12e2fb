"""The commands of the README can be run."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from conftest import Project

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
RELIABILITY = (ROOT / "docs/reliability.md").read_text()
DENOISERS = (ROOT / "docs/denoisers.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("snakemake ")
]


def test_commands_were_found():
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize("command", COMMANDS)
def test_command_plans_the_jobs(project: Project, tmp_path: Path, command: str):
    (tmp_path / "images").mkdir()
    arguments = shlex.split(command.replace("FOLDER", str(tmp_path / "images")))[1:]
    assert ("make_table",) in project.planned(*arguments)


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if "isbi2015" not in c and "paper" not in c]
)
def test_command_runs(project: Project, tmp_path: Path, command: str):
    if "FOLDER" in command:
        pytest.skip("needs images; test_images_of_one_s_own runs it")
    if "config/methods.yaml" in command:
        pytest.skip("test_every_method_runs runs it")
    arguments = shlex.split(command)[1:]
    if "gaussian_0.3_0_1" in command:
        arguments += ["select={noise: [gaussian_0.3_0_1]}"]
    project.succeed(*arguments)
    assert list(project.folder.glob("results/*/table.md"))


def test_images_of_one_s_own(project: Project, tmp_path: Path):
    folder = tmp_path / "own images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(6):
        pixels = rng.integers(0, 256, (40, 30), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"film {index}, left.png")
    command = next(c for c in COMMANDS if "mine" in c).replace("train: 320", "train: 4")
    arguments = shlex.split(command.replace("FOLDER", f'"{folder}"'))[1:]
    project.succeed(*arguments, "select={methods: [median], noise: [poisson_0.2_1]}")
    assert "real images (mine)" in (project.folder / "results/mine/table.md").read_text()
    (folder / "film 3, left.png").write_bytes(b"not an image")
    done = project.snakemake(*arguments, "--forcerun", "fetch_images")
    assert done.returncode != 0
    assert "film 3, left.png" in done.stdout
    assert "Traceback" not in done.stdout


def test_results_are_pasted_and_pictures_are_there():
    for page, count in ((README, 5), (DENOISERS, 4)):
        markers = re.findall(r"<!-- (?:table|times): .*? -->\n(.*?)<!-- end -->", page, re.DOTALL)
        assert len(markers) == count
        assert all(content.count("\n|") >= 5 for content in markers)
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / picture).is_file(), picture


def test_the_unet_beats_the_published_auto_encoder_in_every_row():
    """Of the results that are pasted; the README says so."""
    table = re.search(
        r"methods.md#SSIM -->\n\n\*\*All methods: real.*?<!-- end -->", README, re.DOTALL
    )
    rows = [line.strip("|").split("|") for line in table[0].splitlines() if line.startswith("|")]
    found = {name.strip(): [cell.strip(" *") for cell in cells] for name, *cells in rows}
    ours, published = found["U-Net"], found["*published auto-encoder*"]
    assert len(ours) == 7
    assert all(float(a) > float(b) for a, b in zip(ours, published, strict=True))


def test_the_environment_of_the_rules_has_the_required_versions():
    environment = yaml.safe_load((ROOT / "workflow/envs/workflow.yaml").read_text())
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    required = [line for line in lines if not line.startswith("#")]
    assert environment["dependencies"][-1] == {"pip": required}


def test_each_make_target_of_the_readme_exists():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"(?:`|^)make ([a-z-]+)", README, re.MULTILINE))
    assert {"run", "test", "check-paper"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_each_test_that_the_page_on_reliability_names_exists():
    named = re.findall(r"`(test_\w+)(\.{3})?`", RELIABILITY)
    assert len(named) > 40
    code = "\n".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    for name, more in named:
        assert re.search(rf"^def {name}{'' if more else '[(]'}", code, re.MULTILINE), name


def test_make_verify_and_make_why(finished: Project):
    done = finished.make("verify")
    assert done.returncode == 0, done.stdout
    assert "files are as they were made" in done.stdout
    arguments = re.search(r'^make why (ARGS=".*")$', RELIABILITY, re.MULTILINE)[1]
    done = finished.make("why", *shlex.split(arguments))
    assert done.returncode == 0, done.stdout
    assert "because seed: 2015 became 7" in done.stdout
