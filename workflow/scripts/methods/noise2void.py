"""The U-Net trained without clean images, on one noisy exposure of each subject (Noise2Void)."""

from methods.unet import IMAGE_SIZE_MULTIPLE, SETTINGS, build_network  # noqa: F401

RECIPE = "noise2void"
USES = ["noise model"]
