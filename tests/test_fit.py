"""The shape of prepared images, and the mark on scores of images that hardly differ."""

import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage.transform import resize as skimage_resize

import plot_compute
import score_images
from compare_methods import lost_table, psnr_notes, score_table, sure_table, verdict_table
from conftest import Project, own_images
from engine.messages import number_of
from files.arrays import StoredImages
from files.tables import read_table
from images.resizing import fitted
from make_table import mean_table, notes, published_form, with_marks, with_published
from noise.seeds import generator
from results.answer import answer, winners
from results.intervals import NOT_JUDGED, compare, grids_of
from results.reading import read_variances
from results.report_tables import answer_table, methods_latex, methods_table, published_latex
from results.scores import variance_between
from results.wording import ALIKE, LEAST_VARIANCE, about_scores, alike_in_words
from test_compare_methods import (
    CAVEATS,
    LABELS,
    NOISE,
    USES,
    pairs_of,
    rows_of,
    score_lines,
    table_of,
)
from test_results import DASH, ONCE, PUBLISHED, SPREAD, figure_of, job_of
from test_results import NOISE as TWO

IMAGES = generator(1, "fit").random((7, 20, 24))


def middle(length: int, part: int) -> slice:
    return slice((length - part) // 2, (length - part) // 2 + part)


def in_shape(image: np.ndarray, size: int, fit: str) -> np.ndarray:
    """Return an image as a square, by scikit-image."""
    height, width = image.shape
    if fit == "pad":
        shape = [max(1, round(size * length / max(height, width))) for length in (height, width)]
        square = np.zeros((size, size))
        square[middle(size, shape[0]), middle(size, shape[1])] = skimage_resize(image, shape)
        return square
    if fit == "crop":
        side = min(height, width)
        image = image[middle(height, side), middle(width, side)]
    return skimage_resize(image, (size, size))


@pytest.mark.parametrize("shape", [(300, 257), (64, 64), (65, 600), (90, 40), (1100, 70)])
@pytest.mark.parametrize("fit", ["squash", "pad", "crop"])
def test_each_shape_is_scikit_images(shape, fit):
    image = 0.1 + generator(1, "film").random(shape)
    found = fitted(image, 32, fit)
    np.testing.assert_allclose(found, in_shape(image, 32, fit), rtol=0, atol=1e-12)
    height, width = shape
    assert (found == 0).any() == (fit == "pad" and height != width)
    levels = fitted(image - 5, 32, fit, black=-5)  # of a film that is black at another level
    np.testing.assert_allclose(levels + 5, found, rtol=0, atol=1e-12)
    # The transposed film is the transposed square.
    np.testing.assert_allclose(fitted(image.T, 32, fit), found.T, rtol=0, atol=1e-12)


def test_a_disc_stays_one_unless_it_is_squashed():
    y, x = np.mgrid[-100:100, -150:150]
    disc = (x**2 + y**2 < 80**2).astype(float)
    spread = {}
    for fit in ("squash", "pad", "crop"):
        rows, columns = np.nonzero(fitted(disc, 64, fit) > 0.5)
        spread[fit] = np.ptp(rows) / np.ptp(columns)
    assert spread == pytest.approx({"squash": 1.5, "pad": 1, "crop": 1}, rel=0.05)


@pytest.mark.slow
def test_the_shape_is_a_setting_of_a_data_set(project: Project, tmp_path):
    folder = own_images(tmp_path)
    target = "resources/datasets/{}/16px/images.npy"
    entry = "{{sources: [{}], train: 6, fit: {}}}"
    names = {"a": "pad", "b": "crop", "c": "squash"}
    sets = ", ".join(f"{name}: {entry.format(folder, fit)}" for name, fit in names.items())
    targets = [target.format(name) for name in names]
    project.succeed("--config", f"datasets={{{sets}}}", "dataset=a", "--", *targets)
    film = np.asarray(Image.open(folder / "3.png")) / 255
    for name, fit in names.items():
        images = np.load(project.folder / target.format(name))
        np.testing.assert_allclose(images[3], in_shape(film, 16, fit), rtol=0, atol=1e-12)
    job = ("resize_images",)
    again = ["dataset=a", f"datasets={{a: {entry.format(folder, 'crop')}}}"]
    assert job in project.planned(targets[0], "--config", *again)
    again[1] = f"datasets={{a: {entry.format(folder, 'pad')}}}"
    assert job not in project.planned(targets[0], "--config", *again)
    done = project.snakemake("--config", "dataset=a", f"datasets={{a: {entry.format('x', 'no')}}}")
    assert done.returncode == 1
    assert "datasets.a.fit" in done.stdout
    assert "squash" in done.stdout


def test_variance_between_images_is_numpys_and_exactly_zero_of_equal_ones(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    for images in (IMAGES, StoredImages(tmp_path / "images.npy")):
        assert variance_between(images) == pytest.approx(IMAGES.var(axis=0).mean(), rel=1e-12)
    assert variance_between(np.stack([IMAGES[0]] * 3)) == variance_between(IMAGES[:1]) == 0


@pytest.mark.parametrize(
    ("clean", "images", "share"),
    [
        (IMAGES, 0.1 * IMAGES + 0.5, "0.01"),
        (IMAGES, np.stack([IMAGES.mean(axis=0)] * 7), "0.0"),
        (IMAGES[:1], IMAGES[:1], ""),
        (np.zeros_like(IMAGES), IMAGES, ""),
    ],
)
def test_each_score_job_says_how_much_images_vary(tmp_path, clean, images, share):
    names = "\n".join(f"{number},test" for number in range(len(clean)))
    (tmp_path / "split.csv").write_text(f"id,part\n{names}\n")
    np.save(tmp_path / "clean.npy", clean)
    np.save(tmp_path / "images.npy", images)
    inputs = {name: tmp_path / f"{name}.npy" for name in ("clean", "images")}
    inputs["split"] = tmp_path / "split.csv"
    outputs = {name: tmp_path / f"{name}.csv" for name in ("scores", "variance")}
    wildcards = {"noise": "0.30", "method": "NA"}
    score_images.main(job_of(input=inputs, output=outputs, wildcards=wildcards))
    (line,) = read_table(outputs["variance"])
    assert line.keys() == {"noise", "method", "variance_share"}
    found = read_variances([outputs["variance"]])
    assert found.index.tolist() == [("0.30", "NA")]
    assert found.iloc[0] == pytest.approx(float(share or "nan"), abs=1e-12, nan_ok=True)
    assert bool(alike_in_words(found.reset_index(), {"NA": "n"})) == bool(share)


def test_the_replicate_that_varies_least_counts(tmp_path):
    paths = [tmp_path / f"{number}.csv" for number in range(3)]
    for path, share in zip(paths, ("0.9", "0.01", ""), strict=True):
        path.write_text(f"noise,method,variance_share\ngauss,unet,{share}\n")
    assert read_variances(paths).tolist() == [0.01]


@pytest.fixture
def marked() -> pd.DataFrame:
    """The means of methods of which the best in `gauss`, the U-Net, gives one picture for all."""
    table = table_of()
    one = (table["noise"] == "gauss") & (table["method"] == "unet")
    table.loc[one, "variance_share"] = 0.99 * LEAST_VARIANCE
    return table


def test_marked_scores_are_never_bold_best_or_a_yardstick(marked):
    marks = LABELS, CAVEATS, []
    rows = rows_of(score_table(marked, NOISE, *marks))
    assert rows["U-Net"] == ["0.9000 ‡", "0.7000", DASH]
    assert rows["auto-encoder"] == ["**0.8000**", "**0.7100**", DASH]
    assert rows_of(score_table(marked, NOISE, *marks, score="psnr"))["U-Net"][0] == "20.00 ‡"
    assert rows_of(sure_table(marked, NOISE, LABELS))["U-Net"][0].endswith(" ‡")
    pairs = pairs_of(("gauss", "autoencoder", "median", "better"))
    verdicts = rows_of(verdict_table(pairs, marked, NOISE, *marks))
    assert verdicts["auto-encoder"][0] == "**best**"
    assert "U-Net" not in verdicts
    uses = USES | {"unet": ["clean images"], "autoencoder": []}
    lost = rows_of(lost_table(marked, NOISE, LABELS, uses, {}, []))
    assert lost["auto-encoder"][0] == DASH
    assert rows_of(lost_table(table_of(), NOISE, LABELS, uses, {}, []))["auto-encoder"][0] != DASH
    (sentence,) = alike_in_words(marked, LABELS)
    assert sentence.startswith("‡ U-Net: in gauss its images hardly differ from each other")
    assert "5%" in sentence
    assert alike_in_words(table_of(), LABELS) == []


def test_marked_scores_have_no_verdict_in_any_pair():
    scores = score_lines()
    scores["ssim"] += generator(1, "pairs").normal(0, 0.001, len(scores))
    grids = {key: grid for key, grid in grids_of(scores).items() if key[0] == "gauss"}
    judged = compare(grids, [], 0.005)
    assert (judged["verdict"] == "better").any()
    pairs = compare(grids, [], 0.005, {("gauss", "unet")})
    concerned = (pairs[["first", "second"]] == "unet").any(axis=1)
    assert concerned.sum() == 3
    assert (pairs.loc[concerned, "verdict"] == "").all()
    assert (pairs.loc[concerned, "over"] == NOT_JUDGED).all()
    assert pairs.loc[concerned, "p"].isna().all()
    assert pairs.loc[concerned, "difference"].notna().all()
    assert (pairs.loc[~concerned, "verdict"] != "").all()


def test_pages_and_latex_mark_them_too(marked):
    labels = {name: LABELS[name] for name in ("autoencoder", "unet", "median")}
    assert winners(marked, labels)["gauss"] == ["autoencoder"]
    assert winners(table_of(), labels)["gauss"] == ["unet"]
    text = answer(marked, labels, "real images (x)", 3, pairs_of())
    assert text.startswith("Auto-encoder has the highest mean SSIM in 2 of 3 noise settings")
    rows = {row[0]: row for row in answer_table(marked, NOISE, labels).rows}
    assert rows["Gaussian (mean 0, std 1), factor 0.1"][1] == "auto-encoder"
    names = [row[1] for row in methods_table(marked, LABELS, {}).rows if row[0] == "gauss"]
    assert names == ["noisy", "auto-encoder", "U-Net ‡", "median"]
    cells = methods_latex(marked, labels).set_index("Method")["gauss"]
    assert [name for name, cell in cells.items() if ALIKE in cell] == ["U-Net"]


def test_the_figure_of_costs_has_a_caveat_for_them(marked, tmp_path, monkeypatch):
    marked.to_csv(tmp_path / "methods.csv", index=False)
    score_lines().to_csv(tmp_path / "scores.csv", index=False)
    inputs = {name: tmp_path / f"{name}.csv" for name in ("methods", "scores")}
    params = {"dataset": "mine", "rendered": False, "uses": USES, "caveats": CAVEATS}
    figure = figure_of(plot_compute, tmp_path, monkeypatch, input=inputs, params=params)
    assert "† U-Net: in gauss its images hardly differ" in " ".join(figure.get_supxlabel().split())
    best = figure.axes[0].lines[0].get_ydata().max()
    assert best == pytest.approx((0.8 + 0.71) / 2)  # not the U-Net's


def test_the_published_table_marks_them_and_takes_their_verdict():
    lines = [(name, method, 0.8850) for name in TWO for method in ("noisy", "autoencoder")]
    scores = pd.DataFrame(lines, columns=["noise", "method", "ssim"])
    budgets = {"autoencoder": {name: {"steps": 100, "batch": 10} for name in TWO}}
    table = with_published(mean_table(scores, TWO), TWO, PUBLISHED, budgets, SPREAD, ONCE)
    shares = pd.Series(0.9, index=pd.MultiIndex.from_frame(scores[["noise", "method"]]))
    pd.testing.assert_frame_equal(with_marks(table, shares), table)
    shares["first", "autoencoder"] = 0
    found = with_marks(table, shares)
    text = published_form(found, TWO, {"autoencoder": "a"})["SSIM a"].tolist()
    assert text == ["0.8850 ‡ (0.9000, -0.0151)", "0.8850"]
    said = notes(found, {"autoencoder": "a"}, budgets, PUBLISHED)
    assert "SSIM a: not judged, since its scores have the mark ‡." in said
    latex = published_latex(found, TWO, {"autoencoder": "a"})
    assert latex["a"].tolist() == ["0.8850 ‡", "0.8850"]


MEAN_IMAGE = """
import numpy as np
SETTINGS = {"images": {"type": "string"}}
USES = []
def denoise(noisy, noise, settings):
    return np.broadcast_to(np.load(settings["images"]).mean(axis=0), noisy.shape)
"""


@pytest.mark.slow
def test_a_method_that_gives_one_picture_for_all_stands_marked_in_every_table(project: Project):
    noise = "gaussian_0.5_0_1"
    (project.folder / "workflow/scripts/methods/mean_image.py").write_text(MEAN_IMAGE)
    project.edit_config(
        lambda config: config.update(
            methods=config["methods"]
            | {"mean_image": {"images": "resources/datasets/phantom/16px/train.npy"}},
            select={"noise": [noise], "methods": ["mean_image", "median"]},
            table=["mean_image", "median"],
        )
    )
    project.succeed()
    project.succeed("page")
    results = project.folder / "results/phantom"
    means = pd.read_csv(results / "methods.csv", index_col="method")
    assert means["ssim"].idxmax() == "mean_image"  # so it would be in bold
    shares = means["variance_share"]
    assert shares["mean_image"] == 0
    assert shares[["noisy", "median"]].min() > LEAST_VARIANCE
    sentence = f"‡ mean_image: in {noise} its images hardly differ from each other"
    for name in ("table.md", "methods.md", "table.html", "methods.html", "report.html"):
        assert sentence in (results / name).read_text(), name
    score = f"{means.loc['mean_image', 'ssim']:.4f}"
    text = (results / "methods.md").read_text()
    assert re.findall(rf"{score}[^|]*\|", text)
    assert all("‡" in cell for cell in re.findall(rf"{score}[^|]*\|", text))
    assert f"**{score}" not in text
    assert f"**{means.loc['median', 'ssim']:.4f}**" in text
    assert f"{score} ‡" in (results / "table.md").read_text()
    assert f"{score} ‡" in (results / "table.tex").read_text()
    assert "‡" in (results / "methods.tex").read_text()
    pairs = pd.read_csv(results / "pairs.csv", keep_default_na=False)
    assert set(pairs["verdict"]) == {""}
    assert set(pairs["over"]) == {NOT_JUDGED}


def test_an_infinite_ratio_is_shown_and_explained():
    scores = score_lines()
    labels = {"noisy": "noisy", **LABELS}
    (about,) = psnr_notes(scores, labels)
    one = (scores["noise"] == "gauss") & (scores["method"] == "unet")
    scores.loc[one & (scores["image"] == "002"), "psnr"] = np.inf
    same, sentence = psnr_notes(scores, labels)
    assert same == about
    assert sentence.startswith("inf: ")
    assert sentence.endswith(": U-Net in gauss (1 of 3).")
    table = table_of()
    table.loc[(table["noise"] == "gauss") & (table["method"] == "unet"), "psnr"] = np.inf
    rows = rows_of(score_table(table, NOISE, LABELS, {}, [], score="psnr"))
    assert rows["U-Net"][0] == "**inf**"
    assert rows["median"][0] == "20.00"


def test_counts_of_one_are_singular():
    assert [number_of(number, "image") for number in (0, 1, 2)] == [
        "0 images",
        "1 image",
        "2 images",
    ]
    one = pd.DataFrame({"image": ["a", "a"]})
    assert "over 1 test image;" in about_scores(one, rendered=False)[0]


@pytest.mark.slow
def test_a_run_ends_with_the_tables_that_are_there(project: Project):
    select = "select={noise: [gaussian_0.1_0_1], methods: [median]}"
    results = "results/phantom"
    said = project.succeed("--config", select, "--", f"{results}/noisy/gaussian_0.1_0_1/test.npy")
    assert "Results are in" not in said
    said = project.succeed("--config", select, "--", f"{results}/table.md")
    assert f"Results are in {results}; tables: table.md." in said
    said = project.succeed("--config", select, "--", f"{results}/methods.md")
    assert f"Results are in {results}; tables: table.md, methods.md." in said
