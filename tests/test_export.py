"""Trained networks as ONNX files."""

import json
import sys
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from engine.messages import InputError
from export import TOLERANCE, export
from export import main as export_main
from files.models import save_safetensors
from files.tensors import save_tensors
from methods import unet_any, unet_lattice
from noise.seeds import generator
from test_denoisers import GAUSSIAN, POISSON
from test_inference import CASES, SMALL, model_of, saved, told  # noqa: F401
from training.inference import load

SIZES = [(32, 48), (33, 47), (2, 5)]


def run(path, image, **levels):
    """Return what onnxruntime makes of images of shape (N, H, W)."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = {k: np.full((len(image), 1, 1, 1), v, np.float32) for k, v in levels.items()}
    (clean,) = session.run(None, {"noisy": image[:, None].astype(np.float32), **given})
    return clean[:, 0]


DETECTOR = {"distribution": "poisson_gaussian", "dose": 50, "electronic": 0.1}
EXPORTED = ["autoencoder", "dncnn", "told", "unet", "unet_any", "unet_lattice"]


@pytest.mark.parametrize(
    ("plugin", "settings"),
    [
        *((plugin, SMALL) for plugin in EXPORTED),
        ("unet_any", SMALL | {"conditioning": "stabilised"}),
    ],
)
def test_an_exported_network_answers_as_the_loaded_one_at_any_size(
    tmp_path, monkeypatch, plugin, settings
):
    noise = {"unet_lattice": POISSON, "unet_any": DETECTOR}.get(plugin, GAUSSIAN)
    monkeypatch.setitem(CASES, "unet_lattice", (unet_lattice, SMALL))
    monkeypatch.setitem(CASES, "unet_any", (unet_any, settings))
    source, path = saved(tmp_path, plugin, noise), tmp_path / f"{plugin}.onnx"
    assert export(source, path) <= TOLERANCE
    levels = {"gain": 0.01, "deviation": 0.2} if plugin in ("told", "unet_any") else {}
    denoise = load(source)
    for size in SIZES:
        images = generator(2, "onnx", *size).random((2, *size))
        expected = np.stack([denoise(image, **levels) for image in images])
        np.testing.assert_allclose(run(path, images, **levels), expected, rtol=0, atol=1e-4)
    assert expected.std() > 0.01
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    about = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    strongest = {"strongest noise": {"gain": 1, "deviation": 1}} if levels else {}
    assert about == {"plugin": plugin, "settings": denoise.settings, "noise": noise} | strongest
    assert [each.name for each in model.graph.input] == ["noisy", *levels]
    assert not list(tmp_path.glob(".*"))


def test_safetensors_are_exported(tmp_path, monkeypatch, capsys):
    source, path = tmp_path / "m.safetensors", tmp_path / "m.onnx"
    save_safetensors(source, model_of("unet"))
    monkeypatch.setattr("sys.argv", ["export.py", str(source), str(path)])
    export_main()
    assert capsys.readouterr().out.startswith(f"{path}: its answers differ from PyTorch's by ")
    image = generator(2, "onnx").random((20, 21))
    np.testing.assert_allclose(run(path, image[None])[0], load(source)(image), rtol=0, atol=1e-4)


class Fixed(nn.Module):
    """What can't be a graph: this depends on the image in Python, or holds the example's size."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.share = kind, nn.Parameter(torch.tensor([0.5]))

    def forward(self, noisy):
        if self.kind == "branch":
            return (
                self.share * noisy if float(noisy[0, 0, 0, 0]) > 2 else noisy * float(noisy.sum())
            )
        if self.kind == "size":
            return self.share * noisy + torch.zeros(tuple(map(int, noisy.shape)))
        return torch.linalg.eigvals(noisy @ noisy.transpose(-2, -1)).real.sum() + noisy


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("branch", r"in onnxruntime its answers differ by 0\.\d+"),
        ("size", "it fails at "),
        ("operation", r"operator 'aten::linalg_eigvals"),
    ],
)
def test_a_network_that_cannot_be_exported_is_refused_in_words(
    tmp_path, monkeypatch, capsys, kind, words
):
    plugin = ModuleType("methods.fixed")
    plugin.RECIPE, plugin.build_network = "supervised", lambda *_: Fixed(kind)
    monkeypatch.setitem(sys.modules, "methods.fixed", plugin)
    model = {"plugin": "fixed", "settings": {}, "noise": GAUSSIAN, "cost": {}}
    save_tensors(tmp_path / "m.pt", model | {"weights": Fixed(kind).state_dict()})
    path = tmp_path / "m.onnx"
    path.write_text("before")
    with pytest.raises(InputError, match=f"a network of fixed can't be exported.*{words}"):
        export(tmp_path / "m.pt", path)
    assert path.read_text() == "before"


def test_what_is_not_exported_says_why(tmp_path, monkeypatch):
    path = tmp_path / "m.onnx"
    source = saved(tmp_path, "unet")
    with pytest.raises(InputError, match=r"unet\.pt: give a name that ends with \.onnx"):
        export(source, source)
    monkeypatch.setitem(sys.modules, "onnx", None)  # as if it were not installed
    monkeypatch.setattr("sys.argv", ["export.py", str(source), str(path)])
    with pytest.raises(SystemExit, match=r"pip install -r requirements-onnx\.txt"):
        export_main()
    assert not path.exists()
