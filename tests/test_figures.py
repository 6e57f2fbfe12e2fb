"""The figures of a run; that of the costs is tested with the comparison of all methods."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import plot_errors
import plot_examples
import plot_paired
import plot_training
from conftest import TWO_NOISES
from noise.seeds import generator
from plot_errors import autocorrelation, mean_autocorrelation, mean_errors, white_noise
from plot_examples import detail, ranked, short
from plot_paired import by_image, standing
from results.figures import FIRST, interpolation, methods_shown, style
from results.intervals import half_width
from results.wording import PHANTOM_WARNING
from test_results import DOTS, figure_of, texts_of

CANDIDATES = {"autoencoder": "auto-encoder", "unet": "U-$^$", "median": "median", "tv": "TV"}
PUBLISHED = ["autoencoder", "median"]
PARAMS = {"dataset": "phantom", "rendered": True, "noise": DOTS, "published": PUBLISHED}
PARAMS |= {"repeated": False}
SSIM = {"noisy": 0.1, "autoencoder": 0.5, "unet": 0.9, "median": 0.6, "tv": 0.7}


def said(figure) -> str:
    """What is written under a figure, in one line."""
    return " ".join(figure.get_supxlabel().split())


def test_published_methods_are_shown_and_then_the_best():
    ssim = {name: SSIM[name] for name in CANDIDATES}
    assert methods_shown(CANDIDATES, PUBLISHED, ssim, 3) == ["autoencoder", "unet", "median"]
    assert methods_shown(CANDIDATES, PUBLISHED, ssim, 9) == [*CANDIDATES]
    assert methods_shown(CANDIDATES, CANDIDATES, ssim, 2) == ["unet", "tv"]
    assert methods_shown(["tv"], PUBLISHED, ssim, 1) == ["tv"]
    assert methods_shown([], PUBLISHED, ssim, 1) == []


def test_images_of_few_pixels_are_drawn_as_they_are():
    kinds = [interpolation(np.zeros((size, size)), 1) for size in (16, 120, 121)]
    assert kinds == ["none", "none", "antialiased"]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.3, 0.1, 0.5, 0.4, 0.2], {2: "best", 0: "median", 1: "worst"}),
        ([0.2, 0.1, 0.4, 0.3], {2: "best", 3: "median", 1: "worst"}),
        ([0.1, 0.2], {1: "best", 0: "worst"}),
        ([0.1], {0: ""}),
        ([0.2, 0.2, 0.2], {0: ""}),
        ([0.2, np.nan, 0.1], {0: ""}),
    ],
)
def test_best_median_and_worst_image(scores, expected):
    assert list(ranked(scores).items()) == list(expected.items())


def test_long_names_lose_their_middle():
    assert short("a" * 40) == "a" * 40
    assert short("begin" + "a" * 200 + "end") == "begin" + "a" * 14 + "..." + "a" * 15 + "end"


def files_of_examples(folder, images=3) -> dict:
    """Images, of one grey value each, and scores; the second image has the lowest."""
    for name, mean in ({"clean": 0} | SSIM).items():
        np.save(folder / f"{name}.npy", np.full((images, 16, 16), mean))
        scores = pd.DataFrame({"ssim": [mean, mean - 0.1, mean + 0.05][:images]})
        scores.to_csv(folder / f"{name}.csv", index=False)
    (folder / "split.csv").write_text("id,part\n$^$,test\n2,test\n3,test\n")
    return {
        "clean": folder / "clean.npy",
        "noisy": folder / "noisy.npy",
        "split": folder / "split.csv",
        "denoised": [folder / f"{name}.npy" for name in CANDIDATES],
        "scores": [folder / f"{name}.csv" for name in SSIM],
    }


@pytest.mark.parametrize("repeated", [False, True])
def test_figure_of_examples_has_images_errors_and_details(tmp_path, monkeypatch, repeated):
    inputs = files_of_examples(tmp_path)
    params = PARAMS | {"candidates": CANDIDATES, "repeated": repeated}
    figure = figure_of(plot_examples, tmp_path, monkeypatch, input=inputs, params=params)
    title, note = texts_of(figure.texts)
    assert title == "digital phantom (phantom): Salt-Pepper (share 0.1)"
    assert " ".join(note.split()).startswith(
        'Test images: the best, the median, the worst by the SSIM of "auto-encoder". Below each:'
    )
    assert "Of 4 methods these are" in note
    assert (FIRST in " ".join(note.split())) == repeated
    assert PHANTOM_WARNING in " ".join(note.split())
    *cells, bar = figure.axes
    rows = np.reshape(cells, (5, 3)).T
    headings = [
        f"{name}\nmean SSIM {SSIM[method] - 0.05 / 3:.3f}"
        for method, name in {"noisy": "noisy"}.items() | CANDIDATES.items()
        if method != "tv"
    ]
    assert rows[0][0].get_title() == "ground truth"
    assert {axis.get_title() for axis in rows[0][1:]} == set(headings)
    names = [axis.get_ylabel() for axis in rows[:, 0]]
    assert names == ["best image 3", "median image $^$", "worst image 2"]
    below = ["", "SSIM 0.000", "SSIM 0.400", "SSIM 0.800", "SSIM 0.500"]
    assert [axis.get_xlabel() for axis in rows[2]] == below
    for axis, grey in zip(rows[2], (0, 0.1, 0.5, 0.9, 0.6), strict=True):
        image, enlarged, *error = axis.images
        assert (image.get_array() == grey).all()
        assert enlarged.get_array().shape == detail(np.zeros((16, 16))).shape
        assert (image.norm.vmin, image.norm.vmax) == (0, 1)
        assert [(some.get_array() == grey).all() for some in error] == [True] * (grey > 0)
        assert {some.norm.vmax for some in error} <= {plot_examples.ERROR}
    assert bar.get_xlim() == (0, plot_examples.ERROR)


def test_the_detail_is_what_the_frame_holds():
    image = np.arange(128 * 128).reshape(128, 128)
    part = detail(image)
    left, top, side = plot_examples.DETAIL
    assert part.shape == (38, 38)
    assert part[0, 0] == image[round(top * 128), round(left * 128)]
    assert max(left, top) + side < 1


def test_examples_of_one_image_or_without_methods(tmp_path, monkeypatch):
    inputs = files_of_examples(tmp_path, images=1)
    inputs |= {"denoised": [], "scores": inputs["scores"][:1]}
    params = PARAMS | {"candidates": {}}
    figure = figure_of(plot_examples, tmp_path, monkeypatch, input=inputs, params=params)
    note = " ".join(figure.texts[1].get_text().split())
    assert note.startswith(
        'By the SSIM of "noisy" no test image is best: there is one, or no score'
    )
    assert figure.axes[0].get_ylabel() == "image $^$"


def training_files(folder, *names: str) -> dict:
    """Histories; in that of the second training the losses are twice those of the first."""
    paths = [folder / "training" / f"{name}.csv" for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        factor = 2 if path.stem == "2" else 1
        lines = f"4,{0.2 * factor},\n8,{0.1 * factor},{0.15 * factor}\n"
        path.write_text(f"images,loss,validation_loss\n{lines}")
    return {"input": {"histories": paths}, "params": {"labels": {"unet": "U-Net", "dncnn": "Dn"}}}


def test_figure_of_the_training_has_a_panel_a_method_and_a_look_a_noise_setting(
    tmp_path, monkeypatch
):
    parts = training_files(tmp_path, "a/unet", "b/unet", "b/dncnn")
    figure = figure_of(plot_training, tmp_path, monkeypatch, **parts)
    unet, dncnn = figure.axes
    assert [axis.get_title("left") for axis in (unet, dncnn)] == ["U-Net", "Dn"]
    loss, dots = (line.get_xydata().tolist() for line in dncnn.lines)
    assert (loss, dots) == ([[4, 0.2], [8, 0.1]], [[8, 0.15]])
    looks = [style(index)["color"] for index in (0, 0, 1, 1)]
    assert [line.get_color() for line in unet.lines] == looks
    assert [line.get_linestyle() for line in unet.lines[::2]] == ["-", "--"]
    assert texts_of(figure.legends[0].get_texts()) == ["a", "b"]
    assert said(figure).endswith("Each network was trained once, so there is no spread.")


def test_figure_of_several_trainings_shows_their_spread(tmp_path, monkeypatch):
    parts = training_files(tmp_path, "a/unet", "a/unet/2", "a/dncnn")
    figure = figure_of(plot_training, tmp_path, monkeypatch, **parts)
    unet, dncnn = figure.axes
    np.testing.assert_allclose(unet.lines[0].get_ydata(), [0.3, 0.15])
    band = unet.collections[0].get_paths()[0].vertices
    assert {(x, round(y, 9)) for x, y in band} == {(4, 0.2), (4, 0.4), (8, 0.1), (8, 0.2)}
    (bar,) = unet.collections[1].get_segments()
    np.testing.assert_allclose(bar, [[8, 0.15], [8, 0.3]])
    np.testing.assert_allclose(dncnn.lines[0].get_ydata(), [0.2, 0.1])
    assert "from the lowest to the highest of 2 trainings" in said(figure)


def score_lines(**ssim: dict) -> pd.DataFrame:
    """Lines of scores, by noise setting and method the SSIM of the images `a`, `b` ..."""
    lines = [
        (noise, method, "abcdef"[index], value, 20.0)
        for noise, methods in ssim.items()
        for method, values in methods.items()
        for index, value in enumerate(values)
    ]
    return pd.DataFrame(lines, columns=["noise", "method", "image", "ssim", "psnr"])


def test_methods_stand_by_their_mean_rank():
    one = {"noisy": [0.1], "a": [0.5], "b": [0.6], "c": [0.7]}
    scores = score_lines(easy=one | {"d": [0.9]}, hard={"a": [0.1], "b": [0.2], "c": [0.3]})
    assert standing(scores, "abc") == pytest.approx({"c": 1, "b": 2 / 3, "a": 1 / 3})
    assert list(standing(scores, "abcd")) == ["d", "c", "b", "a"]


def test_scores_by_image_are_means_over_repetitions():
    scores = score_lines(x={"a": [0.1, 0.2], "b": [0.3, 0.4]}, y={"b": [0.5, 0.6]})
    again = scores.assign(ssim=scores["ssim"] + 0.2, training=2, draw=1)
    tables = by_image(pd.concat([scores, again]), ["b", "a"])
    assert list(tables["x"]) == ["b", "a"]
    assert list(tables["y"]) == ["b"]
    np.testing.assert_allclose(tables["x"], [[0.4, 0.2], [0.5, 0.3]])


def paired_of(scores, folder, monkeypatch, candidates=CANDIDATES):
    scores.to_csv(folder / "scores.csv", index=False)
    parts = {"input": {"scores": folder / "scores.csv"}}
    params = PARAMS | {"candidates": candidates}
    return figure_of(plot_paired, folder, monkeypatch, **parts, params=params)


def test_paired_scores_are_joined_image_by_image(tmp_path, monkeypatch):
    values = {"noisy": [0.1, 0.2], "unet": [0.8, 0.9], "median": [0.5, 0.7], "tv": [0.6, 0.6]}
    figure = paired_of(score_lines(x=values, y={"unet": [0.7, 0.8]}), tmp_path, monkeypatch)
    x, y = figure.axes
    assert [axis.get_title("left") for axis in (x, y)] == ["x", "y"]
    assert texts_of(x.get_yticklabels()) == ["U-$^$", "median", "TV", "auto-encoder"]
    joined = [path.tolist() for path in x.collections[0].get_segments()]
    assert joined == [[[0.8, 3], [0.5, 2], [0.6, 1]], [[0.9, 3], [0.7, 2], [0.6, 1]]]
    dots = [line.get_xdata().tolist() for line in x.lines if len(line.get_xdata()) == 2]
    assert [*values.values()][1:] == dots[:3]
    bars = [bar.get_segments()[0][:, 0] for bar in x.collections[1:]]
    expected = [np.mean(v) + half_width(v) * np.array([-1, 1]) for v in ([0.8, 0.9], [0.5, 0.7])]
    np.testing.assert_allclose(bars, expected)  # none for scores that are all the same
    assert said(figure).endswith(plot_paired.NO_MEAN)
    assert PHANTOM_WARNING in said(figure)


def test_paired_scores_of_many_methods_are_those_of_some(tmp_path, monkeypatch):
    names = [f"m{index:02}" for index in range(20)]
    values = {name: [index / 20, index / 19] for index, name in enumerate(names)}
    scores = score_lines(x=values | {"median": [0.1, 0.2]})
    labels = dict(zip(names, names, strict=True)) | {"median": "median"}
    figure = paired_of(scores, tmp_path, monkeypatch, labels)
    shown = texts_of(figure.axes[0].get_yticklabels())
    assert shown == [*names[:-8:-1], "median"]
    assert "Of 21 methods these are the published ones" in said(figure)
    assert plot_paired.NO_MEAN not in said(figure)


def test_paired_scores_of_one_image_or_of_no_method(tmp_path, monkeypatch):
    scores = score_lines(x={"noisy": [0.1], "median": [0.5]})
    figure = paired_of(scores, tmp_path, monkeypatch, {"median": "median"})
    (axis,) = figure.axes
    assert [line.get_xdata().tolist() for line in axis.lines] == [[0.5]]
    assert plot_paired.NO_MEAN in said(figure)
    assert plot_paired.NONE in said(paired_of(scores, tmp_path, monkeypatch, {}))


def test_errors_are_means_over_the_images():
    clean, other = np.zeros((2, 3, 3)), np.stack([np.full((3, 3), 0.5), np.full((3, 3), -0.3)])
    absolute, signed = mean_errors(clean, other)
    np.testing.assert_allclose(absolute, 0.4)
    np.testing.assert_allclose(signed, 0.1)


def test_autocorrelation_is_the_correlation_of_pixels_at_a_distance():
    stripes = np.tile([0.0, 1.0], (16, 8))
    np.testing.assert_allclose(autocorrelation(stripes, 3), [0, 1, 0])  # down 1, across -1, 1, -1
    noise = generator(1, "noise").standard_normal((200, 200))
    expected = np.corrcoef(noise[2:].ravel(), noise[:-2].ravel())[0, 1]
    across = np.corrcoef(noise[:, 2:].ravel(), noise[:, :-2].ravel())[0, 1]
    assert autocorrelation(noise, 2)[1] == pytest.approx((expected + across) / 2, abs=1e-4)
    assert np.isnan(autocorrelation(0.1 + np.zeros((8, 8)), 2)).all()


def test_the_band_holds_as_many_means_of_white_noise_as_it_says():
    images = generator(1, "white").standard_normal((1200, 32, 32))
    groups = [mean_autocorrelation(some, np.zeros_like(some)) for some in np.split(images, 300)]
    inside = np.abs(groups) <= white_noise((4, 32, 32))
    assert 0.94 < inside.mean() < 0.97


def test_figure_of_errors_has_maps_and_curves(tmp_path, monkeypatch):
    rng = generator(1, "images")
    clean = rng.random((3, 16, 16))
    noisy = clean + 0.1 * rng.standard_normal(clean.shape)
    stored = {"clean": clean, "noisy": noisy, "half": (noisy + clean) / 2, "same": noisy}
    for name, images in stored.items():
        np.save(tmp_path / f"{name}.npy", images)
        (tmp_path / f"{name}.csv").write_text("ssim\n0.5\n0.6\n0.7\n")
    inputs = {name: tmp_path / f"{name}.npy" for name in ("clean", "noisy")}
    inputs["denoised"] = [tmp_path / "half.npy", tmp_path / "same.npy"]
    inputs["scores"] = [tmp_path / "half.csv", tmp_path / "same.csv"]
    params = PARAMS | {"candidates": {"half": "Half", "same": "Same"}}
    figure = figure_of(plot_errors, tmp_path, monkeypatch, input=inputs, params=params)
    maps, curves = figure.subfigs
    headings = [axis.get_title() for axis in maps.axes[:3]]
    assert headings == ["noisy", "Half", "Same"]
    for name, axis, below in zip(("noisy", "half"), maps.axes, maps.axes[3:], strict=False):
        error = stored[name] - clean
        np.testing.assert_allclose(axis.images[0].get_array(), np.abs(error).mean(axis=0))
        np.testing.assert_allclose(below.images[0].get_array(), error.mean(axis=0))
    scales = {(axis.images[0].norm.vmin, axis.images[0].norm.vmax) for axis in maps.axes[:3]}
    assert len(scales) == 1
    noise, half, same = (line.get_ydata() for line in curves.axes[0].lines)
    np.testing.assert_allclose(half, noise)  # half of the noise correlates as all of it does
    assert np.isnan(same).all()
    assert to_hex(curves.axes[0].lines[0].get_color()) == "#000000"
    assert "the test images (3)" in said(figure)
    assert FIRST not in said(figure)
    assert f"{plot_errors.NO_CURVE.format('Same')} {PHANTOM_WARNING}" in said(figure)
    params |= {"repeated": True}
    figure = figure_of(plot_errors, tmp_path, monkeypatch, input=inputs, params=params)
    assert FIRST in said(figure)


@pytest.mark.slow
def test_the_target_figures_makes_all_figures_and_a_run_only_some(finished, tmp_path):
    made = {"training", "compute", *TWO_NOISES}
    folder = finished.folder / "results/phantom/figures"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} == {
        f"{name}.{kind}" for name in made for kind in ("png", "svg")
    }
    copy = finished.copied(tmp_path / "copy")
    errors = {("plot_errors", noise) for noise in TWO_NOISES}
    assert copy.planned("figures") == {("plot_paired",), *errors}
    copy.succeed("figures")
    assert copy.planned("figures") == set()
    assert copy.planned() == set()
