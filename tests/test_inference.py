"""Trained networks without the workflow: `load`, safetensors, cards."""

import json
import logging
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from torch import nn

import apply_network
from conftest import ROOT, TWO_NOISES, environment_with
from engine import digests
from engine.messages import InputError
from files.atomic import file_digest
from files.models import load_model, load_safetensors, save_safetensors
from files.tensors import save_tensors
from methods import autoencoder, dncnn, noise2noise, unet
from noise.seeds import generator
from release import main as release_main
from release import released
from results import evidence
from results.evidence import made_in
from test_denoisers import GAUSSIAN, POISSON
from test_steps import job
from test_training import CPU
from training.inference import load

OF_ENTRY = {"given": False, "told": GAUSSIAN}  # the defaults of a method
SCRIPTS = Path(digests.__file__).parents[1]
SMALL = {"widths": [4, 8], "blocks": 1}
CASES = {
    "autoencoder": (autoencoder, {"tail": [4]}),
    "dncnn": (dncnn, {"depth": 3, "width": 4}),
    "noise2noise": (noise2noise, SMALL),
    "unet": (unet, SMALL),
}
IMAGE = generator(1, "inference").random((128, 128))


class Told(nn.Module):
    """The smallest conditioned network: a share of the image, less the noise that it is told."""

    def __init__(self):
        super().__init__()
        self.share = nn.Parameter(torch.tensor([0.5]))

    def forward(self, noisy, gain, deviation):
        assert gain.shape == deviation.shape == (len(noisy), 1, 1, 1)
        return self.share * noisy + gain - deviation


@pytest.fixture(autouse=True)
def told(monkeypatch):
    """A plug-in whose networks are told the noise, and an estimate of it."""
    plugin = ModuleType("methods.told")
    plugin.RECIPE, plugin.CONDITIONED, plugin.IMAGE_SIZE_MULTIPLE = "supervised", True, 4
    plugin.build_network = lambda settings, noise: Told()
    monkeypatch.setitem(sys.modules, "methods.told", plugin)
    estimation = ModuleType("noise.estimation")
    estimation.found = SimpleNamespace(gain=0.25, deviation=0.125, fits=True, reasons=())
    estimation.estimate_noise = lambda image: estimation.found
    monkeypatch.setitem(sys.modules, "noise.estimation", estimation)
    monkeypatch.setattr("noise.models.DRAWS", 2**10)  # which takes a U-Net the time to be built
    return estimation


def model_of(plugin: str, noise=GAUSSIAN, changes: dict | None = None) -> dict:
    """What a training saves; no weight is 0, so that all of them count."""
    if plugin == "told":
        settings, network = {}, Told()
    else:
        module, settings = CASES[plugin]
        torch.manual_seed(0)
        network = module.build_network(settings, noise)
        for weights in network.parameters():
            nn.init.normal_(weights, std=0.1)
    cost = {"parameters": 7, "training_images": 100, "training_seconds": 1.5}
    model = {"plugin": plugin, "settings": settings, "noise": noise, "cost": cost}
    return model | {"weights": network.state_dict()} | (changes or {})


def saved(folder: Path, plugin: str, noise=GAUSSIAN, changes: dict | None = None) -> Path:
    path = folder / "results/run/models/some" / f"{plugin}.pt"
    save_tensors(path, model_of(plugin, noise, changes))
    return path


def network_of(plugin: str, noise=GAUSSIAN) -> nn.Module:
    """The network itself, as it comes from its plug-in."""
    network = CASES[plugin][0].build_network(CASES[plugin][1], noise)
    network.load_state_dict(model_of(plugin, noise)["weights"])
    return network


# ------------------------------------------------------------------------------------- the answers


