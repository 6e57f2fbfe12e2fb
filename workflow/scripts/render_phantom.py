"""Render lateral cephalograms of invented subjects from a digital phantom.

Each structure adds its thickness along the ray, in centimetres, to a map of its material;
Beer-Lambert turns the maps into exposure, and the film's characteristic curve turns exposure into
grey (bone is bright, air is dark).
"""

from collections.abc import Iterator
from functools import partial

import numpy as np

from engine.job import Snakemake, check_code, run
from engine.messages import Progress
from files.arrays import write_images
from files.pools import each
from files.tables import write_table
from noise.seeds import generator
from phantom.anatomy import add_head
from phantom.cephalostat import add_cephalostat
from phantom.exposure import expose
from phantom.rays import Array, Rays
from phantom.subject import draw_subject


def render(subject: int, size: int, seed: int, variety: float = 1) -> Array:
    """Return the cephalogram (size, size) of one subject, in [0, 1].

    Args:
        subject: Number of the subject, from 1.
        size: Pixels on each side; the film's 193.5 mm x 240 mm are squeezed into a square.
        seed: The configuration's seed. The image depends on these four numbers alone.
        variety: How much subjects differ; 1 is as people do.
    """
    rng = generator(seed, "phantom", subject)
    person = draw_subject(rng, variety)
    fine = max(2, -(-256 // size))
    rays = Rays(size * fine)
    add_head(rays, person, rng)
    add_cephalostat(rays, person)
    rays.displace()
    return expose(rays, person).reshape(size, fine, size, fine).mean(axis=(1, 3))


def render_all(
    subjects: int, size: int, seed: int, threads: int, variety: float = 1
) -> Iterator[Array]:
    """Yield the cephalograms (size, size) of subjects 1, 2, ..., in [0, 1]."""
    progress = Progress("phantom", subjects)
    one = partial(render, size=size, seed=seed, variety=variety)
    for image in each(one, range(1, subjects + 1), threads):
        yield image
        progress.advance()


def main(snakemake: Snakemake) -> None:
    """Render the subjects and write the images and their ids."""
    params, threads = snakemake.params, snakemake.threads
    subjects, size = params.subjects, params.size
    images = render_all(subjects, size, params.seed, threads, params.variety)
    write_images(snakemake.output.images, (subjects, size, size), np.float64, images)
    check_code(params.code)  # which the processes of a pool have imported by themselves
    write_table(snakemake.output.ids, ({"id": f"{n:03d}"} for n in range(1, subjects + 1)))


if __name__ == "__main__":
    run(main)
