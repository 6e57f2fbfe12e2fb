"""Make the manifest by which copies of a data set are verified, from a folder of its images."""

import argparse
import csv
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from files.atomic import file_digest, replacing
from images.films import fingerprint
from images.reading import SUFFIXES


def make_manifest(folder: Path, manifest: Path) -> int:
    """Write a CSV file, one row for each image of `folder`, and return how many there are.

    Its columns are `id` (the image's name), `sha256` and `fingerprint`.

    Raises:
        InputError: An image cannot be read; its message names it.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    with replacing(manifest) as temporary, temporary.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["id", "sha256", "fingerprint"])
        table.writerows([path.stem, file_digest(path), fingerprint(path)] for path in paths)
    return len(paths)


def main() -> None:
    """Read the command line and write the manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of images, each named after its id")
    parser.add_argument("manifest", type=Path, help="CSV file to write")
    arguments = parser.parse_args()
    count = make_manifest(arguments.folder, arguments.manifest)
    print(f"{arguments.manifest}: {count} images")


if __name__ == "__main__":
    main()
