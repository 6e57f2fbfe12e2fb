"""Scores, and the tables, pages and figures that show them."""

import re
import subprocess
import sys
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from snakemake.iocontainers import Namedlist

import compare_datasets
import make_table
import score_images
from compare_datasets import local_variance, montage_of, power_spectrum, remarks, statistics
from engine import digests
from engine.messages import InputError
from make_table import mean_table, notes, published_form, with_published
from noise.seeds import generator
from paste import pasted
from results.pages import html, markdown
from results.reading import read_costs, read_scores
from results.scores import scores
from results.wording import (
    about_scores,
    caveats_in_words,
    heading_of,
    images_of,
    marked,
    noise_in_words,
)

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = Path(digests.__file__).parents[1]
DASH = "\N{EN DASH}"
IMAGES = generator(1, "images").random((3, 20, 24))


def job_of(**parts: dict) -> Namedlist:
    """What Snakemake hands to a script, as far as it is needed."""
    first = {"training": "", "draw": ""}
    parts = parts | {"wildcards": first | parts.get("wildcards", {})}
    return Namedlist(fromdict={name: Namedlist(fromdict=part) for name, part in parts.items()})


def figure_of(script, folder: Path, monkeypatch, **parts: dict) -> Figure:
    """The figure that a script saves: the same in two formats, of the same bytes each time."""
    saved, save = [], Figure.savefig

    def noted(figure, *args, **options):
        saved.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", noted)
    paths = {"figure": folder / "figures/figure.png", "svg": folder / "figures/figure.svg"}
    written = []
    for _ in range(2):
        script.main(job_of(output=paths, **parts))
        written.append([path.read_bytes() for path in paths.values()])
    assert written[0] == written[1]
    assert all(5_000 < len(content) < 1_000_000 for content in written[0])
    assert saved[0] is saved[1]
    return saved[0]


def texts_of(texts) -> list[str]:
    return [text.get_text() for text in texts]


def test_scores_are_scikit_images_with_a_data_range_of_one():
    noisy = np.clip(IMAGES + 0.1, 0, 1)
    for name, measure in (("ssim", structural_similarity), ("psnr", peak_signal_noise_ratio)):
        expected = [measure(a, b, data_range=1) for a, b in zip(IMAGES, noisy, strict=True)]
        np.testing.assert_array_equal(scores(IMAGES, noisy)[name], expected)
        assert scores(IMAGES, IMAGES)[name].tolist() == [1 if name == "ssim" else np.inf] * 3
    mse = ((IMAGES - noisy) ** 2).mean((1, 2))
    np.testing.assert_allclose(scores(IMAGES, noisy)["psnr"], -10 * np.log10(mse))


def test_scores_refuse_what_would_give_a_silent_wrong_number():
    bad = IMAGES.copy()
    bad[1, 0, 0] = np.nan
    for images, message in ((bad, r"number \[1\]"), (IMAGES[:, :, 1:], "shapes differ")):
        with pytest.raises(InputError, match=message):
            scores(IMAGES, images)


