"""How similar images are to the ground truth; imports little, since each score job pays for it."""

import numpy as np
from skimage.metrics import structural_similarity

from engine.messages import InputError
from files.arrays import StoredImages

Images = np.ndarray | StoredImages


def scores(clean: Images, images: Images) -> dict[str, np.ndarray]:
    """Return the structural similarity and the peak signal-to-noise ratio of each image.

    The similarity is scikit-image's, with the published settings: its defaults (a uniform window
    of 7 x 7 pixels, sample covariance, borders cropped) and a data range of 1.

    Args:
        clean: Ground truth, shape (N, H, W), values in [0, 1].
        images: Noisy or denoised images, of the same shape.

    Returns:
        `ssim` and `psnr` (in dB), each of shape (N,).

    Raises:
        InputError: When the shapes differ, or a pixel is not a finite number.
    """
    if clean.shape != images.shape:
        raise InputError(f"shapes differ: ground truth {clean.shape}, images {images.shape}")
    ssim, psnr, bad = [], [], []
    for index, (truth, image) in enumerate(zip(clean, images, strict=True)):
        if np.isfinite(image).all():
            ssim.append(structural_similarity(truth, image, data_range=1))
            psnr.append(signal_to_noise(truth, image))
        else:
            bad.append(index)
    if bad:
        raise InputError(f"pixels that are not finite numbers in the denoised images number {bad}")
    return {"ssim": np.array(ssim), "psnr": np.array(psnr)}


def variance_between(images: Images) -> float:
    """Return the variance of a pixel from image to image, the mean over all pixels.

    It is exactly 0 if all images are the same. One image after the other is read.
    """
    first = next(iter(images))
    total, squares = np.zeros(first.shape), 0.0
    for image in images:
        difference = image - first
        total += difference
        squares += np.mean(difference**2)
    return float(squares / len(images) - np.mean((total / len(images)) ** 2))


def signal_to_noise(truth: np.ndarray, image: np.ndarray) -> float:
    """Return what `skimage.metrics.peak_signal_noise_ratio` does with a data range of 1, in dB.

    That one's module imports scipy.stats, which takes longer than scoring all test images.
    """
    error = np.mean((truth - image) ** 2, dtype=np.float64)
    return 10 * np.log10(1 / error) if error else np.inf
