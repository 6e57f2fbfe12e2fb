import copy
import importlib
import shutil
from pathlib import Path

import pytest
import yaml

from engine import plugins as module
from engine.checks import _read_text_values, declared
from engine.configuration import canonical, checked, read_text
from engine.methods import methods_of
from engine.plugins import ConfigurationError, declarations, plugins

ROOT = Path(__file__).resolve().parents[1]
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
METHODS = yaml.safe_load((ROOT / "config/methods.yaml").read_text())
FAIR = yaml.safe_load((ROOT / "config/fair.yaml").read_text())
FAIR_TIME = yaml.safe_load((ROOT / "config/fair-time.yaml").read_text())
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


def given(text: str) -> dict:
    """Check the default configuration with this YAML over it."""
    return checked(CONFIG, yaml.safe_load(text))


def refused(*layers: dict) -> str:
    """Check a configuration that must be refused; return the message."""
    with pytest.raises(ConfigurationError) as caught:
        checked(*layers)
    return str(caught.value)


def test_default_configuration_fills_in_run_and_selection():
    config = checked(CONFIG)
    assert config["run"] == "phantom"
    assert config["select"]["noise"] == list(CONFIG["noise"])
    assert len(config["select"]["noise"]) == 7
    assert config["select"]["methods"] == ["autoencoder", "median", "unet"]
    methods = methods_of(config)
    assert methods["autoencoder"].recipe == "published"
    assert methods["median"].recipe is None


def test_a_method_can_be_off_by_default_and_for_some_noise_settings_only():
    config = given("methods: {median: {default: false}, unet: {only: [gaussian_0.1_0_1]}}")
    assert config["select"]["methods"] == ["autoencoder", "unet"]
    assert list(methods_of(config)["unet"].settings) == [GAUSSIAN]


def test_overrides_replace_settings_of_one_noise_setting_alone():
    config = given("""methods:
      autoencoder: {overrides: {gaussian_0.1_0_1: {training: {steps: 5}}}}
      unet: {training: {layout: contiguous}, overrides: {gaussian_0.1_0_1: {training: {steps: 5}}}}
    """)
    methods = methods_of(config)
    settings = methods["autoencoder"].settings
    changed_one, other = settings[GAUSSIAN], settings["poisson_0.2_1"]
    assert changed_one["tail"] == [16, 8]
    assert changed_one["training"] == other["training"] | {"steps": 5}
    assert other["tail"] == [32, 16, 8]
    assert set(other) == {"tail", "training"}
    training = methods["unet"].settings[GAUSSIAN]["training"]
    assert (training["steps"], training["layout"]) == (5, "contiguous")  # no defaults come along


def test_entries_keep_the_order_in_which_they_are_given():
    """Which is that of the tables."""
    noise = {"a": CONFIG["noise"][GAUSSIAN]}
    config = checked(CONFIG, {"noise": noise, "methods": {"a": {"plugin": "median", "size": 5}}})
    assert list(config["noise"]) == config["select"]["noise"] == [*CONFIG["noise"], "a"]
    assert list(config["methods"]) == config["select"]["methods"] == [*CONFIG["methods"], "a"]
    assert list(given("noise: {poisson_0.2_5: {lambda: 5}}")["noise"]) == list(CONFIG["noise"])


def test_numbers_and_names_are_read_as_what_they_are():
    """Numbers may arrive as text, and text as numbers."""
    config = given("""
        run: 2024
        image_size: 64.0
        noise:
          new: {distribution: gaussian, factor: "0.3", mean: "0", std: "1e-1"}
          0.3: {distribution: poisson, factor: 1, lambda: 1}
        methods:
          median: {size: "5", default: "false"}
          autoencoder: {training: {steps: "1e3"}}
          blind_spot:
            widths: [8]
            blocks: 1
            stages: "1"
            training: {steps: 9, batch: 1, learning_rate: 1, threads: 1, precision: auto}
    """)
    assert config["run"] == "2024"
    assert repr(config["image_size"]) == "64"
    new = {"distribution": "gaussian", "factor": 0.3, "mean": 0, "std": 0.1}
    assert config["noise"]["new"] == new
    assert "0.3" in config["noise"]
    assert config["methods"]["median"]["size"] == 5
    assert config["methods"]["median"]["default"] is False
    assert repr(config["methods"]["autoencoder"]["training"]["steps"]) == "1000"
    assert config["methods"]["blind_spot"]["stages"] == 1