def test_the_lines_of_the_page_run_without_snakemake(tmp_path):
    """In an environment that has PyTorch, NumPy and safetensors alone."""
    page = (ROOT / "docs/models.md").read_text(encoding="utf-8")
    lines = re.search(r"```python\n(.*?)```", page, re.DOTALL)[1].split("\n")
    lines = [line for line in lines if line]
    assert len(lines) == 3
    path = tmp_path / re.search(r'"(results/.*?)"', lines[1])[1]
    save_tensors(path, model_of("autoencoder"))
    noisy = IMAGE[:50, :75]
    np.save(tmp_path / "noisy.npy", noisy)
    python = environment_with(tmp_path / "env", ["torch", "numpy", "safetensors"])
    code = ["import numpy, sys", "noisy = numpy.load('noisy.npy')", *lines]
    code += ["numpy.save('clean.npy', clean)", "print({'snakemake', 'scipy'} & {*sys.modules})"]
    done = subprocess.run(
        [python, "-c", "\n".join(code)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(SCRIPTS)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.stdout == "set()\n"
    clean = np.load(tmp_path / "clean.npy")
    assert clean.shape == noisy.shape
    np.testing.assert_array_equal(clean, load(path)(noisy))


@pytest.mark.parametrize("plugin", CASES)
def test_answers_are_those_of_the_workflow_and_of_the_network_itself_to_the_bit(tmp_path, plugin):
    """Of a network for images of a size that it takes; several at a time, or one by one."""
    path = saved(tmp_path, plugin)
    images = np.stack([IMAGE, IMAGE[::-1], IMAGE.T])
    np.save(tmp_path / "noisy.npy", images)
    output = {"images": tmp_path / "out.npy", "cost": tmp_path / "cost.csv"}
    apply_network.main(
        job(
            input={"model": path, "noisy": tmp_path / "noisy.npy"},
            output=output,
            params={"device": "cpu", "noise": GAUSSIAN} | OF_ENTRY,
            wildcards={"noise": "some", "method": plugin},
        )
    )
    expected = CPU.evaluated(network_of(plugin), images).numpy().astype(np.float64)
    np.testing.assert_array_equal(np.load(output["images"]), expected)
    denoise = load(path)
    found = np.stack([denoise(image) for image in images])
    np.testing.assert_array_equal(found, expected)
    assert expected.std() > 0.01


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (3, 2), (33, 47), (16, 50), (512, 748)])
@pytest.mark.parametrize("plugin", ["autoencoder", "unet"])
def test_images_of_any_size_keep_it_and_are_continued_by_their_reflection(tmp_path, plugin, size):
    multiple = {"autoencoder": 4, "unet": 16}[plugin]
    image = np.resize(IMAGE, size).astype(np.float32)
    before = image.copy()
    places = [
        [n - abs(n - place % max(1, 2 * n)) for place in range(-(-length // multiple) * multiple)]
        for length in size
        for n in [length - 1]
    ]
    whole = CPU.evaluated(network_of(plugin), image[np.ix_(*places)][None])[0].numpy()
    clean = load(saved(tmp_path, plugin))(image)
    assert (clean.shape, clean.dtype) == (size, np.float64)
    np.testing.assert_allclose(clean, whole[: size[0], : size[1]], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(image, before)


def test_what_is_loaded_says_what_it_is_and_keeps_its_weights(tmp_path):
    denoise = load(saved(tmp_path, "dncnn"))
    assert (denoise.plugin, denoise.noise, denoise.conditioned) == ("dncnn", GAUSSIAN, False)
    assert denoise.settings == CASES["dncnn"][1]
    assert denoise.trained.cost["training_images"] == 100
    before = {k: v.clone() for k, v in denoise.trained.network.state_dict().items()}
    assert not denoise.trained.network.training
    denoise(IMAGE)
    after = denoise.trained.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(weights.requires_grad for weights in denoise.trained.network.parameters())


def test_answers_lie_in_the_unit_range(tmp_path):
    weights = {"weights": {"share": torch.tensor([3.0])}}
    clean = load(saved(tmp_path, "told", changes=weights))(IMAGE, gain=0, deviation=0.5)
    np.testing.assert_array_equal(clean, np.clip(np.float32(3) * np.float32(IMAGE) - 0.5, 0, 1))
    assert {0, 1} <= set(clean.flat)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (IMAGE[0], r"the shape \(128,\), not \(height, width\)"),
        (IMAGE[None], r"\(1, 128, 128\), not \(height, width\): give one grey image at a time"),
        (np.zeros((8, 8, 3)), r"\(8, 8, 3\), as colours have: convert it to grey"),
        (np.zeros((0, 8)), r"\(0, 8\): it has no pixels"),
        (np.zeros((8, 8), np.uint8), "values of type uint8, .* divide it by its level of white"),
        (np.zeros((8, 8), bool), "values of type bool"),
        (np.where(IMAGE > 0.5, np.nan, IMAGE), "of the image's values are NaN or infinite"),
        (np.float32(255) * IMAGE, r"values from 0\.\d+ to 25\d\.\d+, not in \[0, 1\]: divide it"),
        (IMAGE - 1e-3, r"values from -0\.000\d+ to .* and clip what is beyond"),
        (np.nextafter(np.ones((8, 8), np.float32), 2), r"to 1\.00000012, not in"),
    ],
)
def test_what_is_no_image_is_refused_with_the_remedy(tmp_path, image, words):
    with pytest.raises(InputError, match=words):
        load(saved(tmp_path, "autoencoder"))(image)


@pytest.mark.gpu
def test_a_gpu_gives_the_same_answers(tmp_path):
    path, image = saved(tmp_path, "unet"), IMAGE[:50, :75]
    np.testing.assert_allclose(load(path, device="cuda")(image), load(path)(image), atol=1e-4)


def test_a_device_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(InputError, match="device: 'gpu' is not allowed; allowed: cpu, cuda, auto"):
        load(saved(tmp_path, "unet"), device="gpu")


# -------------------------------------------------------------------- networks that know the noise


def test_a_conditioned_network_is_told_the_noise_that_is_given_or_estimated(tmp_path, told, caplog):
    denoise = load(saved(tmp_path, "told"))
    assert denoise.conditioned
    half, close = 0.5 * IMAGE[:5, :7], {"rtol": 0, "atol": 1e-6}
    given = denoise(IMAGE[:5, :7], gain=0.5, deviation=0.25)
    np.testing.assert_allclose(given, half + 0.25, **close)
    np.testing.assert_allclose(denoise(IMAGE[:5, :7]), half + 0.125, **close)
    assert caplog.text == ""
    told.found = SimpleNamespace(gain=0, deviation=0, fits=False, reasons=("it is", "grey"))
    with caplog.at_level(logging.WARNING):
        np.testing.assert_allclose(denoise(IMAGE[:5, :7]), half, **close)
    assert "the noise of an image is of another kind: it is; grey" in caplog.text


def test_the_workflow_estimates_the_noise_of_each_image(tmp_path, told):
    told.estimate_noise = lambda image: SimpleNamespace(
        gain=0.0, deviation=0.5 * image[0, 0], fits=True, reasons=()
    )
    images = np.stack([np.full((8, 8), grey) for grey in (1.0, 0.5)])
    found = load(saved(tmp_path, "told")).trained.estimates(CPU, images)
    np.testing.assert_array_equal(found, [np.full((8, 8), grey) for grey in (0, 0)])


ANY = {"learning_rate": 1e-3, "patch": 16, "gain": [0.01, 0.1], "deviation": [0.01, 0.2]}
PLUGIN = """
import torch
from torch import nn

SETTINGS: dict = {}
RECIPE = "supervised"
USES: list[str] = []
CONDITIONED = True

class Told(nn.Module):
    def __init__(self):
        super().__init__()
        self.share = nn.Parameter(torch.zeros(1))

    def forward(self, noisy, gain=0, deviation=0):
        return self.share * noisy + deviation

def build_network(settings, noise):
    return Told()
"""
ESTIMATION = """
from types import SimpleNamespace

def estimate_noise(image):
    return SimpleNamespace(gain=0.0, deviation=float(image.mean()), fits=True, reasons=())
"""


@pytest.mark.slow
def test_a_run_tells_a_conditioned_network_the_noise_or_estimates_it(project, monkeypatch):
    scripts, results = project.folder / "workflow/scripts", project.folder / "results/phantom"
    (scripts / "methods/told.py").write_text(PLUGIN)
    (scripts / "noise/estimation.py").write_text(ESTIMATION)
    noise = TWO_NOISES[0]
    models = "results/phantom/models/{noise}/told.pt"
    training = {"steps": 1, "batch": 2, "learning_rate": 1e-9, "threads": 1, "precision": "fp32"}
    given = {
        "told": {"training": training},
        "from_file": {"plugin": "told", "model": models, "trained_on": "phantom"},
    }
    given["unet_any"] = {"widths": [4, 4], "blocks": 1, "training": training | ANY}
    given["estimated"] = given["from_file"] | {"noise_level": "estimated"}
    given["wrong"] = given["from_file"] | {"noise_level": "other"}
    project.edit_config(lambda config: config["methods"].update(given))
    other = {"distribution": "gaussian", "factor": 0.3, "mean": 0, "std": 1}
    project.edit_config(lambda config: config["noise"].update(other=other))
    targets = [f"results/phantom/denoised/{noise}/{name}.npy" for name in ["autoencoder", *given]]
    project.succeed("--", *targets)
    trained = {path.stem for path in (results / f"models/{noise}").iterdir()}
    assert trained == {"autoencoder", "told", "unet_any"}, "the others use the file as it is"
    found = {name: np.load(results / f"denoised/{noise}/{name}.npy") for name in given}
    settings = yaml.safe_load((project.folder / "config.yaml").read_text())["noise"]
    for name, level in (("told", noise), ("from_file", noise), ("wrong", "other")):
        setting = settings[level]
        np.testing.assert_allclose(found[name], setting["factor"] * setting["std"], atol=1e-6)
    noisy = np.load(results / f"noisy/{noise}/test.npy")
    means = np.broadcast_to(noisy.mean((1, 2), keepdims=True), noisy.shape)
    np.testing.assert_allclose(found["estimated"], means, atol=1e-6)
    records = (
        results / f"provenance/apply_network/{noise}/{name}.json"
        for name in ["autoencoder", *given]
    )
    codes = [json.loads(record.read_text())["params"]["code"] for record in records]
    estimating = ["noise/estimation.py" in code for code in codes]
    expected = [name == "estimated" for name in ["autoencoder", *given]]
    assert estimating == expected, "told ones do not depend on the estimate"

    # What is kept of a run says which file a method was given, and what made that.
    monkeypatch.chdir(project.folder)
    # This process does not know the plug-in.
    monkeypatch.setattr(evidence, "method_schema", lambda *_: {"properties": {}})
    run, model = Path("results/phantom"), Path(models.format(noise=noise))
    made = made_in(run, {})
    own, from_file = made[f"{noise}/told"], made[f"{noise}/from_file"]
    assert own["made"][1] and own["settings"]["training"]["steps"] == 1
    assert all(from_file[key] == own[key] for key in ("settings", "made"))
    assert from_file["model"] == file_digest(model) and "model" not in own
    assert from_file["told"] == settings[noise] and made[f"{noise}/wrong"]["told"] == other
    made[f"{noise}/estimated"]["model"] = "another"
    with pytest.raises(SystemExit, match="estimated: its network or what it is told differs"):
        made_in(run, made)


def test_an_image_whose_noise_cannot_be_estimated_is_refused(tmp_path, told):
    def fails(image):
        raise InputError("the image is too small")

    told.estimate_noise = fails
    denoise = load(saved(tmp_path, "told"))
    with pytest.raises(InputError, match=r"too small\); give the network its gain and deviation"):
        denoise(IMAGE)
    assert denoise(IMAGE, gain=0.1, deviation=0).shape == IMAGE.shape


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ({"gain": 0.1}, "deviation: None is not allowed; give a number of 0 or more for both"),
        ({"deviation": 0.1}, "gain: None is not allowed"),
        ({"gain": -0.1, "deviation": 0.1}, "gain: -0.1 is not allowed"),
        ({"gain": 0.1, "deviation": np.nan}, "deviation: nan is not allowed"),
        ({"gain": "0.1", "deviation": 0.1}, "gain: '0.1' is not allowed"),
    ],
)
def test_noise_that_is_none_is_refused(tmp_path, levels, words):
    with pytest.raises(InputError, match=words):
        load(saved(tmp_path, "told"))(IMAGE, **levels)


