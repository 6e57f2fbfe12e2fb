"""The workflow as a part of another one: below a prefix, beside rules of that workflow."""

import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from conftest import TWO_NOISES, Project, own_images, tiny

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("modules")]

CALLER = """
configfile: "mine.yaml"

module denoise:
    snakefile: "ext/Snakefile"
    config: config["denoise"]
    prefix: "denoising"

use rule * from denoise as denoise_*

rule count_lines:
    input: "denoising/results/mine/table.csv"
    output: "lines.txt"
    shell: "wc -l < {input} > {output}"

rule everything:
    default_target: True
    input: rules.denoise_all.input, "lines.txt"
"""


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A folder with another workflow, of which this one in `ext/` is a module; it was run."""
    folder = tmp_path_factory.mktemp("caller")
    (folder / "ext").mkdir()
    Project(folder / "ext")
    (folder / "Snakefile").write_text(CALLER)
    changes = yaml.safe_load((folder / "ext/config.yaml").read_text())
    tiny(changes)
    changes |= {"dataset": "mine", "select": {"noise": TWO_NOISES[:1]}}
    changes["datasets"]["mine"] = {"sources": [str(own_images(folder))], "train": 6}
    (folder / "mine.yaml").write_text(yaml.safe_dump({"own": 1, "denoise": changes}))
    project = Project.at(folder)
    project.succeed()
    return project


def files_of(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_as_a_module_it_makes_what_it_makes_alone(caller, tmp_path):
    alone = Project.at(caller.copied(tmp_path / "alone").folder / "ext")
    mine = yaml.safe_load((caller.folder / "mine.yaml").read_text())["denoise"]
    (alone.folder / "mine.yaml").write_text(yaml.safe_dump(mine))
    alone.succeed("--configfile", "mine.yaml")
    ours, theirs = alone.folder / "results/mine", caller.folder / "denoising/results/mine"
    assert files_of(ours) == files_of(theirs)
    for name in ("table.csv", "scores.csv", "models/gaussian_0.1_0_1/unet.pt"):
        assert (ours / name).is_file()
    for name in ("table.csv", "scores.csv"):
        assert (ours / name).read_text() == (theirs / name).read_text()
    for path in ours.glob("denoised/*/*.npy"):
        np.testing.assert_array_equal(np.load(path), np.load(theirs / path.relative_to(ours)))
    # Nothing is written elsewhere, and no checkpoint is left, though no `onsuccess` was run.
    assert {path.name for path in caller.folder.iterdir() if path.name[0] != "."} == {
        *("Snakefile", "mine.yaml", "films", "ext", "denoising", "lines.txt")
    }
    assert not (caller.folder / "ext/results").exists()
    assert not [name for name in files_of(theirs) if name.startswith("checkpoints")]


def test_tools_work_in_the_other_workflow(caller, tmp_path):
    copy = caller.copied(tmp_path / "copy")

    def said_by(tool: str) -> str:
        return copy.run(sys.executable, f"ext/workflow/tools/{tool}.py").stdout

    assert said_by("why") == "nothing would run: all is up to date\n"
    assert said_by("verify").endswith(" files are as they were made\n")
    table = "denoising/results/mine/table.csv"
    (copy.folder / table).write_text("other\n")
    assert f"{table} was altered since it was made" in said_by("verify")
    (copy.folder / "lines.txt").unlink()
    copy.edit_config(lambda mine: mine["denoise"].update(seed=7), "mine.yaml")
    text = said_by("why")
    assert "denoise_augment_images\n" in text
    assert "    because seed: 2015 became 7\n" in text
    assert "    because there is no lines.txt\n" in text


def test_files_of_the_project_are_found_from_the_other_workflow(caller):
    text = caller.succeed("--dry-run", "--", "denoising/resources/datasets/isbi2015/images.csv")
    assert str(caller.folder / "ext/resources/isbi2015.csv") in text
