"""Scores, and the tables, pages and figures that show them."""

import re
import subprocess
import sys
from html import escape
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import compare_datasets
import make_table
import plot_examples
import plot_training
import score_images
from compare_datasets import (
    local_variance,
    montage_of,
    power_spectrum,
    remarks,
    statistics,
    statistics_figure,
)
from engine import digests
from engine.messages import InputError
from make_table import mean_table, notes, published_form, with_published
from noise.seeds import generator
from paste import pasted
from plot_examples import chosen_methods, fixed_examples, heading_of
from results.pages import html, markdown
from results.reading import read_costs, read_scores
from results.scores import scores
from results.wording import about_scores, caveats_in_words, images_of, marked, noise_in_words

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = Path(digests.__file__).parents[1]
DASH = "\N{EN DASH}"
IMAGES = generator(1, "images").random((3, 20, 24))


def job_of(**parts: dict) -> SimpleNamespace:
    """What Snakemake hands to a script, as far as it is needed."""
    return SimpleNamespace(**{name: SimpleNamespace(**part) for name, part in parts.items()})


def test_scores_are_scikit_images_with_a_data_range_of_one():
    noisy = np.clip(IMAGES + 0.1, 0, 1)
    table = scores(IMAGES, noisy)
    expected = [
        structural_similarity(a, b, data_range=1) for a, b in zip(IMAGES, noisy, strict=True)
    ]
    np.testing.assert_array_equal(table["ssim"], expected)
    expected = [
        peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(IMAGES, noisy, strict=True)
    ]
    np.testing.assert_array_equal(table["psnr"], expected)
    mse = ((IMAGES[0] - noisy[0]) ** 2).mean()
    assert table["psnr"][0] == pytest.approx(-10 * np.log10(mse))
    same = scores(IMAGES, IMAGES)
    assert same["ssim"].tolist() == [1, 1, 1]
    assert same["psnr"].tolist() == [np.inf] * 3


def test_scores_refuse_what_would_give_a_silent_wrong_number():
    bad = IMAGES.copy()
    bad[1, 0, 0] = np.nan
    with pytest.raises(InputError, match=r"number \[1\]"):
        scores(IMAGES, bad)
    with pytest.raises(InputError, match="shapes differ"):
        scores(IMAGES, IMAGES[:, :, 1:])