def test_other_networks_are_not_told_the_noise(tmp_path):
    denoise = load(saved(tmp_path, "unet"))
    words = r"unet takes no gain and no deviation: .* one noise, .*'factor': 0\.2.*; leave them out"
    for levels in ({"gain": 0.1, "deviation": 0.1}, {"gain": 0.0}, {"deviation": 0.0}):
        with pytest.raises(InputError, match=words):
            denoise(IMAGE, **levels)


def test_only_networks_that_want_the_noise_depend_on_how_it_is_estimated():
    reached = digests.source_digests("apply_network.py", "methods/unet.py")
    assert "training/networks.py" in reached
    assert not {"noise/estimation.py", "files/models.py", "training/inference.py"} & set(reached)


# --------------------------------------------------------------------------------------- the files


class Evil:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:  # what unpickling runs
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_files_that_are_no_models_are_refused_in_words(tmp_path, name):
    path, trace = tmp_path / name, tmp_path / "ran"
    whole = saved(tmp_path, "unet").read_bytes()
    if path.suffix == ".safetensors":
        save_safetensors(path, model_of("unet"))
        whole = path.read_bytes()
    middle = len(whole) // 2
    writers = {
        "empty": lambda: path.write_bytes(b""),
        "text": lambda: path.write_text("no model, but a text that is long enough"),
        "array": lambda: np.save(path.open("wb"), IMAGE),
        "cut at the end": lambda: path.write_bytes(whole[:-1]),
        "cut": lambda: path.write_bytes(whole[:middle]),
        "altered": lambda: path.write_bytes(
            whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        ),
        "pickle": lambda: path.write_bytes(pickle.dumps(Evil(trace))),
        "pickle in an archive": lambda: torch.save({"plugin": Evil(trace)}, path),
    }
    for write in writers.values():
        write()
        with pytest.raises(InputError, match=rf"{name} can't be read"):
            load(path)
        assert not trace.exists()
    path.unlink()
    for _ in range(2):  # none, and then a folder
        with pytest.raises(InputError, match=f"{name}: there is no such file"):
            load(path)
        path.mkdir(exist_ok=True)


