import copy
from pathlib import Path

import pytest
import yaml

from common.configuration import ConfigurationError, checked, is_trained, settings_of

ROOT = Path(__file__).resolve().parents[1]
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
GAUSSIAN = "gaussian_0.1_0_1"


def changed(path: str, value: object) -> dict:
    """The default configuration with one key set, or deleted if the value is `...`."""
    config = copy.deepcopy(CONFIG)
    *parents, key = path.split("/")
    holder = config
    for parent in parents:
        holder = holder.setdefault(parent, {})
    if value is ...:
        del holder[key]
    else:
        holder[key] = value
    return config


def test_default_configuration_fills_in_run_and_selection():
    config = checked(CONFIG)
    assert config["run"] == "phantom"
    assert config["select"]["noise"] == list(CONFIG["noise"])
    assert len(config["select"]["noise"]) == 7
    assert config["select"]["methods"] == ["autoencoder", "median"]
    assert is_trained(config, "autoencoder")
    assert not is_trained(config, "median")


def test_a_method_can_be_off_by_default():
    config = checked(changed("methods/median/default", False))
    assert config["select"]["methods"] == ["autoencoder"]


def test_overrides_replace_settings_of_one_noise_setting_alone():
    config = checked(changed(f"methods/autoencoder/overrides/{GAUSSIAN}/training", {"steps": 5}))
    changed_one = settings_of(config, "autoencoder", GAUSSIAN)
    other = settings_of(config, "autoencoder", "poisson_0.2_1")
    assert changed_one["tail"] == [16, 8]
    assert changed_one["training"] == other["training"] | {"steps": 5}
    assert other["tail"] == [32, 16, 8]
    assert "label" not in other
    assert "overrides" not in other


def test_numbers_that_arrive_as_text_are_read():
    config = changed(
        "noise/new", {"distribution": "gaussian", "factor": "0.3", "mean": "0", "std": "1e-1"}
    )
    config["methods"]["median"] |= {"size": "5", "default": "false"}
    config["run"] = 2024
    config = checked(config)
    assert config["noise"]["new"] == {
        "distribution": "gaussian",
        "factor": 0.3,
        "mean": 0,
        "std": 0.1,
    }
    assert config["methods"]["median"]["size"] == 5
    assert config["methods"]["median"]["default"] is False
    assert config["run"] == "2024"


def test_whole_numbers_and_numeric_names_are_read_as_what_they_are():
    config = changed("noise/extra", {"distribution": "poisson", "factor": 1, "lambda": 1})
    config["noise"][0.3] = config["noise"].pop("extra")
    config["image_size"] = 64.0
    config["methods"]["autoencoder"]["training"]["steps"] = "1e3"
    config = checked(config)
    assert "0.3" in config["noise"]
    assert repr(config["image_size"]) == "64"
    assert repr(config["methods"]["autoencoder"]["training"]["steps"]) == "1000"


