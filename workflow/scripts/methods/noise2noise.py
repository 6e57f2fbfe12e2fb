"""The U-Net trained without clean images, on two noisy exposures of each subject (Noise2Noise)."""

from methods.unet import IMAGE_SIZE_MULTIPLE, SETTINGS, build_network  # noqa: F401

RECIPE = "noise2noise"
USES = ["noise model"]
