"""The U-Net trained without clean images, on two noisy exposures of each subject (Noise2Noise)."""

from methods.unet import IMAGE_SIZE_MULTIPLE as IMAGE_SIZE_MULTIPLE
from methods.unet import SETTINGS as SETTINGS
from methods.unet import build_network as build_network

RECIPE = "noise2noise"
USES = ["noise model"]
