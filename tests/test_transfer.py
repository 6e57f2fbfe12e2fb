"""Methods that learn from another data set than the one that is scored."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import augment_images
import search_twins
import train_denoiser
import tune_method
from conftest import ROOT, TWO_NOISES, Project, own_images
from engine.configuration import checked, read_file, read_text
from engine.learning import learners
from engine.messages import InputError
from engine.methods import methods_of
from engine.plugins import ConfigurationError
from files.arrays import StoredImages
from files.tables import read_table, write_table
from images.twins import Joined
from results.evidence import gathered, images_in
from results.wording import MISSING

CONFIG = read_file(ROOT / "config.yaml")
GAUSSIAN, POISSON = TWO_NOISES
OTHER = "other: {subjects: 9, seed: 2, train: 7}"
LEARNED = "learned from other images, digital phantom (phantom), and from none of this data set."


class Names(dict):
    __getattr__ = dict.__getitem__


def given(text: str) -> dict:
    """Check the default configuration with this YAML over it."""
    return checked(CONFIG, read_text(text))


# ------------------------------------------------------------------------------- configuration


def test_a_method_learns_from_the_scored_data_set_or_from_another():
    methods = methods_of(given("methods: {unet: {trained_on: isbi2015}}"))
    found = {name: (m.learns_from, m.elsewhere, m.label) for name, m in methods.items()}
    assert found == {
        "autoencoder": ("phantom", None, "auto-encoder"),
        "median": (None, None, "median"),
        "unet": ("isbi2015", "isbi2015", "U-Net (trained on isbi2015)"),
    }
    # That of the scored data set is the same as none.
    same = methods_of(given("dataset: isbi2015\nmethods: {unet: {trained_on: isbi2015}}"))
    assert same == methods_of(given("dataset: isbi2015"))
    tuned = "{plugin: median, tune: {size: [3, 5]}, trained_on: isbi2015}"
    assert methods_of(given(f"methods: {{a: {tuned}}}"))["a"].label == "a (tuned on isbi2015)"


NO_TRAINING = "datasets: {mine: {sources: [x], train: 0}}\ndataset: mine\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("methods: {unet: {trained_on: mars}}", "'mars' is not allowed; allowed: phantom, isbi"),
        ("methods: {unet: {trained_on: [phantom]}}", "allowed: a value of type string"),
        ("methods: {median: {trained_on: phantom}}", "median.trained_on: it learns from no images"),
        (
            NO_TRAINING,
            r"datasets.mine.train: 0 is not allowed; .* of mine: autoencoder, unet. Let some",
        ),
        (
            NO_TRAINING + "methods: {unet: {trained_on: phantom}}",
            "of mine: autoencoder. Let some of its images train .*`trained_on`.*select others",
        ),
        (
            "datasets: {a: {subjects: 3, seed: 1, train: 0}}\nmethods: {unet: {trained_on: a}}",
            ": unet",
        ),
        (
            "methods: {a: {plugin: unet, widths: [4], blocks: 1, label: U-Net, training: {steps: 1,"
            " batch: 1, learning_rate: 1, threads: 1, precision: auto}}}",
            "label: 'U-Net' is taken",
        ),
    ],
)
def test_what_can_not_be_learned_is_refused_in_words(text: str, words: str):
    with pytest.raises(ConfigurationError, match=words):
        given(text)


def test_a_data_set_that_no_method_learns_from_needs_no_training_images():
    trained = "autoencoder: {trained_on: phantom}, unet: {trained_on: phantom}"
    config = given(f"{NO_TRAINING}methods: {{{trained}}}")
    assert learners(config) == {"phantom": ["autoencoder", "unet"]}
    assert learners(given(NO_TRAINING + "select: {methods: [median]}")) == {}
    # Nor does a method that is for none of the noise settings that run.
    only = f"select: {{noise: [{POISSON}]}}\nmethods: {{autoencoder: {{only: [{GAUSSIAN}]}}, "
    assert learners(given(f"{only} unet: {{only: [{POISSON}]}}}}")) == {"phantom": ["unet"]}


def test_the_configuration_of_the_comparison_trains_equals_on_both():
    config = checked(CONFIG, read_file(ROOT / "config/transfer.yaml"))
    methods = methods_of(config)
    for name in ("autoencoder", "unet", "unet_mse"):
        real, phantom = methods[name], methods[f"{name}_phantom"]
        assert (real.learns_from, phantom.learns_from) == ("isbi2015", "phantom")
        assert real.settings == phantom.settings
        assert phantom.label == f"{real.label} (trained on phantom)"
    passes = {
        name: {s["training"]["steps"] * s["training"]["batch"] for s in method.settings.values()}
        for name, method in methods.items()
        if method.recipe
    }
    assert passes.pop("unet_phantom_short") == {1600}
    assert set(map(frozenset, passes.values())) == {frozenset([19600])}
    assert methods["unet_mse"].settings[POISSON]["training"]["loss"] == "squared error"


def test_the_page_gives_configurations_that_can_be_used():
    text = (ROOT / "docs/transfer.md").read_text()
    found = [learners(given(block)) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    assert found == [{"isbi2015": ["autoencoder"], "phantom": ["unet"]}, {"phantom": ["unet"]}]


# --------------------------------------------------------------------------------------- twins


class Films:
    """Two prepared data sets of small images, and what `search_twins` says of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, rng = folder, np.random.default_rng(1)
        self.here, self.there = rng.random((3, 16, 16)), rng.random((4, 16, 16))
        lines = {"here": ["train", "test", "test", "test"], "there": ["train"] * 4 + ["test"]}
        for name, parts in lines.items():
            rows = [{"id": f"{name}{n}", "part": part} for n, part in enumerate(parts)]
            write_table(folder / f"{name}.csv", rows)

    def searched(self, duplicates: str | None) -> str:
        np.save(self.folder / "here.npy", self.here)
        np.save(self.folder / "there.npy", self.there)
        paths = {"test": "here.npy", "split": "here.csv"}
        paths |= {"train": "there.npy", "train_split": "there.csv"}
        search_twins.main(
            SimpleNamespace(
                input=Names({name: self.folder / path for name, path in paths.items()}),
                output=Names(twins=self.folder / "twins.txt"),
                params=Names(duplicates=duplicates),
                wildcards=Names(dataset="mine", trained_on="yours"),
            )
        )
        return (self.folder / "twins.txt").read_text()


