import copy
import math
import shutil
from pathlib import Path

import pytest
import yaml

from engine import plugins as module
from engine.configuration import checked, merged
from engine.methods import methods_of
from engine.plugins import ConfigurationError, declarations, plugins

ROOT = Path(__file__).resolve().parents[1]
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
METHODS = yaml.safe_load((ROOT / "config/methods.yaml").read_text())
EVERYTHING = yaml.safe_load((ROOT / "config/everything.yaml").read_text())
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
    assert config["select"]["methods"] == ["autoencoder", "median", "unet"]
    methods = methods_of(config)
    assert methods["autoencoder"].recipe == "published"
    assert methods["median"].recipe is None


def test_a_method_can_be_off_by_default():
    config = checked(changed("methods/median/default", False))
    assert config["select"]["methods"] == ["autoencoder", "unet"]


def test_overrides_replace_settings_of_one_noise_setting_alone():
    config = checked(changed(f"methods/autoencoder/overrides/{GAUSSIAN}/training", {"steps": 5}))
    settings = methods_of(config)["autoencoder"].settings
    changed_one, other = settings[GAUSSIAN], settings["poisson_0.2_1"]
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
    assert lines == ["noise.empty.distribution: missing"]


@pytest.mark.parametrize(
    ("path", "value", "allowed"),
    [
        ("run", "a/b", "a file name"),
        ("run", "-rf", "a file name"),
        ("dataset", "mars", "phantom, isbi2015"),
        ("image_size", 8, "16 or more"),
        ("image_size", "large", "a value of type integer"),
        ("image_size", 64.5, "a value of type integer"),
        ("image_size", True, "a value of type integer"),
        (f"noise/{GAUSSIAN}/factor", math.inf, "a value of type number"),
        (f"noise/{GAUSSIAN}", None, "a value of type object"),
        ("methods/median", None, "a value of type object"),
        ("select", None, "a value of type object"),
        ("methods/autoencoder/overrides", None, "a value of type object"),
        ("methods/median/label", "a|b", "text without |"),
        ("methods/median/label", "", "text without |"),
        ("methods/unet/only", [], "at least 1 entry"),
        ("methods/unet/training/loss", "absolute", "similarity, squared error"),
        ("noise/poisson_0.2_1/lambda", 1e30, "1000000 or less"),
        ("seed", -1, "0 or more"),
        ("device", "tpu", "auto, cpu, cuda"),
        ("noise", [], "a value of type object"),
        (f"noise/{GAUSSIAN}/std", -1, "0 or more"),
        (f"noise/{GAUSSIAN}/factor", 0, "more than 0"),
        ("noise/poisson_0.2_1/lambda", 0, "more than 0"),
        ("methods/median/size", 0, "1 or more"),
        ("methods/autoencoder/training/keep", "first", "last, best"),
        ("methods/median/inversion", "perhaps", "a value of type boolean"),
    ],
)
def test_wrong_values_are_named_with_what_is_allowed(path, value, allowed):
    message = f"{path.replace('/', '.')}: {value!r} is not allowed; allowed: {allowed}"
    assert message in refusal(path, value)


