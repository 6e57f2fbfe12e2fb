"""Write noisy films of the digital phantom into FOLDER, to try `make denoise` on.

The pictures of docs/own-images.md are the sheets of such films: --pictures copies them there.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import uniform_filter
from skimage.transform import resize

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from distributions import poisson_gaussian
from files.atomic import replacing
from noise.seeds import generator
from render_phantom import render

DOCS = Path(__file__).resolve().parents[2] / "docs"
SUBJECT, SEED = 5, 2015
SIDE = 1280  # pixels of what is rendered, which is as high and as wide
WIDTH, ROWS = 1032, slice(560, 1100)  # of the film: the skull's base, the teeth and the neck
DOSE, ELECTRONIC = 100, 0.01
WHITE = 65535
STEP = 5  # of the grey levels of a picture in the documentation, or it would be too large


def films() -> dict[str, np.ndarray]:
    """Return films (540, 1032) in [0, 1] by file name: one with noise, one smoothed after that."""
    clean = resize(render(SUBJECT, SIDE, SEED), (SIDE, WIDTH), anti_aliasing=True)[ROWS]
    rng = generator(SEED, "films")
    noisy = poisson_gaussian.draw(clean, rng, dose=DOSE, electronic=ELECTRONIC)
    return {"head.png": noisy.clip(0, 1), "smoothed.png": uniform_filter(noisy, 3).clip(0, 1)}


def write_film(path: Path, film: np.ndarray) -> None:
    """Write a film (h, w) in [0, 1] as PNG of 16 bits."""
    with replacing(path) as new:
        Image.fromarray((WHITE * film).round().astype(np.uint16)).save(new)


def copy_picture(sheet: Path, picture: Path) -> None:
    """Copy a sheet to the documentation, with fewer greys."""
    with Image.open(sheet) as image, replacing(picture) as new:
        image.point(lambda grey: round(grey / STEP) * STEP).save(new, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where to write the films")
    parser.add_argument(
        "--pictures",
        nargs=2,
        type=Path,
        metavar=("OUT", "WRONG"),
        help="write no films, but copy the sheet of head.png to docs/: from OUT that of the noise "
        "that it has, from WRONG that of four times its variance",
    )
    arguments = parser.parse_args()
    if arguments.pictures:
        for out, name in zip(arguments.pictures, ("sheet.png", "sheet_wrong.png"), strict=True):
            copy_picture(out / "sheets/head.png.png", DOCS / name)
    else:
        for name, film in films().items():
            write_film(arguments.folder / name, film)


if __name__ == "__main__":
    main()
