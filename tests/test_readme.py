"""The pages for users: their commands run, and what they name is there."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from conftest import TWO_NOISES, Project, with_packages
from engine.plugins import declarations

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "workflow/scripts"
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "config/README.md", *sorted(ROOT.glob("docs/*.md")))
}
README, CONFIGURATION = PAGES["README.md"], PAGES["config/README.md"]
RELIABILITY, DENOISERS = PAGES["docs/reliability.md"], PAGES["docs/denoisers.md"]
TEXT = "\n".join(PAGES.values())
MARKED = r"<!-- (?:table|times): .*? -->\n(.*?)<!-- end -->"
LINES = list(
    dict.fromkeys(  # a command that stands on two pages runs once
        line
        for block in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
        for line in block.splitlines()
    )
)
COMMANDS = [line for line in LINES if line.startswith("snakemake ")]
EXAMPLES = re.findall(r"```yaml\n(.*?)```", CONFIGURATION, re.DOTALL)


def test_commands_were_found():
    assert len(COMMANDS) >= 9
    assert len(EXAMPLES) >= 4
    # Others would not be tested.
    assert all(line.startswith(("snakemake ", "make ", "python ")) for line in LINES)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_plans_the_jobs(project: Project, tmp_path: Path, command: str):
    (tmp_path / "images").mkdir()
    if "specialists" in command:  # after one-noise.yaml
        made = yaml.safe_load((ROOT / "config/one-noise.yaml").read_text())
        for noise in made["select"]["noise"]:
            model = project.folder / f"results/one-noise/models/{noise}/unet_any.pt"
            model.parent.mkdir(parents=True)
            model.touch()
    arguments = shlex.split(command.replace("FOLDER", str(tmp_path / "images")))[1:]
    assert ("make_table",) in project.planned(*arguments)


def two_noises(config: dict) -> None:
    """Leave two noise settings of the seven, which are enough to see that a command runs."""
    config["noise"] = {name: config["noise"][name] for name in TWO_NOISES}


def one_dose(config: dict) -> None:
    del config["select"]["noise"][1:]


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if "isbi2015" not in c and "paper" not in c]
)
def test_command_runs(project: Project, tmp_path: Path, command: str):
    if "FOLDER" in command:
        pytest.skip("needs images; test_images_of_one_s_own runs it")
    if "join" in command:
        pytest.skip("needs folders; test_sources_are_joined runs the like")
    if "slurm" in command:
        pytest.skip("needs a cluster; test_a_cluster_makes_what_one_machine_makes runs it")
    if "replicates" in command:
        pytest.skip("the tests of replicates run some")
    if "transfer" in command:
        pytest.skip("takes hours, on the real images; the tests of transfer run the like")
    if "one-noise" in command:
        pytest.skip("trains for hours; the tests of unet_any train one")
    if "config/methods.yaml" in command:
        pytest.skip("test_every_method_runs runs it")
    arguments = shlex.split(command)[1:]
    if "gaussian_0.3_0_1" in command:
        arguments += ["select={noise: [gaussian_0.3_0_1], methods: [median]}"]
    if "any-noise" in command:  # of which the network that comes with the project is quick
        arguments += ["--config", "select={noise: [gaussian_0.1_0_1], methods: [unet_any]}"]
    else:
        project.edit_config(two_noises)
    project.edit_config(one_dose, "config/detector.yaml")
    project.succeed(*arguments)
    assert list(project.folder.glob("results/*/table.md"))


@pytest.mark.parametrize("command", [line for line in LINES if line.startswith("python ")])
def test_a_script_takes_the_options_of_its_command(command: str):
    _, script, *options = shlex.split(command)
    # Help comes after the options before it, so a value that is no choice ends with an error.
    done = with_packages([script, *options, "--help"], ROOT)
    assert done.returncode == 0
    assert {o for o in options if o.startswith("--")} <= set(re.findall(r"--\w+", done.stdout))


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_of_a_configuration_plans_the_jobs(project: Project, example: str):
    (project.folder / "mine.yaml").write_text(example)
    assert ("make_table",) in project.planned("--configfile", "mine.yaml")


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


def test_results_are_pasted():
    counts = {}
    for name, page in PAGES.items():
        pasted = re.findall(MARKED, page, re.DOTALL)
        assert all(content.count("\n|") >= 4 for content in pasted)
        assert len(pasted) == len(re.findall(r"^<!-- (?!end)", page, re.MULTILINE))
        counts |= {name: len(pasted)} if pasted else {}
    assert counts == {
        "README.md": 1,
        "docs/any-noise.md": 7,
        "docs/blind-spot.md": 3,
        "docs/denoisers.md": 9,
        "docs/estimation.md": 4,
        "docs/evidence.md": 1,
        "docs/images.md": 3,
        "docs/own-images.md": 3,
        "docs/reproduction.md": 3,
        "docs/scaling.md": 1,
        "docs/speed.md": 3,
        "docs/transfer.md": 2,
    }
    totals = re.findall(r"^\| all .*\| +([\d,]+) \| +\|$", PAGES["docs/speed.md"], re.MULTILINE)
    sentences = [
        "The jobs of `make run` take {} seconds in all",
        "Those of `config/replicates.yaml` take {} for each noise setting",
    ]
    for sentence, total in zip(sentences, totals, strict=True):
        assert sentence.format(total) in " ".join(README.split())


def test_each_result_is_pasted_once():
    names = re.findall(r"<!-- (?:table|times): (.*?) -->", TEXT)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", PAGES)
def test_links_and_pictures_lead_somewhere(name: str):
    for link in re.findall(r"\]\((?!https:)(.*?)\)", PAGES[name]):
        place, _, heading = link.partition("#")
        path = ((ROOT / name).parent / place).resolve() if place else ROOT / name
        assert path.exists(), link
        titles = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE) if heading else []
        anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
        assert not heading or heading in anchors, link


def test_files_that_the_pages_name_exist():
    folders = "benchmarks|config|docs|profiles|resources|tests|workflow"
    named = set(re.findall(rf"[`\s]((?:{folders})/[\w./-]*\w/?)[`\s,;]", TEXT))
    made = {name for name in named if name.startswith("resources/datasets")}
    named -= made | {"workflow/scripts/RULE.py"}
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_unet_beats_the_published_auto_encoder_in_every_row():
    """Of the results that are pasted; the README says so."""
    table = re.search(
        r"methods.md#SSIM -->\n\n\*\*All methods: real.*?<!-- end -->", DENOISERS, re.DOTALL
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


def test_each_make_target_of_the_pages_exists():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"(?:`|^)make ([a-z-]+)", TEXT, re.MULTILINE))
    assert {"run", "test", "check-paper", "methods", "detector", "why"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_make_readme_pastes_into_each_page_with_results():
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(
        r"^readme:.*\n\t(grep .*) \| \\\n\t  xargs .*/paste.py$", makefile, re.MULTILINE
    )
    found = subprocess.check_output(recipe[1], shell=True, cwd=ROOT, text=True)
    assert set(found.split()) == {n for n, page in PAGES.items() if "<!-- end" in page}


def keys_of(schema: Any) -> Iterator[str]:
    """Yield the names of the properties in a JSON schema, at any depth."""
    for key, value in schema.items() if isinstance(schema, dict) else ():
        if key == "properties":
            yield from value
        yield from keys_of(value)


def test_each_key_of_the_schema_is_explained():
    keys = set(keys_of(yaml.safe_load((ROOT / "workflow/schemas/config.yaml").read_text())))
    assert {"image_size", "manifest", "distribution", "only", "capture"} <= keys
    rows = "\n".join(line for line in CONFIGURATION.splitlines() if line.startswith("|"))
    assert [key for key in sorted(keys) if f"`{key}`" not in rows] == []


@pytest.mark.parametrize("folder", ["methods", "distributions", "recipes"])
def test_each_setting_of_a_plugin_is_explained(folder: str):
    section = CONFIGURATION.split("\n## Plug-ins")[0]
    for path in (SCRIPTS / folder).glob("[!_]*.py"):
        if folder == "recipes":  # all in one table
            rows = section.split("\n### Training")[1]
        else:
            own = rf"^\|[^|]*`{path.stem}`[^|]*\| `.*\n(?:\| +\| `.*\n)*"
            rows = re.search(own, section, re.MULTILINE)[0]
        declared = declarations(folder, path.stem).get("SETTINGS", {})
        for setting in declared.get("properties", declared):
            assert f"`{setting}`" in rows, f"{path.stem}: {setting}"


def test_each_constant_of_a_plugin_is_explained():
    schema = yaml.safe_load((ROOT / "workflow/schemas/plugin.yaml").read_text())
    section = CONFIGURATION.split("\n## Plug-ins")[1]
    assert [name for name in schema["properties"] if f"`{name}`" not in section] == []


def test_values_that_the_page_on_the_configuration_gives_are_those_of_the_file():
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    section = CONFIGURATION.split("\n### Data sets")[0]
    given = re.findall(r"^\| `(\w+)` \| [^|]*\| `(.*?)` \|", section, re.MULTILINE)
    assert {"dataset", "image_size", "seed", "device", "table", "margin"} == {
        key for key, _ in given
    }
    assert {key: yaml.safe_load(value) for key, value in given}.items() <= config.items()


def test_each_test_that_the_pages_name_exists():
    named = re.findall(r"`(test_\w+)(\.{3})?`", TEXT)
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
