"""Release a trained network as one small file that can run no code, with a card beside it.

MODEL is what a run saved, results/RUN/models/NOISE/METHOD.pt, or a .safetensors file. OUT gets the
weights in half precision. The card, OUT with the suffix .md, says what the file holds, what it is
for, how much half precision changes the answers, and the scores in tables that the workflow made.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from engine.messages import InputError
from files.atomic import file_digest, write_text
from files.models import load_model, save_safetensors
from noise.seeds import generator
from paste import table
from training.inference import Denoiser, load

TRIED = 128  # pixels, of the image on which both precisions are compared
CARD = """# {name}

A trained network of `{plugin}`, in the file `{file}`.
`workflow/tools/release.py` wrote both the file and this card.

| what | value |
|---|---|
{rows}

```python
from training.inference import load

denoise = load("{path}")
clean = denoise(noisy)
```

The page `docs/models.md` says how to use it, and where its limits are. It was trained on the
noise above, or on the range of gain and deviation above if there is one. On other noise, and on
other images than those it was trained on, it may answer with what is not there. It is not a
medical device.
{scores}"""


def released(model: Path, packed: Path, half: bool = True, scores: Sequence[str] = ()) -> str:
    """Write a model as safetensors, and its card beside it; return the card.

    Args:
        model: See above.
        packed: The file to write.
        half: Whether the weights are written in half precision.
        scores: Tables of its scores, each a page, or PAGE#HEADING for what is under a heading.

    Raises:
        InputError: When there is no such model, or it does not fit into half precision.
    """
    if packed.suffix != ".safetensors":
        raise InputError(f"{packed}: give a name that ends with .safetensors")
    before, content = load(model), load_model(model)
    content["cost"].pop("training_seconds", None)  # so that the same network is the same file
    save_safetensors(packed, content, half)
    about = {key: value for key, value in content.items() if key != "weights"}
    values = {
        "size": f"{packed.stat().st_size / 1e6:.2f} MB",
        "SHA-256": file_digest(packed),
        "precision of the weights": "half" if half else "as trained",
        "largest change of a grey level by it": f"{largest_change(before, load(packed)):.1g}",
        **dict(flat(about)),
    }
    rows = "\n".join(f"| {key} | {value} |" for key, value in values.items())
    names = {"name": packed.stem, "file": packed.name, "path": packed.as_posix()}
    tables = "".join(f"\n{table(Path(page))}\n" for page in scores)
    card = CARD.format(plugin=content["plugin"], rows=rows, scores=tables, **names)
    write_text(packed.with_suffix(".md"), card)
    return card


def flat(values: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value in nested mappings, with the keys that lead to it."""
    for key, value in values.items():
        name = f"{place}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from flat(value, f"{name}: ")
        else:
            yield name, f"{value:.6g}" if isinstance(value, float) else value


def largest_change(before: Denoiser, after: Denoiser) -> float:
    """Return by how much two networks differ at most, on a noisy ramp from black to white."""
    noise = generator(0, "release").normal(0, 0.1, (TRIED, TRIED))
    noisy = np.clip(np.linspace(0, 1, TRIED) + noise, 0, 1)
    gain, deviation = before.trained.strongest
    told = {"gain": gain / 2, "deviation": deviation / 2} if before.conditioned else {}
    return float(np.abs(before(noisy, **told) - after(noisy, **told)).max())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a .pt or .safetensors file")
    parser.add_argument("packed", type=Path, metavar="OUT", help="the .safetensors file to write")
    parser.add_argument("--full", action="store_true", help="keep single precision")
    parser.add_argument(
        "--scores", nargs="+", default=[], metavar="PAGE#HEADING", help="tables for the card"
    )
    arguments = parser.parse_args()
    try:
        half, scores = not arguments.full, arguments.scores
        print(released(arguments.model, arguments.packed, half, scores))
    except (InputError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