NAN = {"share": torch.tensor([np.nan])}


@pytest.mark.parametrize("kind", [save_tensors, save_safetensors])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"plugin": "median"}, "has no attribute 'build_network'"),
        ({"plugin": "nothing"}, "No module named 'methods.nothing'"),
        ({"settings": {}}, "no 'widths'"),
        ({"settings": SMALL | {"widths": [4]}}, r"Error\(s\) in loading state_dict"),
        ({"weights": {}}, "Missing key"),
        ({"noise": {"distribution": "gaussian"}}, "missing 3 required keyword-only arguments"),
        ({"plugin": "told", "weights": NAN}, "some of its weights are no numbers"),
    ],
)
def test_models_that_do_not_fit_are_refused_in_words(tmp_path, kind, changes, words):
    path = tmp_path / {save_tensors: "m.pt", save_safetensors: "m.safetensors"}[kind]
    kind(path, model_of("unet", changes=changes))
    with pytest.raises(InputError, match=rf"{path.name} holds no model of this workflow .*{words}"):
        load(path)


def test_a_checkpoint_is_no_model(tmp_path):
    save_tensors(tmp_path / "c.pt", {"network": model_of("unet")["weights"], "progressed": {}})
    with pytest.raises(InputError, match=r"c\.pt holds no model of this workflow \(no 'plugin'\)$"):
        load(tmp_path / "c.pt")


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (None, "its metadata says nothing of it"),
        ({"format": "pt"}, "its metadata says nothing of it"),
        ({"denoiser": "unet"}, "its metadata is damaged"),
        ({"denoiser": "[]"}, "its metadata is damaged"),
        ({"denoiser": '{"format": 1}'}, "its metadata is damaged"),
        ({"denoiser": '{"format": 2}'}, "was written by a newer version: update this project"),
        ({"denoiser": '{"format": 1, "about": {}, "sha256": "0"}'}, "the checksum of its content"),
    ],
)
def test_foreign_safetensors_are_refused_in_words(tmp_path, metadata, words):
    path = tmp_path / "foreign.safetensors"
    safetensors.torch.save_file({"layer": torch.zeros(3)}, path, metadata)
    with pytest.raises(InputError, match=rf"foreign\.safetensors .*{words}"):
        load(path)


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("plugin", ["dncnn", "unet"])
def test_safetensors_hold_the_model(tmp_path, plugin, half):
    model, path = model_of(plugin) | {"trained_on": "phantom"}, tmp_path / "m.safetensors"
    save_safetensors(path, model, half=half)
    first = path.read_bytes()
    save_safetensors(path, dict(reversed(model.items())) | {"plugin": plugin}, half=half)
    found = load_safetensors(path)
    assert {k: v for k, v in found.items() if k != "weights"} == {
        k: v for k, v in model.items() if k != "weights"
    }
    for name, value in model["weights"].items():
        stored = value.half() if half and value.is_floating_point() else value
        assert found["weights"][name].dtype == stored.dtype
        assert torch.equal(found["weights"][name], stored)
    assert len(first) == len(path.read_bytes())
    assert [file.name for file in tmp_path.iterdir()] == ["m.safetensors"]
    change = load(path)(IMAGE) - load(saved(tmp_path, plugin))(IMAGE)
    assert np.abs(change).max() < 2e-3
    assert change.any() == half