def test_any_choice_of_numbers_can_be_given_as_text():
    """As the command line has it."""
    settings = [
        setting
        for folder in module.FOLDERS
        for name in plugins(folder)
        for setting in declarations(folder, name).get("SETTINGS", {}).values()
    ]
    numbers = [s for s in settings if not isinstance(s.get("enum", [""])[0], str)]
    assert len(numbers) >= 2
    for setting in numbers:
        for number in setting["enum"]:
            config = {"chosen": str(number)}
            _read_text_values({"properties": {"chosen": setting}}, config)
            assert config == {"chosen": number}


def test_floats_that_tell_no_integers_apart_stay_floats():
    words = ["3", "4503599627370496", "9007199254740992.0", "1e+300"]
    assert [repr(canonical(value)) for value in (3.0, 2.0**52, 2.0**53, 1e300)] == words


def test_each_error_is_reported_once_and_all_at_once():
    message = refused(CONFIG, {"noise": {"empty": {}}})
    assert message.splitlines() == ["noise.empty.distribution: missing"]
    message = refused(CONFIG, {"seed": -1, "device": "tpu"})
    assert "seed" in message
    assert "device" in message


SPECIAL = {"GONE": ..., "null": None}
# A change of the default configuration, and what the message says after the key that is changed.
REFUSED = """
run = a/b | 'a/b' is not allowed; allowed: a file name
run = -rf | '-rf' is not allowed; allowed: a file name
dataset = mars | 'mars' is not allowed; allowed: phantom, isbi2015
dataset = GONE | missing
image_size = 8 | 8 is not allowed; allowed: 16 or more
image_size = large | 'large' is not allowed; allowed: a value of type integer
image_size = 64.5 | 64.5 is not allowed; allowed: a value of type integer
image_size = true | True is not allowed; allowed: a value of type integer
image_size = 126 | 126 does not suit the method unet; allowed: multiples of 16
seed = -1 | -1 is not allowed; allowed: 0 or more
device = tpu | 'tpu' is not allowed; allowed: auto, cpu, cuda
colour = blue | unknown key; allowed: allowed, dataset, datasets
select = null | None is not allowed; allowed: a value of type object
select/methods = [medium] | .0: 'medium' is not allowed; allowed: autoencoder, median
select/noise = [quiet] | .0: 'quiet' is not allowed; allowed: gaussian_0.1_0_1
allowed = {passes: 0} | .passes: 0 is not allowed; allowed: 1 or more
allowed = {trials: many} | .trials: 'many' is not allowed; allowed: a value of type integer
allowed = {seconds_as: nobody} | .seconds_as: 'nobody' is not allowed; allowed: autoencoder
table = [medium] | .0: 'medium' is not allowed; allowed: autoencoder, median, unet
datasets/phantom/train = 400 | 400 of 400 subjects leaves none to test on
datasets/mine = {train: 3} | exactly one of `subjects` (rendered), `sources` (the first that works
datasets/mine = {train: 3, sources: [a], join: [b]} | exactly one of `subjects` (rendered)
datasets/mine = {train: 3, manifest: a, join: [b]} | and `join` (all are read, without `manifest`)
datasets/mine = {train: 3, join: [a, a]} | allowed: each entry once
noise = [] | [] is not allowed; allowed: a value of type object
noise/a b = {distribution: gaussian} | 'a b' is not allowed; allowed: a file name
noise/gaussian_0.1_0_1 = null | None is not allowed; allowed: a value of type object
noise/gaussian_0.1_0_1/distribution = cauchy | 'cauchy' is not allowed; allowed: gaussian
noise/gaussian_0.1_0_1/factor = .inf | inf is not allowed; allowed: a value of type number
noise/gaussian_0.1_0_1/factor = 0 | 0 is not allowed; allowed: more than 0
noise/gaussian_0.1_0_1/mean = "nan" | nan is not allowed; allowed: a value of type number
noise/gaussian_0.1_0_1/std = GONE | missing
noise/gaussian_0.1_0_1/stdd = 1 | unknown key; allowed: distribution, factor, mean, std
noise/poisson_0.2_1/lambda = 1e30 | 1e+30 is not allowed; allowed: 1000000 or less
noise/new = {distribution: poisson_gaussian, dose: 9} | .electronic: missing
noise/new = {distribution: speckle, std: 1, share: 1} | .share: unknown key; allowed: distr
methods/nothing = {} | there is no workflow/scripts/methods/nothing.py; allowed: autoencoder
methods/noisy = {plugin: median, size: 3} | 'noisy' is not allowed; allowed: another name
methods/median/label = auto-encoder | 'auto-encoder' is taken
methods/median/label = noisy | 'noisy' is taken
methods/median/label = ground truth | 'ground truth' is taken
methods/median/label = a|b | 'a|b' is not allowed; allowed: text without |
methods/median/inversion = perhaps | 'perhaps' is not allowed; allowed: a value of type bool
methods/median/reference = perhaps | 'perhaps' is not allowed; allowed: a value of type bool
methods/median/training = {} | unknown key; allowed: default, inversion, label, only, overrides
methods/median/tune = {sise: [3]} | .sise: unknown key; allowed: size
methods/median/tune = {size: []} | .size: [] is not allowed; allowed: at least 1 entry
methods/median/tune = {size: [5, 0]} | .size.1: 0 is not allowed; allowed: 1 or more
methods/median/tune = {size: [5, 7]} | methods.median.size: is also in tune; give one of the two
methods/new = {plugin: median, tune: {size: [3]}, size: 3} | methods.new.size: is also in tune
methods/autoencoder/training = GONE | missing
methods/autoencoder/training/keep = first | 'first' is not allowed; allowed: last, best
methods/autoencoder/overrides/nowhere = {} | unknown key; allowed: gaussian_0.1_0_1
methods/autoencoder/overrides/poisson_0.2_1/tale = 8 | unknown key; allowed: tail, training
methods/unet/inversion = true | unknown key; allowed: blocks, default
methods/unet/tune = {blocks: [1, 2]} | unknown key
methods/unet/only = [] | [] is not allowed; allowed: at least 1 entry
methods/unet/only = [nowhere] | .0: 'nowhere' is not allowed; allowed: gaussian_0.1_0_1
methods/unet/widths = [8, 8, 8, 8, 8] | [8, 8, 8, 8, 8] is not allowed; allowed: at most 4 entries
methods/unet/training/keep = last | unknown key; allowed: augmentation, batch, capture, layout
"""


