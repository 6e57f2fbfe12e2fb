"""Scores each test image of one method against the ground truth."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from common.files import replacing
from common.job import InputError, run
from common.split import ids_of

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def scores(clean: np.ndarray, images: np.ndarray) -> pd.DataFrame:
    """Return the structural similarity and the peak signal-to-noise ratio of each image.

    The similarity is scikit-image's, with the published settings: its defaults (a uniform window
    of 7 x 7 pixels, sample covariance, borders cropped) and a data range of 1.

    Args:
        clean: Ground truth, shape (N, H, W), values in [0, 1].
        images: Noisy or denoised images, of the same shape.

    Returns:
        One line an image, columns `ssim` and `psnr` (in dB).

    Raises:
        InputError: When the shapes differ, or a pixel is not a finite number.
    """
    if clean.shape != images.shape:
        raise InputError(f"shapes differ: ground truth {clean.shape}, images {images.shape}")
    if not np.isfinite(images).all():
        bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2)))
        raise InputError(f"pixels that are not finite numbers in the denoised images number {bad}")
    return pd.DataFrame(
        [
            {
                "ssim": structural_similarity(truth, image, data_range=1),
                "psnr": peak_signal_noise_ratio(truth, image, data_range=1),
            }
            for truth, image in zip(clean, images, strict=True)
        ]
    )


def main(snakemake: "snakemake") -> None:
    table = scores(np.load(snakemake.input.clean), np.load(snakemake.input.images))
    table.insert(0, "noise", snakemake.wildcards.noise)
    table.insert(1, "method", snakemake.wildcards.method)
    table.insert(2, "image", ids_of("test", snakemake.input.split))
    with replacing(snakemake.output.scores) as path:
        table.to_csv(path, index=False)


if __name__ == "__main__":
    run(main, snakemake)