def test_the_same_model_is_the_same_file(tmp_path):
    paths = [tmp_path / f"{number}.safetensors" for number in range(2)]
    for path in paths:
        save_safetensors(path, model_of("unet"))
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_weights_that_half_precision_cannot_hold_are_refused_and_replace_nothing(tmp_path):
    path, large = tmp_path / "m.safetensors", {"weights": {"share": torch.tensor([7e4])}}
    save_safetensors(path, model_of("told"))
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"weights of share are too large .* with half=False"):
        save_safetensors(path, model_of("told", changes=large))
    assert path.read_bytes() == before
    save_safetensors(path, model_of("told", changes=large), half=False)
    assert load_model(path)["weights"]["share"].item() == 7e4


def test_a_packed_network_has_a_card(tmp_path, monkeypatch, capsys):
    source, packed = saved(tmp_path, "unet", POISSON), tmp_path / "mine.safetensors"
    monkeypatch.setattr("sys.argv", ["release.py", str(source), str(packed)])
    release_main()
    card = (tmp_path / "mine.md").read_text()
    assert capsys.readouterr().out == f"{card}\n"
    rows = dict(re.findall(r"^\| (.*?) \| (.*?) \|$", card, re.MULTILINE))
    assert {"settings: widths": "[4, 8]", "noise: lambda": "1"}.items() <= rows.items()
    assert rows["cost: training images"] == "100"
    assert rows["precision of the weights"] == "half"
    assert rows["SHA-256"] in subprocess.check_output(["sha256sum", packed], text=True)
    assert 0 < float(rows["largest change of a grey level by it"]) < 2e-3
    assert f'denoise = load("{packed}")' in card
    assert load(packed).noise == POISSON
    assert "| largest change of a grey level by it | 0 |" in released(source, packed, half=False)