def test_a_film_that_trains_in_another_data_set_may_not_test(tmp_path: Path):
    films = Films(tmp_path)
    assert films.searched("refuse") == ""
    films.there[2] = films.here[1]
    pair = "here2 (test) and there2 (yours, train), alike 1.000"
    for duplicates in ("refuse", "group", None):  # films can't be moved to another data set
        with pytest.raises(
            InputError,
            match=re.escape(f"trained on yours would be tested on its own films: {pair}"),
        ):
            films.searched(duplicates)
    assert films.searched("keep") == f"1 pair of images of one film: {pair}"
    both = Joined(*(StoredImages(tmp_path / f"{name}.npy") for name in ("here", "there")))
    assert (both.shape, len(both)) == ((7, 16, 16), 7)
    whole = np.concatenate([films.here, films.there])
    np.testing.assert_array_equal(list(both), whole)
    np.testing.assert_array_equal([both.read(n, 1)[0] for n in range(7)], whole)


# -------------------------------------------------------------------------- no training images


@pytest.mark.parametrize("script", [augment_images, tune_method, train_denoiser])
def test_nothing_is_learned_from_no_images(tmp_path: Path, script):
    """Which only the split tells where images test by name; the configuration can't."""
    prepared = tmp_path / "mine/16px"
    prepared.mkdir(parents=True)
    np.save(prepared / "train.npy", np.zeros((0, 16, 16)))
    key = "clean" if script is train_denoiser else "images"
    training = {"threads": 1, "precision": "fp32"}
    params = {"settings": {"training": training}, "device": "cpu", "seed": 1}
    job = SimpleNamespace(
        input=Names({key: prepared / "train.npy", "split": prepared / "split.csv"}),
        output=SimpleNamespace(model=tmp_path / "results/mine/models/some/unet.pt"),
        params=SimpleNamespace(**params),
        wildcards=SimpleNamespace(noise=POISSON, method="unet", training=""),
        config=given("datasets: {mine: {sources: [x], test: '*'}}\ndataset: mine"),
    )
    with pytest.raises(InputError, match=r"all of mine test; .* of mine: autoencoder, unet\. Let"):
        script.main(job)


# ---------------------------------------------------------------------------------------- runs

