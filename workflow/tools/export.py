"""Export a trained network as an ONNX file, for programs that have no PyTorch.

MODEL is what a run saved, results/RUN/models/NOISE/METHOD.pt, or a .safetensors file. The graph has
the input `noisy` and the output `clean`: float32, shape (N, 1, height, width), values in [0, 1], of
any size, since padding, cropping and clipping are in the graph. A network that is told the noise
has the inputs `gain` and `deviation` as well, of shape (N, 1, 1, 1).

OUT.onnx is written only if onnxruntime gives the answers of PyTorch to 1e-4 at several sizes. The
packages that this needs are in requirements-onnx.txt.
"""

import argparse
import io
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from engine.messages import InputError
from files.atomic import replacing
from noise.seeds import generator
from training.inference import Denoiser, load

TOLERANCE = 1e-4  # grey levels
SIZES = [(64, 64), (45, 83), (96, 31), (3, 7)]  # at which the file is tried


class AnySize(nn.Module):
    """A network with the padding, cropping and clipping of `training.inference`.

    Takes and returns tensors of shape (N, 1, H, W).
    """

    def __init__(self, network: nn.Module, multiple: int) -> None:
        super().__init__()
        self.network, self.multiple = network, multiple

    def forward(self, noisy: Tensor, *levels: Tensor) -> Tensor:
        height, width = noisy.shape[-2:]
        padded = noisy.index_select(-2, reflected(height, self.multiple))
        padded = padded.index_select(-1, reflected(width, self.multiple))
        return self.network(padded, *levels)[..., :height, :width].clamp(0, 1)


def reflected(length: int | Tensor, multiple: int) -> Tensor:
    """Return places in a row of pixels: 0, 1, ... and back, up to the next multiple.

    As `np.pad(..., mode="reflect")`, in operations that a graph can hold, since `length` may change
    after the export; ONNX's own padding can't reflect more pixels than there are.
    """
    length = torch.as_tensor(length)
    last = length - 1
    places = torch.arange(length + -length % multiple) % (2 * last).clamp(min=1)
    return last - (places - last).abs()


def exported(denoise: Denoiser) -> bytes:
    """Return a network as the content of an ONNX file, which says what it was trained for.

    Raises:
        InputError: When the network can't be exported.
    """
    import onnx

    plugin, trained = denoise.plugin, denoise.trained
    levels = levels_of(denoise)
    names = list(levels)
    example = [torch.rand(2, 1, 35, 50), *(torch.full((2, 1, 1, 1), v) for v in levels.values())]
    axes = {name: {0: "N"} for name in names}
    axes |= {name: {0: "N", 2: "height", 3: "width"} for name in ("noisy", "clean")}
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # that sizes are traced, and that there is a newer way
            torch.onnx.export(
                AnySize(trained.network, trained.multiple).eval(),
                tuple(example),
                buffer,
                dynamo=False,  # the newer way needs further packages
                input_names=["noisy", *names],
                output_names=["clean"],
                dynamic_axes=axes,
            )
    except Exception as error:  # of networks of any kind
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"a network of {plugin} can't be exported ({reason})") from error
    model = onnx.load_model_from_string(buffer.getvalue())
    about = {"plugin": plugin, "settings": trained.settings, "noise": trained.noise}
    if levels:  # beyond which the graph, unlike `load`, refuses nothing
        about["strongest noise"] = dict(zip(levels, trained.strongest, strict=True))
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in about.items()})
    return model.SerializeToString()


def levels_of(denoise: Denoiser) -> dict[str, float]:
    """Return the noise with which a network is tried, if it is told one."""
    names = ("gain", "deviation") if denoise.conditioned else ()
    return {n: v / 2 for n, v in zip(names, denoise.trained.strongest, strict=False)}


def largest_difference(denoise: Denoiser, content: bytes) -> float:
    """Return by how much onnxruntime and PyTorch differ at most, in images of `SIZES`.

    Raises:
        InputError: When the graph can't be run at one of these sizes.
    """
    import onnxruntime

    levels = levels_of(denoise)
    told = {name: np.full((1, 1, 1, 1), value, np.float32) for name, value in levels.items()}
    found = []
    for size in SIZES:
        image = generator(0, "export", *size).random(size).astype(np.float32)
        try:
            session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
            (clean,) = session.run(["clean"], {"noisy": image[None, None], **told})
        except Exception as error:  # of a graph that holds the size of the example, say
            reason = str(error).strip().partition("\n")[0]
            fault = f"a network of {denoise.plugin} can't be exported"
            raise InputError(f"{fault}: it fails at {size} pixels ({reason})") from error
        found.append(np.abs(clean[0, 0] - denoise(image, **levels)).max())
    return max(found)


def export(model: Path, onnx_file: Path) -> float:
    """Write the network of a model's file as ONNX; return how far its answers are at most.

    Raises:
        InputError: When there is no such network, or it can't be exported.
    """
    if onnx_file.suffix != ".onnx":
        raise InputError(f"{onnx_file}: give a name that ends with .onnx")
    denoise = load(model)
    try:
        content = exported(denoise)
        difference = largest_difference(denoise, content)
    except ImportError as error:
        remedy = "install the packages for ONNX with: pip install -r requirements-onnx.txt"
        raise InputError(f"{error}; {remedy}") from error
    if not difference <= TOLERANCE:
        fault = f"a network of {denoise.plugin} can't be exported"
        raise InputError(f"{fault}: in onnxruntime its answers differ by {difference:.2g}")
    with replacing(onnx_file) as temporary:
        temporary.write_bytes(content)
    return difference


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a .pt or .safetensors file")
    parser.add_argument("onnx", type=Path, metavar="OUT.onnx", help="the file to write")
    arguments = parser.parse_args()
    try:
        difference = export(arguments.model, arguments.onnx)
    except InputError as error:
        sys.exit(str(error))
    print(f"{arguments.onnx}: its answers differ from PyTorch's by {difference:.1g} at most")


if __name__ == "__main__":
    main()