def test_scoring_does_not_import_statistics():
    code = (
        "import sys, numpy, score_images, results.scores; image = numpy.eye(9)[None]\n"
        "results.scores.scores(image, image); sys.exit('scipy.stats' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, check=False).returncode == 0


NOISE = {
    "first": {"distribution": "gaussian", "factor": 0.1, "mean": 0, "std": 1},
    "second": {"distribution": "poisson", "factor": 0.2, "lambda": 1},
}
PUBLISHED = {
    "source": "somewhere",
    "training": {"steps": 100, "batch": 10},
    "tolerance": {"noisy": {"within": 0.002}, "autoencoder": {"below": 0.02}},
    "rows": [
        {
            "noise": NOISE["first"],
            "readme": {"noisy": 0.4, "autoencoder": 0.9},
            "notebook": {"noisy": 0.40004, "autoencoder": 0.9001},
        }
    ],
}
LABELS = {"autoencoder": "auto-encoder"}
DOTS = {"distribution": "salt_pepper", "share": 0.1}


def table_of(noisy: float, autoencoder: float, steps: int = 100) -> tuple[pd.DataFrame, dict]:
    rows = [
        {"noise": name, "method": method, "image": "1", "ssim": value, "psnr": 1.0}
        for name in NOISE
        for method, value in (("noisy", noisy), ("autoencoder", autoencoder))
    ]
    budgets = {"autoencoder": {name: {"steps": steps, "batch": 10} for name in NOISE}}
    table = mean_table(pd.DataFrame(rows), NOISE)
    return with_published(table, NOISE, PUBLISHED, budgets), budgets


def lines_of(table: pd.DataFrame, budgets: dict) -> str:
    return "\n".join(notes(table, LABELS, budgets, PUBLISHED))


def test_each_score_has_the_name_of_its_image(tmp_path):
    np.save(tmp_path / "clean.npy", IMAGES)
    np.save(tmp_path / "images.npy", IMAGES**2)
    split = [("1", "train"), *((name, "test") for name in ("NA", "3", "007"))]
    pd.DataFrame(split, columns=["id", "part"]).to_csv(tmp_path / "split.csv", index=False)
    score_images.main(
        job_of(
            input={name: tmp_path / f"{name}.npy" for name in ("clean", "images")}
            | {"split": tmp_path / "split.csv"},
            output={"scores": tmp_path / "scores.csv"},
            wildcards={"noise": "loud", "method": "NA"},
        )
    )
    found = read_scores([tmp_path / "scores.csv"])
    assert found[["noise", "method"]].drop_duplicates().to_numpy().tolist() == [["loud", "NA"]]
    assert found["image"].tolist() == ["NA", "3", "007"]
    for name, values in scores(IMAGES, IMAGES**2).items():
        np.testing.assert_array_equal(found[name], values)


def test_table_compares_with_what_was_published_for_the_same_noise():
    table, budgets = table_of(0.4010, 0.8850)
    text = published_form(table, NOISE, LABELS)
    assert list(text.columns) == [
        "Noise factor",
        "Noise distribution",
        "SSIM noisy",
        "SSIM auto-encoder",
    ]
    assert text.iloc[0].tolist() == [
        "0.1",
        "Gaussian (mean 0, std 1)",
        "0.4010 (0.4000, +0.0010 ✓)",
        "0.8850 (0.9000, -0.0151 ✓)",
    ]
    assert text.iloc[1].tolist() == ["0.2", "Poisson (lambda 1)", "0.4010", "0.8850"]
    assert "SSIM noisy: agrees in 1 of 1 rows (within 0.002)." in lines_of(table, budgets)
    assert "100 steps of 10 images, as published" in lines_of(table, budgets)


def test_table_says_where_it_disagrees():
    table, budgets = table_of(0.3979, 0.8799)
    assert published_form(table, NOISE, LABELS).iloc[0].tolist()[2:] == [
        "0.3979 (0.4000, -0.0021 ✗)",
        "0.8799 (0.9000, -0.0202 ✗)",
    ]
    assert "SSIM noisy: agrees in 0 of 1 rows" in lines_of(table, budgets)
    better, _ = table_of(0.4000, 0.9999)
    assert published_form(better, NOISE, LABELS).iloc[0, 3] == "0.9999 (0.9000, +0.0998 ✓)"


def test_autoencoder_is_not_judged_at_a_reduced_budget():
    table, budgets = table_of(0.4010, 0.8850, steps=10)
    assert published_form(table, NOISE, LABELS).iloc[0, 3] == "0.8850 (0.9000, -0.0151)"
    assert "auto-encoder: not judged" in lines_of(table, budgets)
    assert "10 steps of 10 images, 10.0% of the published budget" in lines_of(table, budgets)


def test_published_form_has_a_dash_where_a_method_was_not_run():
    lines = [("first", "noisy", 0.4), ("second", "noisy", 0.3), ("second", "snap", 0.95)]
    scores = pd.DataFrame(lines, columns=["noise", "method", "ssim"])
    row = {"noise": NOISE["first"], "readme": {"snap": 1}, "notebook": {"snap": 1}}
    published = PUBLISHED | {"tolerance": {"snap": {"within": 0.1}}, "rows": [row]}
    table = with_published(mean_table(scores, NOISE), NOISE, published, {})
    assert "agrees_snap" not in table
    text = published_form(table, NOISE, {"snap": "snapped", "elsewhere": "never run"})
    assert text["SSIM snapped"].tolist() == [DASH, "0.9500"]
    assert text["SSIM never run"].tolist() == [DASH, DASH]
    table = pd.DataFrame({"noise": ["dots"], "noisy": [0.5]})
    assert published_form(table, {"dots": DOTS}, {})["Noise factor"].tolist() == [DASH]


@pytest.mark.parametrize("rendered", [True, False])
def test_files_of_the_table_say_the_same(tmp_path, rendered):
    lines = [(n, m, i, 0.41, 1.0) for n in NOISE for m in ("noisy", "autoencoder") for i in "ab"]
    scores = pd.DataFrame(lines, columns=["noise", "method", "image", "ssim", "psnr"])
    scores.to_csv(tmp_path / "scores.csv", index=False)
    published = PUBLISHED | {"image_size": 64}
    (tmp_path / "published.yaml").write_text(yaml.safe_dump(published, sort_keys=False))
    paths = {name: tmp_path / f"table.{name}" for name in ("md", "html", "csv")}
    budget = {"steps": 50, "batch": 10}
    params = {
        "dataset": "mine",
        "rendered": rendered,
        "image_size": 64,
        "noise": NOISE,
        "labels": {"autoencoder": "a <b> | *c*"},
        "budgets": {"autoencoder": {"first": budget, "second": budget}},
    }
    inputs = {
        "scores": [tmp_path / "scores.csv"],
        "get": {"published": tmp_path / "published.yaml"}.get,
    }
    make_table.main(job_of(input=inputs, output=paths, params=params))
    kind = "digital phantom" if rendered else "real images"
    assert paths["md"].read_text().startswith(f"# Denoising radiographs: {kind} (mine)\n\n| ")
    lines = [line[2:] for line in paths["md"].read_text().splitlines() if line.startswith("- ")]
    about = about_scores(2, rendered)
    assert lines[: len(about)] == about
    assert len(lines) == len(about) + 4  # published, noisy, auto-encoder, its training
    page = paths["html"].read_text()
    assert re.findall("<li>(.*)</li>", page)[-1] == (
        "Training of the a &lt;b&gt; | *c*: 50 steps of 10 images, 50.0% of the published budget."
    )
    assert "0.4100 (0.4000, +0.0100 ✗)" in page
    assert list(pd.read_csv(paths["csv"]).columns) == [
        *("noise", "noisy", "autoencoder"),
        *("published_noisy", "difference_noisy", "agrees_noisy"),
        *("published_autoencoder", "difference_autoencoder"),
    ]


def test_examples_are_always_the_same_few():
    assert fixed_examples(80) == [0, 26, 53, 79]
    assert fixed_examples(1) == [0]
    assert fixed_examples(2) == [0, 1]


def test_names_survive_reading(tmp_path):
    """A noise setting may be called 0.3, and a method NA."""
    scores, costs = tmp_path / "scores.csv", tmp_path / "costs.csv"
    scores.write_text("noise,method,image,ssim,psnr\n0.30,NA,007,0.5,20\n")
    costs.write_text(
        "noise,method,parameters,training_images,training_seconds,milliseconds\n0.30,NA,,,,2\n"
    )
    line = read_scores([scores, scores]).iloc[1]
    assert line[["noise", "method", "image"]].tolist() == ["0.30", "NA", "007"]
    line = read_costs([costs]).iloc[0]
    assert line[["noise", "method"]].tolist() == ["0.30", "NA"]
    assert np.isnan(line["parameters"])
    assert line["milliseconds"] == 2


LITERAL = [
    "b*",
    "<c>",
    "*",
    "d|e",
    "_f_",
    "__g__",
    "h_1_2",
    "[i](j)",
    "&lt;",
    "A & B",
    "k\\",
    "`l`",
]


def test_pages_mark_whole_cells_and_escape_the_rest():
    cells = ["*a*", "**1**", "*b*c*", DASH, *LITERAL]
    table = pd.DataFrame({"Method": cells, "<x> *y*": cells})
    page = markdown("Title <t> *u*", "Part <p>", table, ["line <v> *w*"])
    assert page.startswith("# Title \\<t> \\*u\\*\n\n## Part \\<p>\n\n|")
    assert page.endswith("|\n\n- line \\<v> \\*w\\*\n")
    assert "h_1_2 |" in page  # names of noise settings are to be read in the Markdown as well
    shown = re.findall("<td.*?>(.*)</td>", html(page))
    assert ">&lt;x&gt; *y*</th>" in html(page)
    marked_up = ["<em>a</em>", "<strong>1</strong>", "<em>b*c</em>", DASH]
    assert shown[::2] == shown[1::2] == marked_up + [escape(cell, quote=False) for cell in LITERAL]


def test_page_in_html_is_complete():
    text = html(markdown("Title <t>", "Part", pd.DataFrame({"<x>": ["y"]}), ["line"]))
    assert text.startswith('<!DOCTYPE html>\n<html lang="en"><meta charset="utf-8">')
    assert "<b>" not in html("# Title\n\n- <b>c</b>")
    parts = ["<title>Title &lt;t&gt;</title>", "<h1>Title &lt;t&gt;</h1>", "<h2>Part</h2>"]
    parts += ['<th style="text-align:right">&lt;x&gt;</th>', "<li>line</li>", "</html>"]
    assert sorted(parts, key=text.index) == parts


def test_images_and_noise_in_words():
    mean = "Mean structural similarity (SSIM) over 80 test images; higher is better."
    warning = "The images are a digital phantom: this says nothing about patients."
    assert about_scores(80, rendered=False) == [mean]
    assert about_scores(80, rendered=True) == [mean, warning]
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


EXAMPLES = {"autoencoder": "auto-encoder", "median": "median"}
CANDIDATES = {"autoencoder": "auto-encoder", "unet": "U-Net", "median": "median", "tv": "TV"}


def test_examples_show_the_published_methods_and_the_best():
    means = {"autoencoder": 0.8, "unet": 0.9, "median": 0.7, "tv": 0.6}
    assert list(chosen_methods(EXAMPLES, CANDIDATES, means).items()) == [
        *EXAMPLES.items(),
        ("unet", "best here: U-Net"),
    ]
    assert chosen_methods(EXAMPLES, CANDIDATES, means | {"median": 0.95}) == EXAMPLES
    assert chosen_methods(EXAMPLES, {"median": "median"}, means) == {"median": "median"}
    assert chosen_methods(EXAMPLES, {}, {}) == {}


def test_figure_of_examples_has_the_images_and_scores_of_the_best(tmp_path, monkeypatch):
    methods = ["noisy", *CANDIDATES]
    images = {name: np.full((3, 8, 8), number / 5) for number, name in enumerate(methods)}
    for name, ssim in zip(methods, (0.1, 0.5, 0.9, 0.6, 0.7), strict=True):
        np.save(tmp_path / f"{name}.npy", images[name])
        pd.DataFrame({"ssim": [ssim, ssim - 0.1, ssim]}).to_csv(tmp_path / f"{name}.csv")
    np.save(tmp_path / "clean.npy", np.zeros((3, 8, 8)))
    ids = pd.DataFrame({"id": ["1", "2", "3"], "part": "test"})
    ids.to_csv(tmp_path / "split.csv", index=False)
    figures = []
    real = plot_examples.example_figure
    monkeypatch.setattr(
        plot_examples, "example_figure", lambda *a: figures.append(real(*a)) or figures[0]
    )
    inputs = {
        "clean": tmp_path / "clean.npy",
        "split": tmp_path / "split.csv",
        "noisy": tmp_path / "noisy.npy",
        "denoised": [tmp_path / f"{name}.npy" for name in CANDIDATES],
        "scores": [tmp_path / f"{name}.csv" for name in methods],
    }
    params = {
        "dataset": "phantom",
        "rendered": True,
        "noise": DOTS,
        "labels": EXAMPLES,
        "candidates": CANDIDATES,
    }
    plot_examples.main(
        job_of(input=inputs, output={"figure": tmp_path / "examples.png"}, params=params)
    )
    assert (tmp_path / "examples.png").exists()
    (figure,) = figures
    assert figure.get_suptitle() == "digital phantom (phantom): Salt-Pepper (share 0.1)"
    rows = np.reshape(figure.axes, (3, 5))
    headings = ["ground truth", "noisy", "auto-encoder", "median", "best here: U-Net"]
    assert [axis.get_title() for axis in rows[0]] == headings
    assert [axis.get_ylabel() for axis in rows[:, 0]] == ["image 1", "image 2", "image 3"]
    below = ["", "SSIM 0.000", "SSIM 0.400", "SSIM 0.500", "SSIM 0.800"]
    assert [axis.get_xlabel() for axis in rows[1]] == below
    for axis, grey in zip(
        rows[1], (0, *(images[m][0, 0, 0] for m in ("noisy", *EXAMPLES, "unet"))), strict=True
    ):
        picture = axis.images[0]
        assert (picture.get_array() == grey).all()
        assert (picture.norm.vmin, picture.norm.vmax) == (0, 1)


def test_figure_of_the_training_has_a_panel_a_method_and_a_colour_a_noise_setting(
    tmp_path, monkeypatch
):
    paths = [tmp_path / name for name in ("a/unet.csv", "b/unet.csv", "b/dncnn.csv")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text("images,loss,validation_loss\n4,0.2,\n8,0.1,0.15\n")
    figures = []
    draw = plot_training.training_figure
    monkeypatch.setattr(
        plot_training, "training_figure", lambda found: figures.append(draw(found)) or figures[0]
    )
    plot_training.main(
        job_of(
            input={"histories": paths},
            output={"figure": tmp_path / "training.png"},
            params={"labels": {"unet": "U-Net", "dncnn": "DnCNN"}},
        )
    )
    unet, dncnn = figures[0].axes
    assert [unet.get_title(), dncnn.get_title()] == ["U-Net", "DnCNN"]
    loss, dots = dncnn.lines
    assert loss.get_xydata().tolist() == [[4, 0.2], [8, 0.1]]
    assert dots.get_xydata().tolist() == [[8, 0.15]]
    assert [line.get_color() for line in unet.lines] == ["C0", "C0", "C1", "C1"]
    assert {line.get_color() for line in dncnn.lines} == {"C1"}
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["a", "b"]


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
    axes = statistics_figure(phantom, real).axes
    middle = np.median(real["grey value"][1], axis=0)
    np.testing.assert_allclose(axes[0].lines[0].get_ydata(), middle)


def test_page_on_the_phantom_has_the_text_of_its_template(tmp_path):
    """And so has the one in docs."""
    template = ROOT / "workflow/report/phantom.md"
    fixed = re.split(r"\{\w+\}", template.read_text())
    assert len(fixed) > 10
    images = {name: generator(1, name).random((30, 16, 16)) for name in ("phantom", "real")}
    for name, some in images.items():
        np.save(tmp_path / f"{name}.npy", some[:25] if name == "real" else some)
    published = PUBLISHED | {
        "rows": [PUBLISHED["rows"][0] | {"notebook": {"noisy": 0, "median": 2}}]
    }
    (tmp_path / "published.yaml").write_text(yaml.safe_dump(published))
    inputs = {name: tmp_path / f"{name}.npy" for name in images}
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
    assert "compares 30 of them with the 25 real images" in text
    assert "(phantom from number 29 on, 2 images)" in text
    assert "](curves.png)" in text
    assert "](subjects.png)" in text
    rows = [line for line in text.splitlines() if line.startswith("| first ")]
    ((_, _, noisy, zero, difference, median, two, below, _),) = [row.split("|") for row in rows]
    assert (zero.strip(), two.strip()) == ("0.000", "2.000")
    assert float(noisy) == float(difference) > 0
    assert float(below) == pytest.approx(float(median) - 2, abs=0.0011)
    assert f"differences are {noisy.strip()} and\n{-float(below):.3f}." in text
    assert not re.search(r"^\| (second|dots) ", text, re.MULTILINE)  # not published
    assert all(path.stat().st_size > 1000 for path in outputs.values())


def test_results_are_pasted_between_their_markers(tmp_path):
    (tmp_path / "table.md").write_text("# Title\n\n| a |\n|---|\n| 1 |\n")
    marker = f"<!-- table: {tmp_path / 'table.md'} -->"
    page = f"before\n{marker}\nold\n<!-- end -->\nafter\n"
    new = pasted(page)
    assert "old" not in new
    assert "**Title**\n\n| a |\n|---|\n| 1 |" in new
    assert new.startswith("before\n" + marker)
    assert new.endswith("<!-- end -->\nafter\n")
    assert pasted(new) == new


def test_a_part_of_a_page_can_be_pasted(tmp_path):
    (tmp_path / "page.md").write_text(
        "# All\n\n## One\n\nfirst\n\n## Two words\n\nsecond\n\n## Three\n\nx\n"
    )
    page = f"<!-- table: {tmp_path / 'page.md'}#Two words -->\n<!-- end -->\n"
    assert pasted(page).splitlines()[1:-1] == ["", "**All**", "", "second", ""]


def test_times_of_the_jobs_are_pasted_by_rule(tmp_path):
    measured = {"quick.tsv": (1, 5), "long/a/x.tsv": (10, 7), "long/b/x.tsv": (20, 9)}
    measured |= {"long/c/x.tsv": (60, 8)}
    for name, (seconds, memory) in measured.items():
        path = tmp_path / "run/benchmarks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\tmax_rss\n{seconds}\t{memory}\n")
    page = pasted(f"<!-- times: {tmp_path / 'run'},{tmp_path / 'none'} -->\n<!-- end -->\n")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()[4:-2]]
    assert rows == [
        ["long", "3", "20", "90", "9"],
        ["quick", "1", "1", "1", "5"],
        ["all", "4", "", "91", ""],
    ]