@pytest.mark.parametrize(
    ("path", "value", "allowed"),
    [
        ("colour", "blue", "dataset, datasets"),
        ("methods/unet/inversion", True, "blocks, default"),
        (f"noise/{GAUSSIAN}/stdd", 1, "distribution, factor, mean, std"),
        (
            "methods/median/training",
            {},
            "default, inversion, label, only, overrides, plugin, size, tune",
        ),
        ("methods/autoencoder/overrides/nowhere", {"tail": [8]}, f"{GAUSSIAN}"),
        (f"methods/autoencoder/overrides/{GAUSSIAN}/tale", [8], "tail, training"),
        ("methods/unet/tune", {"blocks": [1, 2]}, ""),
        (
            "methods/unet/training/keep",
            "last",
            "batch, capture, layout, learning_rate, loss, precision, steps, threads",
        ),
    ],
)
def test_unknown_keys_are_named_with_those_that_are_known(path, value, allowed):
    message = f"{path.replace('/', '.')}: unknown key; allowed: {allowed}"
    assert message in refusal(path, value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("dataset", ..., "dataset: missing"),
        (
            "image_size",
            126,
            "image_size: 126 does not suit the method unet; allowed: multiples of 16",
        ),
        (
            f"noise/{GAUSSIAN}/mean",
            "nan",
            "mean: nan is not allowed; allowed: a value of type number",
        ),
        ("methods/median/label", "auto-encoder", "methods.median.label: 'auto-encoder' is taken"),
        ("methods/median/label", "noisy", "methods.median.label: 'noisy' is taken"),
        (f"noise/{GAUSSIAN}/std", ..., f"noise.{GAUSSIAN}.std: missing"),
        (
            f"noise/{GAUSSIAN}/distribution",
            "cauchy",
            "'cauchy' is not allowed; allowed: gaussian, poisson",
        ),
        (
            "noise/a b",
            {"distribution": "poisson", "factor": 1, "lambda": 1},
            "'a b' is not allowed; allowed: a file name",
        ),
        (
            "methods/nothing",
            {},
            "methods.nothing: there is no workflow/scripts/methods/nothing.py; allowed: autoenc",
        ),
        (
            "methods/noisy",
            {"plugin": "median", "size": 3},
            "methods: 'noisy' is not allowed; allowed: another name",
        ),
        ("methods/autoencoder/training", ..., "methods.autoencoder.training: missing"),
        (
            "methods/median/tune",
            {"sise": [3]},
            "methods.median.tune.sise: unknown key; allowed: size",
        ),
        (
            "methods/median/tune",
            {"size": []},
            "methods.median.tune.size: [] is not allowed; allowed: at least 1 entry",
        ),
        (
            "methods/median/tune",
            {"size": [5, 0]},
            "methods.median.tune.size.1: 0 is not allowed; allowed: 1 or more",
        ),
        (
            "methods/median/tune",
            {"size": [5, 7]},
            "methods.median.size: is also in tune; give one of the two",
        ),
        (
            "methods/tuned",
            {
                "plugin": "median",
                "tune": {"size": [3, 5]},
                "overrides": {"gaussian_0.1_0_1": {"size": 3}},
            },
            f"methods.tuned.overrides.{GAUSSIAN}.size: is also in tune",
        ),
        ("methods/unet/widths", [8, 8, 8, 8, 8], "methods.unet.widths"),
        (
            "methods/unet/only",
            ["nowhere"],
            f"methods.unet.only.0: 'nowhere' is not allowed; allowed: {GAUSSIAN}",
        ),
        (
            "noise/new",
            {"distribution": "poisson_gaussian", "dose": 0, "electronic": 0},
            "noise.new.dose: 0 is not allowed; allowed: more than 0",
        ),
        (
            "noise/new",
            {"distribution": "poisson_gaussian", "dose": 9},
            "noise.new.electronic: missing",
        ),
        (
            "noise/new",
            {"distribution": "speckle", "std": 1, "factor": 1},
            "noise.new.factor: unknown key; allowed: distribution, std",
        ),
        (
            "table",
            ["medium"],
            "table.0: 'medium' is not allowed; allowed: autoencoder, median, unet",
        ),
        (
            "select/methods",
            ["medium"],
            "select.methods.0: 'medium' is not allowed; allowed: autoencoder, median",
        ),
        ("select/noise", ["quiet"], f"select.noise.0: 'quiet' is not allowed; allowed: {GAUSSIAN}"),
        (
            "datasets/phantom/train",
            400,
            "datasets.phantom.train: 400 of 400 subjects leaves none to test on",
        ),
        (
            "datasets/mine",
            {"train": 3},
            "datasets.mine: either `subjects` (rendered) or `sources` (read) is needed",
        ),
        (
            "datasets/phantom/sources",
            ["a"],
            "datasets.phantom: either `subjects` (rendered) or `sources` (read)",
        ),
    ],
)
def test_values_that_do_not_fit_each_other_are_named(path, value, message):
    assert message in refusal(path, value)