def test_an_error_is_reported_once():
    with pytest.raises(ConfigurationError) as caught:
        checked(changed("noise/empty", {}))
    lines = str(caught.value).splitlines()
    assert lines == ["noise.empty.distribution: missing", "noise.empty.factor: missing"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("colour", "blue", "colour: unknown key; allowed: dataset, datasets"),
        ("run", "a/b", "run: 'a/b' can't be a file name"),
        ("run", "-rf", "run: '-rf' can't be a file name"),
        ("dataset", "mars", "dataset: 'mars' is not defined in datasets; allowed: phantom, isbi2015"),
        ("dataset", ..., "dataset: missing"),
        ("image_size", 126, "image_size: 126 does not suit the method autoencoder; allowed: multiples of 4"),
        ("image_size", 8, "image_size: 8 is not allowed; allowed: 16 or more"),
        ("image_size", "large", "image_size: 'large' is not allowed; allowed: a value of type integer"),
        ("image_size", 64.5, "image_size: 64.5 is not allowed; allowed: a value of type integer"),
        ("image_size", True, "image_size: True is not allowed; allowed: a value of type integer"),
        (f"noise/{GAUSSIAN}/factor", float("inf"), "factor: inf is not allowed; allowed: a value of type number"),
        (f"noise/{GAUSSIAN}/mean", "nan", "mean: nan is not allowed; allowed: a value of type number"),
        (f"noise/{GAUSSIAN}", None, f"noise.{GAUSSIAN}: None is not allowed; allowed: a value of type object"),
        ("methods/median", None, "methods.median: None is not allowed; allowed: a value of type object"),
        ("select", None, "select: None is not allowed; allowed: a value of type object"),
        ("methods/autoencoder/overrides", None, "overrides: None is not allowed; allowed: a value of type object"),
        ("methods/median/label", "auto-encoder", "methods.median.label: 'auto-encoder' is taken"),
        ("methods/median/label", "noisy", "methods.median.label: 'noisy' is taken"),
        ("seed", -1, "seed: -1 is not allowed; allowed: 0 or more"),
        ("device", "tpu", "device: 'tpu' is not allowed; allowed: auto, cpu, cuda"),
        ("noise", [], "noise: [] is not allowed; allowed: a value of type object"),
        (f"noise/{GAUSSIAN}/std", -1, f"noise.{GAUSSIAN}.std: -1 is not allowed; allowed: 0 or more"),
        (f"noise/{GAUSSIAN}/std", ..., f"noise.{GAUSSIAN}.std: missing"),
        (f"noise/{GAUSSIAN}/factor", 0, f"noise.{GAUSSIAN}.factor: 0 is not allowed; allowed: more than 0"),
        (f"noise/{GAUSSIAN}/stdd", 1, f"noise.{GAUSSIAN}.stdd: unknown key; allowed: distribution, factor, mean, std"),
        (f"noise/{GAUSSIAN}/distribution", "cauchy", "'cauchy' is not allowed; allowed: gaussian, poisson"),
        ("noise/poisson_0.2_1/lambda", 0, "noise.poisson_0.2_1.lambda: 0 is not allowed; allowed: more than 0"),
        ("noise/a b", {"distribution": "poisson", "factor": 1, "lambda": 1}, "'a b' can't be a file name"),
        ("methods/median/size", 0, "methods.median.size: 0 is not allowed; allowed: 1 or more"),
        ("methods/median/training", {}, "methods.median.training: unknown key; allowed: default, label, overrides, plugin, size"),
        ("methods/nothing", {}, "methods.nothing: there is no workflow/scripts/methods/nothing.py; allowed: autoencoder, median"),
        ("methods/noisy", {"plugin": "median", "size": 3}, "methods.noisy: is what the undenoised images are called"),
        ("methods/autoencoder/training", ..., "methods.autoencoder.training: missing"),
        ("methods/autoencoder/training/keep", "first", "methods.autoencoder.training.keep: 'first' is not allowed; allowed: last, best"),
        ("methods/autoencoder/overrides/nowhere", {"tail": [8]}, "methods.autoencoder.overrides.nowhere: is not defined in noise"),
        (f"methods/autoencoder/overrides/{GAUSSIAN}/tale", [8], "tale: unknown key; allowed: tail, training"),
        ("select/methods", ["medium"], "select.methods: 'medium' is not defined in methods; allowed: autoencoder, median"),
        ("select/noise", ["quiet"], "select.noise: 'quiet' is not defined in noise"),
        ("datasets/phantom/train", 400, "datasets.phantom.train: 400 of 400 subjects leaves none to test on"),
        ("datasets/mine", {"train": 3}, "datasets.mine: either `subjects` (rendered) or `sources` (read) is needed"),
        ("datasets/phantom/sources", ["a"], "datasets.phantom: either `subjects` (rendered) or `sources` (read)"),
    ],
)  # fmt: skip
def test_messages_name_the_key_and_what_is_allowed(path, value, message):
    with pytest.raises(ConfigurationError) as caught:
        checked(changed(path, value))
    assert message in str(caught.value)


def test_all_errors_are_reported_at_once():
    config = changed("seed", -1)
    config["device"] = "tpu"
    with pytest.raises(ConfigurationError) as caught:
        checked(config)
    assert "seed" in str(caught.value)
    assert "device" in str(caught.value)


def test_paper_configuration_is_the_published_training():
    paper = yaml.safe_load((ROOT / "paper.yaml").read_text())
    published = yaml.safe_load((ROOT / "resources" / "published.yaml").read_text())
    assert paper["methods"]["autoencoder"]["training"].items() >= published["training"].items()
    assert [row["noise"] for row in published["rows"]] == list(CONFIG["noise"].values())
    assert paper["dataset"] == "isbi2015"
