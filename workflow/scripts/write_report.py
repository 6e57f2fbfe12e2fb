"""Writes a run as one page to mail, which needs no other file, and its tables as LaTeX."""

import ast
import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import itables.options
import numpy as np
import pandas as pd
import yaml
from markupsafe import Markup
from PIL import Image

from engine.job import Snakemake, run
from engine.messages import InputError
from engine.plugins import SCRIPTS
from files.arrays import StoredImages
from files.tables import ids_of
from results import jobs, reading, wording
from results import report_tables as tables
from results.answer import NETWORK, answer, winners
from results.pages import write_texts
from results.report_tables import Cell, Table, number
from results.templates import filled
from results.wording import MISSING, Texts

LIMIT = 10_000_000  # bytes of the page
BESIDES = 1_500_000  # of these for text and the library; figures have what pictures leave
ROWS = 600  # of the table of test images, at most
PRETTY = {"sort_keys": False, "allow_unicode": True, "default_flow_style": None, "width": 100}
SIDE, QUALITY, FIGURE_QUALITY = 64, 50, 75  # pixels of a picture; of WebP, up to 100


def shown_images(count: int, settings: int) -> list[int]:
    """Return which of `count` test images the page shows, spread evenly, at most `ROWS` rows."""
    most = max(1, min(count, ROWS // max(1, settings)))
    return np.linspace(0, count - 1, most).round().astype(int).tolist()


def pictures(path: str, indices: Iterable[int]) -> list[str]:
    """Return images of a file, values in [0, 1], as the addresses of small pictures."""
    stored = StoredImages(path)
    return [picture(stored.read(index, 1)[0]) for index in indices]


def picture(image: np.ndarray) -> str:
    """Return an image, shape (H, W), as the address of a picture of 64 x 64 pixels."""
    grey = (255 * image.clip(0, 1)).round().astype(np.uint8)
    small = Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BOX)
    return address("image/webp", webp(small, QUALITY))


def webp(image: Image.Image, quality: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "webp", quality=quality)
    return stream.getvalue()


def address(kind: str, content: bytes) -> str:
    """Return an address that holds the content itself."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def images_table(
    scores: pd.DataFrame,
    best: Mapping[str, Sequence[str]],
    labels: Texts,
    names: Sequence[str],
    clean: str,
    files: Mapping[tuple[str, str], str],
    signs: Mapping[tuple[str, str], str],
) -> Table:
    """Return the table of the test images: clean, noisy, best, published.

    Args:
        scores: Columns `noise`, `method`, `image`, `ssim`; of several trainings or draws the first
            line of an image counts, which is that of the pictures.
        best: The best methods by noise setting; of equals, the first is shown.
        labels: What each method is called.
        names: The ids of all test images, in order.
        clean: File of the ground truth.
        files: Those of the noisy and the denoised images, by noise setting and method.
        signs: What follows a score, by noise setting and method.
    """
    indices = shown_images(len(names), len(best))
    keys = ["noise", "method", "image"]
    scores = scores[scores["image"].isin([names[index] for index in indices])]
    similarity = scores.drop_duplicates(keys).set_index(keys)["ssim"].to_dict()
    truth, rows = pictures(clean, indices), []
    for noise, found in best.items():
        methods = {"noisy": "noisy", "best": next(iter(found), None), "published": NETWORK}
        kept = {role: name for role, name in methods.items() if (noise, name) in files}
        shown = {name: pictures(files[noise, name], indices) for name in set(kept.values())}
        for place, index in enumerate(indices):
            image = names[index]
            cells = [Cell(image, image, truth[place], f"image {image}, ground truth"), noise]
            for role in methods:
                if role in kept:
                    about = f"image {image}, {labels.get(kept[role], role)}, {noise}"
                    score = similarity.get((noise, kept[role], image), math.nan)
                    score = number(score, more=signs[noise, kept[role]])
                    small = shown[kept[role]][place]
                    cells.append(score._replace(picture=small, about=about))
                else:
                    cells.append(Cell(MISSING, ""))
            rows.append([*cells, labels.get(kept.get("best"), MISSING)])
    head = ["Image, ground truth", "Noise setting", "Noisy", "Best", "Published network"]
    return Table("images", "SSIM of test images", [*head, "Which is best"], rows)


def figures(
    paths: Sequence[str], titles: Sequence[str], captions: Sequence[str], room: int
) -> list[dict[str, Any]]:
    """Return the figures of the page; those beyond a number of bytes come without a source."""
    found = []
    for path, title, caption in zip(paths, titles, captions, strict=True):
        with Image.open(path) as image:
            content, size = webp(image.convert("RGB"), FIGURE_QUALITY), image.size
        source = address("image/webp", content)
        room -= len(source)
        text = " ".join(Path(caption).read_text(encoding="utf-8").split())
        parts = {
            "title": title,
            "caption": text,
            "source": source if room >= 0 else None,
            "size": size,
            "path": path,
        }
        found.append(parts)
    return found


def about(folder: str, name: str, function: str | None = None) -> str:
    """Return what a plug-in, or a function of it, says of itself in its first paragraph."""
    tree = ast.parse((SCRIPTS / folder / f"{name}.py").read_text(encoding="utf-8"))
    found = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function
    ]
    text = " ".join((ast.get_docstring((found or [tree])[0]) or "").partition("\n\n")[0].split())
    return text.removeprefix("Return ").removesuffix(".").replace("`", "")


def by_setting(settings: Mapping[str, Mapping[str, Any]]) -> str:
    """Return settings by noise setting in words, and where they differ for which these are."""
    texts: dict[str, list[str]] = {}
    for noise, values in settings.items():
        text = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in values.items())
        texts.setdefault(text, []).append(noise)
    if len(texts) == 1:
        return next(iter(texts))
    return "; ".join(f"{text} for {', '.join(names)}" for text, names in texts.items())


class Citations:
    """Numbers references in the order in which they are cited."""

    def __init__(self, references: Mapping[str, Mapping[str, str]]) -> None:
        self.references, self.cited = references, []

    def __call__(self, *keys: str) -> Markup:
        """Return a space and a link for each reference that there is for these keys."""
        links = []
        for entry in filter(None, map(self.references.get, keys)):
            if entry not in self.cited:
                self.cited.append(entry)
            index = self.cited.index(entry) + 1
            links.append(Markup(' <a href="#reference-{0}">[{0}]</a>').format(index))
        return Markup("").join(links)


def read_pairs(path: str) -> pd.DataFrame:
    """Return the verdicts, `pairs.csv`; no verdict is an empty text."""
    numbers = ["difference", "low", "high", "p"]
    text = dict.fromkeys(["noise", "first", "second", "verdict", "over"], str)
    empty = {name: [""] for name in numbers}
    return pd.read_csv(path, dtype=text, keep_default_na=False, na_values=empty)


def main(snakemake: Snakemake) -> None:
    params, inputs, outputs = snakemake.params, snakemake.input, snakemake.output
    labels, noise, rendered = params.labels, params.noise, params.rendered
    fair = {name: labels[name] for name in params.candidates}
    table, pairs = reading.read_methods(inputs.methods), read_pairs(inputs.pairs)
    scores = reading.read_scores([inputs.scores])
    names, images = ids_of("test", inputs.split), wording.images_of(params.dataset, rendered)
    files = {(Path(path).parent.name, Path(path).stem): path for path in inputs.denoised}
    files |= {(Path(path).parent.name, "noisy"): path for path in inputs.noisy}
    datasets = Path(inputs.clean).parents[2]
    origins = dict.fromkeys(images["dataset"] for images in params.elsewhere.values())
    folders = [datasets / name for name in (params.dataset, *origins)]
    behind = jobs.jobs_behind(inputs, [Path(outputs.page).parent, *folders])
    tuned = reading.read_tuned(inputs.get("tuning") or [])
    with_mark = wording.marked(labels, params.caveats)
    best = {name: winners(table, fair).get(name, []) for name in noise}

    distributions = [setting["distribution"] for setting in noise.values()]
    signs = table.set_index(["noise", "method"])["variance_share"].map(wording.sign).to_dict()
    shown = images_table(scores, best, labels, names, inputs.clean, files, signs)
    alike = wording.alike_in_words(table, labels)
    learned = wording.elsewhere_in_words(labels, params.elsewhere)
    taken = sum(len(c.picture) for row in shown.rows for c in row if isinstance(c, Cell))
    room = LIMIT - BESIDES - taken

    library = Path(itables.options.dt_bundle)
    references = yaml.safe_load(Path(inputs.references).read_text(encoding="utf-8"))
    page = filled(
        inputs.template,
        **dict(params.items()),
        images=images,
        answer=answer(table, fair, images, len(names), pairs),
        answer_table=tables.answer_table(table, noise, fair),
        caveats_in_words=wording.caveats_in_words(labels, params.caveats),
        alike_in_words=alike,
        elsewhere_in_words=learned,
        warning=wording.PHANTOM_WARNING,
        methods_table=tables.methods_table(table, with_mark, tuned),
        pairs_table=tables.pairs_table(pairs, with_mark),
        images_table=shown,
        shown=len(shown_images(len(names), len(noise))),
        poisson=wording.POISSON_WARNING.format("scores") if "poisson" in distributions else "",
        test=len(names),
        figures=figures(inputs.figures, params.titles, inputs.captions, room),
        train=len(ids_of("train", inputs.split)),
        processors=jobs.processors(behind),
        made=[record["made"][:10] for record in behind.values()][:: max(1, len(behind) - 1)],
        times_table=tables.times_table(behind),
        total=tables.total_in_words(behind),
        versions_table=tables.versions_table(behind),
        checksums_table=tables.checksums_table(behind),
        settings=yaml.safe_dump(params.configuration, **PRETTY),
        cite=Citations(references),
        about=about,
        in_words=wording.heading_of,
        images_of=wording.images_of,
        by_setting=by_setting,
        style=library.with_suffix(".css").read_text(encoding="utf-8"),
        library=address("text/javascript", library.read_bytes()),
    )
    if (size := len(page.encode())) >= LIMIT:
        raise InputError(f"the page would have {size:,} bytes: select fewer noise settings")
    warning = [wording.PHANTOM_WARNING] if rendered else []
    first = f"Mean SSIM; test images: {len(names)}, {images}."
    caption = " ".join([first, *warning, *learned, *alike])
    published = {name: labels[name] for name in params.table if name in labels}
    forms = {
        outputs.table: tables.published_latex(pd.read_csv(inputs.table), noise, published),
        outputs.methods: tables.methods_latex(table, with_mark),
    }
    texts = {path: tables.latex(form, caption, Path(path).stem) for path, form in forms.items()}
    write_texts({outputs.page: page} | texts)


if __name__ == "__main__":
    run(main)
