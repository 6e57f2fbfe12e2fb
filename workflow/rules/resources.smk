"""What a job may take on a cluster; the next attempt may take more.

A training that has used up its time resumes. More than a partition allows would never start, so
hours are not asked for lightly.
"""


def megabytes(wildcards, attempt):
    """Return the memory of a job: Python, torch, and a hundred images several times."""
    return attempt * math.ceil(2000 + 0.005 * config["image_size"] ** 2)


def minutes(a_megabyte=0, a_pixel=0):
    """Return a function that gives the time of a job, of its input and of one image's pixels."""
    size = config["image_size"] ** 2
    return lambda wildcards, input, attempt: (
        attempt * math.ceil(15 + a_megabyte * input.size_mb + a_pixel * size)
    )


def rendering_minutes(wildcards, attempt):
    """Return the time of a rendering: 15, and 18 microseconds for each pixel of its images."""
    subjects = config["datasets"][wildcards.dataset]["subjects"]
    pixels = subjects * int(wildcards.size) ** 2
    return attempt * math.ceil(15 + 3e-7 * pixels)


def batch_pixels(wildcards):
    batch = method_settings(wildcards)["training"]["batch"]
    return batch * config["image_size"] ** 2


def training_megabytes(wildcards, input, attempt):
    """Return the memory of a training: its images, up to 8 GB, and 4 kB a pixel of a batch."""
    images = 1.2 * min(8000, input.size_mb) + 0.004 * batch_pixels(wildcards)
    return attempt * math.ceil(images) + megabytes(wildcards, attempt)


def training_minutes(wildcards):
    """Return the time of a training: 20 microseconds for each pixel that it sees, 1 on a GPU."""
    steps = method_settings(wildcards)["training"]["steps"]
    seconds = steps * batch_pixels(wildcards) * (1e-6 if GPUS else 20e-6)
    return math.ceil(15 + seconds / 60)


def examining_megabytes(wildcards, input, attempt):
    """Return the memory to examine a film: what it may have unpacked to, up to 200 megapixels."""
    return attempt * math.ceil(1000 + min(6000, 200 * input.size_mb))


def film_megapixels(input):
    """Return the size of an examined film."""
    record = read_json(input.noise)
    return record["height"] * record["width"] / 1e6


def denoising_megabytes(wildcards, input, attempt):
    """Return the memory to denoise a film: of larger ones, strips are in memory at a time."""
    return attempt * math.ceil(2000 + 30 * min(200, film_megapixels(input)))


def denoising_minutes(wildcards, input, attempt):
    """Return the time to denoise a film: 20 seconds a megapixel, as for the slowest method."""
    return attempt * math.ceil(15 + film_megapixels(input) / 3)


def film_threads(wildcards):
    """Return how many threads denoise a film: one, if there are films for all others."""
    return max(1, (workflow.resource_settings.cores or 1) // len(FILMS))
