"""The U-Net trained without clean images, on one noisy exposure of each subject (Noise2Void).

As published: it is told nothing of the noise, and answers with what it learned, see `noise2noise`.
"""

from methods.noise2noise import IMAGE_SIZE_MULTIPLE, SETTINGS, build_network  # noqa: F401

RECIPE = "noise2void"
USES: list[str] = []