def refusal(path: str, value: object) -> str:
    """Return the message with which the default configuration with this change is refused."""
    with pytest.raises(ConfigurationError) as caught:
        checked(changed(path, value))
    return str(caught.value)


def test_all_errors_are_reported_at_once():
    config = changed("seed", -1)
    config["device"] = "tpu"
    with pytest.raises(ConfigurationError) as caught:
        checked(config)
    assert "seed" in str(caught.value)
    assert "device" in str(caught.value)


def test_paper_configuration_is_the_published_training():
    paper = yaml.safe_load((ROOT / "config/paper.yaml").read_text())
    published = yaml.safe_load((ROOT / "resources" / "published.yaml").read_text())
    assert paper["methods"]["autoencoder"]["training"].items() >= published["training"].items()
    assert [row["noise"] for row in published["rows"]] == list(CONFIG["noise"].values())
    assert paper["dataset"] == "isbi2015"


def test_every_plugin_declares_what_it_uses():
    allowed = {"clean images", "noise model"}
    for folder in ("methods", "recipes"):
        for name in plugins(folder):
            assert set(declarations(folder, name)["USES"]) <= allowed, name


def test_what_a_method_uses_is_what_its_plugin_recipe_and_inversion_use():
    config = checked(CONFIG, METHODS, {"methods": {"inverted": {"plugin": "median", "size": 3}}})
    config["methods"]["inverted"]["inversion"] = True
    uses = {name: method.uses for name, method in methods_of(config).items()}
    assert uses["median"] == ()
    assert uses["tuned_median"] == ("clean images", "noise model")
    assert uses["inverted"] == ("noise model",)
    assert uses["autoencoder"] == ("clean images",)
    assert uses["unet"] == ("clean images", "noise model")
    assert uses["dncnn"] == ("clean images", "noise model")
    assert uses["noise2noise"] == ("noise model",)


def test_configuration_of_everything_turns_every_method_on():
    config = checked(CONFIG, METHODS, EVERYTHING)
    assert config["select"]["methods"] == list(config["methods"])
    used = {config["methods"][name].get("plugin", name) for name in config["methods"]}
    assert used == set(plugins("methods"))
    off = set(config["methods"]) - set(checked(CONFIG, METHODS)["select"]["methods"])
    assert off == {"unet_large", "bm3d", "bm3d+inversion"}
    assert config["run"] == "phantom-methods"
    methods = methods_of(config)
    assert methods["tuned_median"].grid
    assert not methods["median"].grid


def test_lattice_step_is_for_poisson_noise_alone():
    method = methods_of(checked(CONFIG, METHODS))["unet+lattice"]
    assert "poisson_0.2_1" in method.settings
    assert GAUSSIAN not in method.settings


def test_a_method_can_be_for_some_noise_settings_only():
    config = checked(changed("methods/unet/only", [GAUSSIAN]))
    assert list(methods_of(config)["unet"].settings) == [GAUSSIAN]


@pytest.fixture
def plugin_folder(tmp_path, monkeypatch):
    """A copy of the folders of plug-ins, in which a test can write."""
    for folder in ("methods", "recipes", "distributions"):
        shutil.copytree(ROOT / "workflow/scripts" / folder, tmp_path / folder)
    monkeypatch.setattr(module, "SCRIPTS", tmp_path)
    declarations.cache_clear()
    yield tmp_path
    declarations.cache_clear()