TRANSFER = f"""
run: transfer
dataset: patients
select: {{noise: [{GAUSSIAN}]}}
table: [autoencoder, median]
datasets:
  patients: {{subjects: 4, seed: 3, train: 0, published: published.yaml}}
  {OTHER}
methods:
  autoencoder: {{trained_on: phantom}}
  unet: {{trained_on: phantom}}
  tuned: {{plugin: median, tune: {{size: [3, 5]}}, trained_on: phantom}}
"""
SCORES = {"noisy": 0.4, "autoencoder": 0.9, "median": 0.7}
PUBLISHED = {
    "source": "somewhere",
    "image_size": 16,
    "training": {"steps": 6, "batch": 4},
    "rows": [{"noise": CONFIG["noise"][GAUSSIAN], "readme": SCORES, "notebook": SCORES}],
}
in_turn = pytest.mark.xdist_group("transfer")  # so that it is run once


@pytest.fixture(scope="module")
def transfer(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project, run on a data set that is only scored, with methods that the phantom taught."""
    project = finished.copied(tmp_path_factory.mktemp("transfer") / "project")
    (project.folder / "published.yaml").write_text(yaml.safe_dump(PUBLISHED))
    (project.folder / "transfer.yaml").write_text(TRANSFER)
    output = project.succeed("all", "page", "--configfile", "transfer.yaml")
    assert "Of the images, 0 train and 4 test (001 to 004)" in output
    return project


@pytest.mark.slow
@in_turn
def test_what_is_trained_on_a_data_set_is_the_same_wherever_it_is_scored(transfer: Project):
    ours, theirs = (transfer.folder / "results" / run for run in ("transfer", "phantom"))
    for method in ("autoencoder", "unet"):
        models = [
            torch.load(run / f"models/{GAUSSIAN}/{method}.pt", weights_only=True)["weights"]
            for run in (ours, theirs)
        ]
        assert models[0].keys() == models[1].keys()
        assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    for file in ("clean/train", f"noisy/{GAUSSIAN}/train"):
        pairs = np.load(ours / f"{file}/phantom.npy")
        np.testing.assert_array_equal(pairs, np.load(theirs / f"{file}.npy"))
        assert not (ours / f"{file}.npy").exists()
    assert len(read_table(ours / f"scores/{GAUSSIAN}/unet.csv")) == 4


@pytest.mark.slow
@in_turn
def test_tables_and_the_page_say_what_methods_learned_from(transfer: Project):
    results = transfer.folder / "results/transfer"
    table, methods, page = (
        (results / name).read_text() for name in ("table.md", "methods.md", "report.html")
    )
    both = "auto-encoder (trained on phantom), U-Net (trained on phantom), tuned (tuned on phantom)"
    assert f"- auto-encoder (trained on phantom): {LEARNED}\n" in table
    assert f"- {both}: {LEARNED}\n" in methods
    assert page.count(f"{both}: {LEARNED}") == 2
    assert "none for training and 4 for the test" in page
    assert page.count("It learned from other images: digital phantom (phantom)") == 3
    assert f"learned from digital phantom (phantom): {both}." in methods
    head, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in methods.split("\n## ")[5].splitlines()
        if line.startswith("|")
    ]
    column = head.index("Learned from")
    found = {row[0]: (row[head.index("Phantoms")], row[column]) for row in rows[1:]}
    assert found["median"] == ("no", MISSING)
    assert found["U-Net (trained on phantom)"] == ("yes", "phantom")
    # The published network learned from the images that are scored.
    scores = re.search(r"\n\| +0.1 \|(.*)", table)[1].split("|")
    assert ["(" in cell for cell in scores[1:4]] == [True, False, True]
    assert "SSIM auto-encoder (trained on phantom): not compared" in table
    assert "Training of the auto-encoder (trained on phantom): 6 steps of 4 images.\n" in table
    assert "published autoencoder" not in methods
    assert "published auto-encoder" not in methods
    assert "(trained on" in pd.read_csv(results / "methods.csv")["label"].str.cat()


@pytest.mark.slow
@in_turn
def test_other_runs_do_not_say_it(finished: Project):
    for name in ("table.md", "methods.md"):
        text = (finished.folder / "results/phantom" / name).read_text()
        assert "earned from" not in text
        assert "trained on" not in text.replace("trained or tuned on them", "")


@pytest.mark.slow
@in_turn
def test_records_and_replicates_know_it(transfer: Project, monkeypatch):
    done = transfer.script("verify.py")
    assert done.returncode == 0, done.stdout
    monkeypatch.chdir(transfer.folder)
    with pytest.raises(SystemExit, match="learned from another data set: patients, phantom"):
        images_in(Path("results/transfer"))
    images, scores, made = gathered(Path("results/transfer"), elsewhere=True)
    assert "patients" in images
    assert set(scores["method"]) == {"noisy", "autoencoder", "unet", "tuned", "median"}
    trained = {name.split("/")[1]: entry for name, entry in made.items() if entry["made"]}
    assert {name: entry["learns_from"] for name, entry in trained.items()} == {
        "autoencoder": "phantom",
        "unet": "phantom",
    }


def chain(noises: list[str], *methods: str) -> Iterator[tuple[str, ...]]:
    for noise in noises:
        yield ("plot_examples", noise)
        for method in methods:
            yield from ((rule, noise, method) for rule in ("train_denoiser", "apply_network"))
            yield ("score_images", noise, method)


COMPARED = {("compare_methods",), ("plot_compute",), ("plot_training",)}
PREPARED = {("render_phantom",), ("split_images",)}


@pytest.mark.slow
@in_turn
def test_another_data_set_to_learn_from_trains_that_method_alone(
    transfer: Project, finished: Project
):
    arguments = ["--configfile", "transfer.yaml"]
    assert transfer.planned(*arguments) == set()
    other = "unet: {trained_on: other}"
    said = transfer.script("why.py", *arguments, "--config", f"methods={{{other}}}").stdout
    assert "because it takes resources/datasets/other/16px/train.npy as well" in said
    *lines, _ = said.splitlines()
    found = {line.split()[0] for line in lines if line[0] != " "}
    rules = {"train_denoiser", "apply_network", "score_images", "plot_examples"}
    assert found == rules | {rule for (rule,) in COMPARED | PREPARED}

    other += ", autoencoder: {trained_on: other}"
    pairs = {("augment_images",), *(("corrupt_images", noise, "train") for noise in TWO_NOISES)}
    planned = finished.planned("--config", f"datasets={{{OTHER}}}", f"methods={{{other}}}")
    both = {*chain(TWO_NOISES, "unet", "autoencoder")}
    assert planned == both | {("make_table",)} | COMPARED | PREPARED | pairs
    assert finished.planned("--config", "methods={unet: {trained_on: phantom}}") == set()


@pytest.mark.slow
@in_turn
def test_twins_are_searched_where_both_data_sets_may_have_a_film(finished: Project, tmp_path: Path):
    images = own_images(tmp_path)
    more = "more: {subjects: 30, seed: 1, train: 20}"  # the same subjects, more of them
    mine, yours = (f"{name}: {{sources: [{images}], train: 6}}" for name in ("mine", "yours"))
    entries = f"datasets={{{', '.join([OTHER, more, mine, yours])}}}"
    for scored, others, searched in [
        ("phantom", ["other", "more", "mine"], {"more"}),
        ("mine", ["phantom", "yours", "mine"], {"yours"}),
    ]:
        tuned = "{{plugin: median, label: {0}, tune: {{size: [3, 5]}}, trained_on: {0}}}"
        methods = f"unet: {{trained_on: {others[0]}}}, " + ", ".join(
            f"of_{name}: {tuned.format(name)}" for name in others[1:]
        )
        names = ", ".join(["unet", *(f"of_{name}" for name in others[1:])])
        settings = [f"dataset={scored}", "run=twins", entries, f"methods={{{methods}}}"]
        settings += [f"select={{noise: [{GAUSSIAN}], methods: [{names}]}}"]
        done = finished.snakemake("--dry-run", "--config", *settings)
        assert done.returncode == 0, done.stdout
        assert set(re.findall(r"16px/twins/(\w+)\.txt", done.stdout)) == searched
        assert "augment_images" not in done.stdout


@pytest.mark.slow
@in_turn
def test_a_run_is_refused_whose_methods_trained_on_the_test(finished: Project, tmp_path: Path):
    project = finished.copied(tmp_path / "project")
    more = "datasets={more: {subjects: 30, seed: 1, train: 20}}"
    settings = ["run=twins", more, f"select={{noise: [{GAUSSIAN}], methods: [unet]}}"]
    done = project.snakemake("--config", *settings, "methods={unet: {trained_on: more}}")
    assert done.returncode != 0
    assert "what is trained on more would be tested on its own films: 007 (test)" in done.stdout
    assert not list((project.folder / "results/twins").rglob("*.pt"))