@pytest.mark.parametrize("case", REFUSED.strip().splitlines())
def test_messages_name_the_key_and_what_is_allowed(case):
    change, _, words = case.partition(" | ")
    path, _, value = change.partition(" = ")
    message = refused(changed(path, SPECIAL[value] if value in SPECIAL else read_text(value)))
    assert words in message
    assert path.split("/")[-1] in message


def test_paper_configuration_is_the_published_training():
    paper = yaml.safe_load((ROOT / "config/paper.yaml").read_text())
    published = yaml.safe_load((ROOT / "resources/published.yaml").read_text())
    assert paper["methods"]["autoencoder"]["training"].items() >= published["training"].items()
    assert [row["noise"] for row in published["rows"]] == list(CONFIG["noise"].values())
    assert paper["dataset"] == "isbi2015"


BOTH = ("clean images", "noise model")


def test_every_plugin_declares_what_it_uses():
    for folder in ("methods", "recipes"):
        for name in plugins(folder):
            assert set(declarations(folder, name)["USES"]) <= set(BOTH), name


def test_what_a_method_uses_is_what_its_plugin_recipe_and_inversion_use():
    inverted = {"plugin": "median", "size": 3, "inversion": True}
    methods = methods_of(checked(CONFIG, METHODS, {"methods": {"inverted": inverted}}))
    uses = {"median": (), "autoencoder": ("clean images",)}
    uses |= dict.fromkeys(["noise2noise", "noise2void", "blind_spot_estimated"], ())
    uses |= dict.fromkeys(["inverted", "noise2noise_likelihood", "blind_spot"], ("noise model",))
    uses |= dict.fromkeys(["tuned_median", "unet", "dncnn"], BOTH)
    assert {name: methods[name].uses for name in uses} == uses


def test_configuration_of_everything_turns_every_method_on():
    config = checked(CONFIG, METHODS, EVERYTHING)
    assert config["select"]["methods"] == list(config["methods"])
    used = {entry.get("plugin", name) for name, entry in config["methods"].items()}
    assert used == set(plugins("methods"))
    off = set(config["methods"]) - set(checked(CONFIG, METHODS)["select"]["methods"])
    learns_alone = {
        "noise2noise_likelihood",
        "blind_spot",
        "blind_spot_estimated",
        "blind_spot_on_test",
    }
    assert off == {"unet_large", "unet_any", "bm3d", "bm3d+inversion"} | learns_alone
    assert config["run"] == "phantom-methods"
    methods = methods_of(config)
    assert methods["tuned_median"].grid
    assert not methods["median"].grid