FUNCTION = "def denoise(noisy, noise, settings):\n    return noisy\n"
NETWORK = "def build_network(settings, noise):\n    pass\n"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("RECIPE = 'sourdough'\n" + NETWORK, "RECIPE: 'sourdough' is not allowed; allowed: noise2"),
        (NETWORK, "RECIPE: None is not allowed; allowed: noise2"),
        ("x = 1\n", "has neither a function `denoise` nor `build_network`"),
        ("def denoise(:\n", "can't be read as Python"),
        (
            "USES = ['clean image']\n" + FUNCTION,
            "USES.0: 'clean image' is not allowed; allowed: clean images, noise model",
        ),
        (
            "USES = 'noise model'\n" + FUNCTION,
            "USES: 'noise model' is not allowed; allowed: a value of type array",
        ),
        (
            "IMAGE_SIZE_MULTIPLE = 0\n" + FUNCTION,
            "IMAGE_SIZE_MULTIPLE: 0 is not allowed; allowed: 1 or more",
        ),
        ("SIZES = [1, 2]\nSETTINGS = {'a': {'enum': SIZES}}\n" + FUNCTION, "SETTINGS is computed"),
        (
            "SETTINGS = {'a': {'minimum': 1, 'default': 0}}\n" + FUNCTION,
            "SETTINGS.a: its default does not fit it",
        ),
        (
            "EXPLOITS_LATTICE = True\n" + FUNCTION,
            "EXPLOITS_LATTICE is no longer read; say in a text, CAVEAT",
        ),
        (
            "CAVEAT = True\n" + FUNCTION,
            "CAVEAT: True is not allowed; allowed: a value of type string",
        ),
        (
            "SETTINGS = {'default': {}}\n" + FUNCTION,
            "SETTINGS.default: every entry may have this; use another name",
        ),
        ("SETTINGS = {'a': {'type': 'intger'}}\n" + FUNCTION, "SETTINGS.a.type"),
    ],
)
def test_a_plugin_that_declares_nonsense_is_refused(plugin_folder, source, message):
    (plugin_folder / "methods/bread.py").write_text(source)
    with pytest.raises(ConfigurationError) as caught:
        checked(changed("methods/bread", {}))
    assert f"bread.py: {message}" in str(caught.value)


def test_a_distribution_needs_its_settings_and_its_function(plugin_folder):
    path = plugin_folder / "distributions/cauchy.py"
    config = changed("noise/wide", {"distribution": "cauchy"})
    path.write_text("SETTINGS = {}\n")
    with pytest.raises(ConfigurationError, match=r"cauchy.py: has no `draw`"):
        checked(config)
    declarations.cache_clear()
    path.write_text("def draw(image, rng):\n    return image\n")
    with pytest.raises(ConfigurationError, match=r"cauchy.py: has no `SETTINGS`"):
        checked(config)


def test_recipes_say_whether_the_inversion_is_applied():
    methods = methods_of(checked(CONFIG, METHODS)).values()
    inverted = {method.name for method in methods if method.inversion}
    assert {"noise2noise", "noise2void", "tuned_median+inversion"} <= inverted
    assert not {"unet", "median", "tuned_median"} & inverted


def test_settings_that_are_not_given_have_their_default(plugin_folder):
    """But for those that are tuned."""
    source = "SETTINGS = {'size': {'type': 'integer', 'default': 3}}\n" + FUNCTION
    (plugin_folder / "methods/bread.py").write_text(source)
    entries = {"bread": {}, "tuned": {"plugin": "bread", "tune": {"size": [1, 2]}}}
    entries["other"] = {"plugin": "bread", "overrides": {GAUSSIAN: {"size": 5}}}
    for name, entry in entries.items():
        entry["label"] = name
    methods = methods_of(checked(CONFIG, {"methods": entries}))
    assert methods["bread"].settings[GAUSSIAN] == {"size": 3}
    assert methods["tuned"].settings[GAUSSIAN] == {}
    sizes = [settings["size"] for settings in methods["other"].settings.values()]
    assert sizes == [5, *[3] * 6]
    assert methods["unet"].settings[GAUSSIAN]["training"]["loss"] == "similarity"
    assert methods["autoencoder"].settings[GAUSSIAN]["training"]["layout"] == "channels_last"


def test_a_run_may_be_named_after_the_data_set():
    assert checked(changed("run", "{dataset}-wide"))["run"] == "phantom-wide"


def test_lattice_step_has_no_column_in_the_published_table():
    config = merged(CONFIG, METHODS) | {"table": ["median", "unet+lattice"]}
    with pytest.raises(ConfigurationError, match=r"table: 'unet.lattice' has a caveat"):
        checked(config)