def test_scoring_does_not_import_statistics():
    code = (
        "import sys, numpy, score_images, results.scores; image = numpy.eye(9)[None]\n"
        "results.scores.scores(image, image); sys.exit('scipy.stats' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, check=False).returncode == 0


def test_each_score_has_the_name_of_its_image(tmp_path):
    """A noise setting may be called 0.30, and a method or an image NA."""
    paths = {name: tmp_path / f"{name}.npy" for name in ("clean", "images")}
    np.save(paths["clean"], IMAGES)
    np.save(paths["images"], IMAGES**2)
    paths["split"] = tmp_path / "split.csv"
    paths["split"].write_text("id,part\n1,train\nNA,test\n3,test\n007,test\n")
    output = {name: tmp_path / f"{name}.csv" for name in ("scores", "variance")}
    wildcards = {"noise": "0.30", "method": "NA"}
    score_images.main(job_of(input=paths, output=output, wildcards=wildcards))
    found = read_scores([output["scores"]])
    names = [["0.30", "NA", name] for name in ("NA", "3", "007")]
    assert found[["noise", "method", "image"]].to_numpy().tolist() == names
    for name, values in scores(IMAGES, IMAGES**2).items():
        np.testing.assert_array_equal(found[name], values)
    header = "noise,method,parameters,training_images,training_seconds,milliseconds\n"
    (tmp_path / "costs.csv").write_text(header + "0.30,NA,,,,2\n")
    costs = read_costs([tmp_path / "costs.csv"]).iloc[0].tolist()
    assert costs == ["0.30", "NA", *[pytest.approx(np.nan, nan_ok=True)] * 3, 2]


NOISE = {
    "first": {"distribution": "gaussian", "factor": 0.1, "mean": 0, "std": 1},
    "second": {"distribution": "poisson", "factor": 0.2, "lambda": 1},
}
ROW = {
    "noise": NOISE["first"],
    "readme": {"noisy": 0.4, "autoencoder": 0.9},
    "notebook": {"noisy": 0.40004, "autoencoder": 0.9001},
}
PUBLISHED = {
    "source": "somewhere",
    "image_size": 64,
    "training": {"steps": 100, "batch": 10},
    "rows": [ROW],
}
# Half-widths of the intervals of one more run, around one run: quantile 2.262 and 3.182, root of 2.
SPREAD = {
    "made_of": "replicates",
    "rows": [
        {
            "noise": ROW["noise"],
            "methods": {
                "noisy": {"deviation": 0.002 / 3.1991, "runs": 10},
                "autoencoder": {"deviation": 0.016 / 4.5007, "runs": 4},
            },
        }
    ],
}
ONCE = {"noisy": 1, "autoencoder": 1}
LABELS = {"autoencoder": "auto-encoder"}
DOTS = {"distribution": "salt_pepper", "share": 0.1}


@pytest.mark.parametrize(
    ("steps", "noisy", "autoencoder"),
    [
        (100, "0.4010 (0.4000, +0.0010 ✓)", "0.8850 (0.9000, -0.0151 ✓)"),
        (100, "0.3979 (0.4000, -0.0021 ✗)", "0.8799 (0.9000, -0.0202 ✗)"),
        (100, "0.4021 (0.4000, +0.0021 ✗)", "0.9999 (0.9000, +0.0998 ✗)"),
        (10, "0.4010 (0.4000, +0.0010 ✓)", "0.8850 (0.9000, -0.0151)"),  # trained less: not judged
    ],
)
def test_table_compares_with_what_was_published_for_the_same_noise(steps, noisy, autoencoder):
    ours = {"noisy": noisy[:6], "autoencoder": autoencoder[:6]}
    lines = [(name, method, float(text)) for name in NOISE for method, text in ours.items()]
    scores = pd.DataFrame(lines, columns=["noise", "method", "ssim"])
    budgets = {"autoencoder": {name: {"steps": steps, "batch": 10} for name in NOISE}}
    table = with_published(mean_table(scores, NOISE), NOISE, PUBLISHED, budgets, SPREAD, ONCE)
    assert list(published_form(table, NOISE, LABELS).to_dict("list").items()) == [
        ("Noise factor", ["0.1", "0.2"]),
        ("Noise distribution", ["Gaussian (mean 0, std 1)", "Poisson (lambda 1)"]),
        ("SSIM noisy", [noisy, ours["noisy"]]),
        ("SSIM auto-encoder", [autoencoder, ours["autoencoder"]]),
    ]
    said = "\n".join(notes(table, LABELS, budgets, PUBLISHED))
    found = "✓ inside" if "✓" in noisy else "✗ outside"
    assert f"SSIM noisy: {found} in 1 of 1 row." in said
    assert ("auto-encoder: not judged" in said) == (steps < 100)
    share = "10.0% of the published budget" if steps < 100 else "as published"
    assert f"{steps} steps of 10 images, {share}" in said


def test_published_form_has_a_dash_where_a_method_was_not_run():
    lines = [("first", "noisy", 0.4), ("second", "noisy", 0.3), ("second", "snap", 0.95)]
    scores = pd.DataFrame(lines, columns=["noise", "method", "ssim"])
    row = ROW | {"readme": {"snap": 1}, "notebook": {"snap": 1}}
    published = PUBLISHED | {"rows": [row]}
    table = with_published(mean_table(scores, NOISE), NOISE, published, {}, SPREAD, {})
    assert "verdict_snap" not in table
    text = published_form(table, NOISE, {"snap": "snapped", "elsewhere": "never run"})
    assert text["SSIM snapped"].tolist() == [DASH, "0.9500"]
    assert text["SSIM never run"].tolist() == [DASH, DASH]
    table = pd.DataFrame({"noise": ["dots"], "noisy": [0.5]})
    assert published_form(table, {"dots": DOTS}, {})["Noise factor"].tolist() == [DASH]


@pytest.mark.parametrize("rendered", [True, False])
def test_files_of_the_table_say_the_same(tmp_path, rendered):
    lines = [(n, m, i, 0.41, 1.0) for n in NOISE for m in ("noisy", "autoencoder") for i in "ab"]
    scores = pd.DataFrame(lines, columns=["noise", "method", "image", "ssim", "psnr"])
    scores = scores.assign(training=1, draw=1)
    scores.to_csv(tmp_path / "scores.csv", index=False)
    (tmp_path / "published.yaml").write_text(yaml.safe_dump(PUBLISHED, sort_keys=False))
    paths = {name: tmp_path / f"table.{name}" for name in ("md", "html", "csv")}
    (tmp_path / "spread.yaml").write_text(yaml.safe_dump(SPREAD))
    inputs = {name: tmp_path / f"{name}.yaml" for name in ("published", "spread")}
    inputs["scores"] = [tmp_path / "scores.csv"]
    inputs["variances"] = [tmp_path / "variances.csv"]
    lines = [(name, method, 0.9) for name in NOISE for method in ("noisy", "autoencoder")]
    varied = pd.DataFrame(lines, columns=["noise", "method", "variance_share"])
    varied.to_csv(inputs["variances"][0], index=False)
    params = {"dataset": "mine", "rendered": rendered, "image_size": 64, "noise": NOISE}
    params |= {"labels": {"autoencoder": "a <b> | *c*"}, "elsewhere": {}}
    params["budgets"] = {"autoencoder": {name: {"steps": 50, "batch": 10} for name in NOISE}}
    make_table.main(job_of(input=inputs, output=paths, params=params))
    kind = "digital phantom" if rendered else "real images"
    assert paths["md"].read_text().startswith(f"# Denoising radiographs: {kind} (mine)\n\n| ")
    lines = [line[2:] for line in paths["md"].read_text().splitlines() if line.startswith("- ")]
    about = about_scores(pd.DataFrame({"image": ["a", "b"]}), rendered)
    assert lines[: len(about)] == about
    assert len(lines) == len(about) + 6  # published, noisy, auto-encoder, its training, verdicts
    page = paths["html"].read_text()
    assert re.findall("<li>(.*)</li>", page)[-3] == (
        "Training of the a &lt;b&gt; | *c*: 50 steps of 10 images, 50.0% of the published budget."
    )
    assert "0.4100 (0.4000, +0.0100 ✗)" in page
    assert list(pd.read_csv(paths["csv"]).columns) == [
        *("noise", "noisy", "autoencoder"),
        *("published_noisy", "difference_noisy", "half_width_noisy", "verdict_noisy"),
        *("published_autoencoder", "difference_autoencoder"),
    ]


LITERAL = [
    *("b*", "<c>", "*", "d|e", "_f_", "__g__", "h_1_2"),
    *("[i](j)", "&lt;", "A & B", "k\\", "`l`"),
]


def test_pages_are_complete_mark_whole_cells_and_escape_the_rest():
    cells = ["*a*", "**1**", "*b*c*", DASH, *LITERAL]
    table = pd.DataFrame({"Method": cells, "<x> *y*": cells})
    page = markdown("Title <t> *u*", "Part <p>", table, ["line <v> *w*"])
    assert page.startswith("# Title \\<t> \\*u\\*\n\n## Part \\<p>\n\n|")
    assert page.endswith("|\n\n- line \\<v> \\*w\\*\n")
    assert "h_1_2 |" in page  # names of noise settings are to be read in the Markdown as well
    text = html(page)
    shown = re.findall("<td.*?>(.*)</td>", text)
    marked_up = ["<em>a</em>", "<strong>1</strong>", "<em>b*c</em>", DASH]
    assert shown[::2] == shown[1::2] == marked_up + [escape(cell, quote=False) for cell in LITERAL]
    assert text.startswith('<!DOCTYPE html>\n<html lang="en"><meta charset="utf-8">')
    title = "Title &lt;t&gt; *u*"
    parts = [f"<title>{title}</title>", f"<h1>{title}</h1>", "<h2>Part &lt;p&gt;</h2>"]
    parts += ['<th style="text-align:right">&lt;x&gt; *y*</th>', "<li>line &lt;v&gt; *w*</li>"]
    assert sorted([*parts, "</html>"], key=text.index) == [*parts, "</html>"]
    assert "<b>" not in html("# Title\n\n- <b>c</b>")


def test_images_and_noise_in_words():
    about = ["Mean structural similarity (SSIM) over 80 test images; higher is better."]
    scores = pd.DataFrame({"image": range(80)})
    assert about_scores(scores, rendered=False) == about
    about.append("The images are a digital phantom: this says nothing about patients.")
    assert about_scores(scores, rendered=True) == about
    (about, _) = about_scores(scores[:1].assign(training=1, draw=1), rendered=True)
    assert "over 1 test image, trainings of each network: 1, draws: 1; higher" in about
    assert images_of("mine", rendered=False) == "real images (mine)"
    assert images_of("small", rendered=True) == "digital phantom (small)"
    assert noise_in_words(NOISE["second"]) == "Poisson (lambda 1)"
    detector = {"distribution": "poisson_gaussian", "dose": 3, "electronic": 0.1}
    assert noise_in_words(detector) == "Poisson-Gaussian (dose 3, electronic 0.1)"
    assert heading_of(NOISE["first"]) == "Gaussian (mean 0, std 1), factor 0.1"
    assert heading_of(DOTS) == "Salt-Pepper (share 0.1)"


def test_each_caveat_stands_once_with_the_methods_that_have_it():
    labels = {"a": "A", "b": "B", "c": "C", "d": "D"}
    caveats = {"d": "cheats.", "b": "knows.", "a": "cheats.", "elsewhere": "is not here."}
    assert caveats_in_words(labels, caveats) == ["† A, D: cheats.", "† B: knows."]
    assert caveats_in_words(labels, {}) == []
    assert list(marked(labels, caveats).values()) == ["A †", "B †", "C", "D †"]


def test_statistics_of_images():
    image = IMAGES[0, :16, :16]
    variance = local_variance(image)
    assert variance.shape == (10, 10)
    assert variance[0, 9] == pytest.approx(image[:7, 9:].var(ddof=1))
    wave = power_spectrum(np.cos(2 * np.pi * 5 * np.arange(32) / 32) * np.ones((32, 1)))
    assert len(wave) == 16
    assert wave.argmax() == 5 - 1  # the first is one cycle an image
    noise = power_spectrum(generator(1, "white").normal(size=(128, 128)))
    assert noise[8:].mean() == pytest.approx((3 / 8) ** 2, rel=0.1)  # Hann's mean square, twice
    picture = montage_of(np.linspace(0, 1, 47)[:, None, None] * np.ones((2, 3)))
    assert picture.shape == (4 * 2, 6 * 3)
    assert picture[::2, ::3].ravel().tolist() == np.linspace(0, 255, 24).round().tolist()


def test_remarks_say_how_far_two_sets_of_images_are_apart():
    phantom, real = statistics(IMAGES[:2, :16, :16]), statistics(IMAGES[:2, :16, :16] / 2)
    grey, _, _, power = remarks(phantom, real).splitlines()
    assert re.search(r"at most 0\.[45]\d\d in", grey)  # half of the pixels are above one half
    assert power.endswith("the real power: 4.00 from 1 to 4 cycles.")
    assert "at most 0.000 in" in remarks(real, real)
    axes = compare_datasets.statistics_figure(phantom, real).axes
    middle = np.median(real["grey value"][1], axis=0)
    np.testing.assert_allclose(axes[0].lines[0].get_ydata(), middle)


def test_page_on_the_phantom_has_the_text_of_its_template(tmp_path):
    """And so has the one in docs."""
    template = ROOT / "workflow/report/phantom.md"
    fixed = re.split(r"\{\w+\}", template.read_text())
    assert len(fixed) > 10
    for name, count in (("phantom", 30), ("real", 25)):
        np.save(tmp_path / f"{name}.npy", generator(1, name).random((30, 16, 16))[:count])
    published = PUBLISHED | {"rows": [ROW | {"notebook": {"noisy": 0, "median": 2}}]}
    (tmp_path / "published.yaml").write_text(yaml.safe_dump(published))
    inputs = {name: tmp_path / f"{name}.npy" for name in ("phantom", "real")}
    inputs |= {"published": tmp_path / "published.yaml", "template": template}
    files = {"page": "page.md", "statistics": "curves.png", "subjects": "subjects.png"}
    outputs = {name: tmp_path / file for name, file in files.items()}
    params = {"noise": NOISE | {"dots": DOTS}, "first_test": 28, "seed": 1}
    compare_datasets.main(job_of(input=inputs, output=outputs, params=params))
    text = (tmp_path / "page.md").read_text()
    for page in (text, (ROOT / "docs/phantom.md").read_text()):
        place = 0
        for part in fixed:
            assert part in page[place:]
            place = page.index(part, place) + len(part)
    for part in (
        "compares 30 of them with the 25 real images",
        "(phantom from number 29 on, 2 images)",
        "](curves.png)",
        "](subjects.png)",
    ):
        assert part in text
    (row,) = re.findall(r"^\| first .*", text, re.MULTILINE)
    _, _, noisy, zero, difference, median, two, below, _ = map(str.strip, row.split("|"))
    assert (zero, two) == ("0.000", "2.000")
    assert float(noisy) == float(difference) > 0
    assert float(below) == pytest.approx(float(median) - 2, abs=0.0011)
    assert f"differences are {noisy} and\n{-float(below):.3f}." in text
    assert not re.search(r"^\| (second|dots) ", text, re.MULTILINE)  # not published
    assert all(path.stat().st_size > 1000 for path in outputs.values())


def test_results_are_pasted_between_their_markers(tmp_path):
    (tmp_path / "table.md").write_text("# Title\n\n| a |\n|---|\n| 1 |\n\n## A part\n\nb\n\n## C\n")
    marker = f"<!-- table: {tmp_path / 'table.md'} -->"
    part = marker.replace(" -->", "#A part -->")
    page = f"before\n{marker}\nold\n<!-- end -->\nbetween\n{part}\n<!-- end -->\nafter\n"
    new = pasted(page)
    assert new == (
        f"before\n{marker}\n\n**Title**\n\n| a |\n|---|\n| 1 |\n\n"
        f"<!-- end -->\nbetween\n{part}\n\n**Title**\n\nb\n\n<!-- end -->\nafter\n"
    )
    assert pasted(new) == new


@pytest.mark.parametrize(("kind", "part"), [("table", "#A part"), ("times", "")])
def test_what_was_made_of_a_missing_file_stays(tmp_path, capsys, kind, part):
    gone = str(tmp_path / "gone")
    page = f"<!-- {kind}: {gone}{part} -->\n\nold\n\n<!-- end -->\n"
    assert pasted(page) == page
    assert capsys.readouterr().err == f"{gone} is missing: what was made of it stays\n"


def test_times_of_the_jobs_are_pasted_by_rule(tmp_path):
    measured = {"quick": (1, 5), "long/a/x": (10, 7), "long/b/x": (20, 9), "long/c/x": (60, 8)}
    for name, (seconds, memory) in measured.items():
        path = tmp_path / f"run/benchmarks/{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\tmax_rss\n{seconds}\t{memory}\n")
    page = pasted(f"<!-- times: {tmp_path / 'run'},{tmp_path / 'none'} -->\n<!-- end -->\n")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()[4:-2]]
    assert rows == [
        ["long", "3", "20", "90", "9"],
        ["quick", "1", "1", "1", "5"],
        ["all", "4", "", "91", ""],
    ]