def test_configurations_of_fair_tables_are_fair():
    config = checked(CONFIG, METHODS, FAIR)
    methods = {name: methods_of(config)[name] for name in config["select"]["methods"]}
    references = [name for name, method in methods.items() if method.reference]
    assert references == ["autoencoder_published"]
    published = yaml.safe_load((ROOT / "resources/published.yaml").read_text())
    for training in (s["training"] for s in methods["autoencoder_published"].settings.values()):
        assert training.items() >= published["training"].items()
    tails = [s["tail"] for s in methods["autoencoder"].settings.values()]
    assert tails == [s["tail"] for s in methods["autoencoder_published"].settings.values()]
    for name, method in methods.items():
        grid = METHODS["methods"].get(name, {}).get("tune", {})
        assert {k: (min(v), max(v)) for k, v in method.grid.items()} == {
            k: (min(v), max(v)) for k, v in grid.items()
        }
        assert len(method.settings) == (2 if method.caveat else 7)
    assert checked(CONFIG, METHODS, FAIR, FAIR_TIME)["allowed"]["seconds_as"] == "unet"


# A change of the configuration of the fair table, and what the message says.
UNFAIR = """
autoencoder: {training: {steps: 4899}} | methods.autoencoder: 19596 image passes for gaussian_0.1_0
dncnn: {training: {batch: 5}} | methods.dncnn: 24500 image passes for poisson_0.2_5 are not allowed
unet: {overrides: {poisson_0.2_1: {training: {steps: 5}}}} | .unet: 20 image passes for poisson_0.2
autoencoder_published: {reference: false} | methods.autoencoder_published: 192000 image passes
wavelet: {tune: {levels: [2, 3, 4]}} | methods.wavelet.tune: 30 combinations are not allowed; allow
"""


@pytest.mark.parametrize("case", UNFAIR.strip().splitlines())
def test_methods_that_differ_in_what_they_were_allowed_are_refused(case):
    change, _, words = case.partition(" | ")
    methods = {"methods": yaml.safe_load(change)}
    message = refused(CONFIG, METHODS, FAIR, methods)
    assert words in message
    assert ("allowed: 20 or less (allowed.trials)" in message) == ("tune" in message)
    assert ("allowed: 19600 (allowed.passes)" in message) == ("passes" in message)
    assert len({line.partition(":")[0] for line in message.splitlines()}) == 1  # no other method
    checked(CONFIG, METHODS, FAIR, methods, {"allowed": {"trials": 30}, "select": {"methods": []}})


def test_time_is_compared_with_a_training_of_all_noise_settings():
    for name in ("median", "unet+lattice", "autoencoder_published", "unet_large"):
        message = refused(CONFIG, METHODS, FAIR, {"allowed": {"seconds_as": name}})
        assert f"allowed.seconds_as: {name!r} is not allowed; allowed: a method that" in message
    # What sees as many images as is allowed is then this training alone.
    fewer = {"methods": {"unet": {"training": {"steps": 7}}}}
    message = refused(CONFIG, METHODS, FAIR, FAIR_TIME, fewer)
    assert {line.partition(":")[0] for line in message.splitlines()} == {"methods.unet"}


def test_lattice_step_is_for_poisson_noise_alone_and_has_no_column_in_the_published_table():
    method = methods_of(checked(CONFIG, METHODS))["unet+lattice"]
    assert "poisson_0.2_1" in method.settings
    assert GAUSSIAN not in method.settings
    message = refused(CONFIG, METHODS, {"table": ["median", "unet+lattice"]})
    assert "table: 'unet+lattice' has a caveat" in message


def test_a_run_may_be_named_after_the_data_set():
    assert given('run: "{dataset}-wide"')["run"] == "phantom-wide"


def forget_plugins() -> None:
    declarations.cache_clear()
    declared.cache_clear()


@pytest.fixture
def plugin_folder(tmp_path, monkeypatch):
    """A copy of the folders of plug-ins, in which a test can write."""
    for folder in ("methods", "recipes", "distributions"):
        shutil.copytree(ROOT / "workflow/scripts" / folder, tmp_path / folder)
    monkeypatch.setattr(module, "SCRIPTS", tmp_path)
    forget_plugins()
    yield tmp_path
    forget_plugins()


