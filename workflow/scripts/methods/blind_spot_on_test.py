"""`blind_spot` that learns from the very noisy images that it is to denoise, as a clinic could.

It sees no clean image. But all others have not seen the images that test them, so it can't be
compared with them.
"""

from methods.blind_spot import IMAGE_SIZE_MULTIPLE, SETTINGS, build_network  # noqa: F401

RECIPE = "blind_spot_on_test"
USES = ["noise model"]
CAVEAT = (
    "learned from the noisy test images themselves, without clean ones, as a clinic could. All "
    "other methods have not seen the images that test them."
)