def test_a_card_has_the_tables_that_it_is_given(tmp_path):
    page = tmp_path / "methods.md"
    page.write_text("# All methods\n\n## SSIM\n\n| a |\n|---|\n| 1 |\n\n## Cost\n\nmuch\n")
    card = released(saved(tmp_path, "unet"), tmp_path / "m.safetensors", scores=[f"{page}#SSIM"])
    assert card.endswith("medical device.\n\n**All methods**\n\n| a |\n|---|\n| 1 |\n")


def test_a_network_that_is_trained_again_is_the_same_file(tmp_path):
    """Though its training, whose weights are the same to the bit, took another time."""
    files = []
    for seconds in (1.5, 2.5):
        cost = {"cost": {"parameters": 7, "training_images": 100, "training_seconds": seconds}}
        folder = tmp_path / str(seconds)
        folder.mkdir()
        released(saved(folder, "unet", changes=cost), folder / "m.safetensors")
        files.append((folder / "m.safetensors").read_bytes())
    assert files[0] == files[1]


def test_a_card_has_a_name_of_its_own(tmp_path):
    source = saved(tmp_path, "unet")
    before = source.read_bytes()
    with pytest.raises(InputError, match=r"unet\.pt: give a name that ends with \.safetensors"):
        released(source, source)
    assert source.read_bytes() == before