FUNCTION = "def denoise(noisy, noise, settings):\n    return noisy\n"
NETWORK = "def build_network(settings, noise):\n    pass\n"
# What a file declares, and what the message says after the file's name.
NONSENSE = """
RECIPE = "sourdough"; NETWORK | RECIPE: 'sourdough' is not allowed; allowed: any_noise, blind_spot
NETWORK | RECIPE: None is not allowed; allowed: any_noise, blind_spot
x = 1 | has neither a function `denoise` nor `build_network`
def denoise(: | can't be read as Python
USES = ["clean image"]; FUNCTION | USES.0: 'clean image' is not allowed; allowed: clean images, no
USES = "noise model"; FUNCTION | USES: 'noise model' is not allowed; allowed: a value of type array
IMAGE_SIZE_MULTIPLE = 0; FUNCTION | IMAGE_SIZE_MULTIPLE: 0 is not allowed; allowed: 1 or more
CONDITIONED = "yes"; FUNCTION | CONDITIONED: 'yes' is not allowed; allowed: a value of type boolean
CAVEAT = True; FUNCTION | CAVEAT: True is not allowed; allowed: a value of type string
EXPLOITS_LATTICE = True; FUNCTION | EXPLOITS_LATTICE: True is not allowed; allowed: nothing; say
SIZES = [1, 2]; SETTINGS = {"a": {"enum": SIZES}}; FUNCTION | SETTINGS: a computed value (files
SETTINGS = {"a": {"minimum": 1, "default": 0}}; FUNCTION | SETTINGS.a: its default does not fit it
SETTINGS = {"default": {}}; FUNCTION | SETTINGS.default: every entry may have this; use another name
SETTINGS = {"a": {"type": "intger"}}; FUNCTION | SETTINGS.a.type
"""


@pytest.mark.parametrize("case", NONSENSE.strip().splitlines())
def test_a_plugin_that_declares_nonsense_is_refused(plugin_folder, case):
    source, _, words = case.partition(" | ")
    source = source.replace("; ", "\n").replace("FUNCTION", FUNCTION).replace("NETWORK", NETWORK)
    (plugin_folder / "methods/bread.py").write_text(source)
    assert f"bread.py: {words}" in refused(changed("methods/bread", {}))


def test_what_is_read_of_a_plugin_is_what_it_declares_when_it_runs():
    """Also where it joins its settings with those of another one."""
    for folder in ("methods", "recipes", "distributions"):
        for name in plugins(folder):
            found = getattr(importlib.import_module(f"{folder}.{name}"), "SETTINGS", None)
            assert declarations(folder, name).get("SETTINGS") == found, name
    joined = declarations("methods", "blind_spot")["SETTINGS"]
    assert set(joined) == {"widths", "blocks", "stages", "partitions"}


def test_a_distribution_needs_its_settings_and_its_function(plugin_folder):
    sources = {"draw": "SETTINGS = {}\n", "SETTINGS": "def draw(image, rng):\n    return image\n"}
    for missing, source in sources.items():
        (plugin_folder / "distributions/cauchy.py").write_text(source)
        forget_plugins()
        message = refused(changed("noise/wide", {"distribution": "cauchy"}))
        assert f"cauchy.py: {missing}: missing" in message


def test_settings_that_are_not_given_have_their_default(plugin_folder):
    """But for those that are tuned."""
    source = "SETTINGS = {'size': {'type': 'integer', 'default': 3}}\n" + FUNCTION
    for name in ("bread", "_crumbs"):
        (plugin_folder / f"methods/{name}.py").write_text(source)
    assert "_crumbs" not in plugins("methods")
    config = given("""methods:
        bread: {label: bread}
        tuned: {label: tuned, plugin: bread, tune: {size: [1, 2]}}
        other: {label: other, plugin: bread, overrides: {gaussian_0.1_0_1: {size: 5}}}
    """)
    settings = {name: method.settings for name, method in methods_of(config).items()}
    assert settings["bread"][GAUSSIAN] == {"size": 3}
    assert settings["tuned"][GAUSSIAN] == {}
    assert [values["size"] for values in settings["other"].values()] == [5, *[3] * 6]
    assert settings["unet"][GAUSSIAN]["training"]["loss"] == "similarity"
    assert settings["autoencoder"][GAUSSIAN]["training"]["layout"] == "channels_last"
