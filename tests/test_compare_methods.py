"""The comparison of all methods: its tables and its figure."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from snakemake.iocontainers import Namedlist

import compare_methods
import plot_compute
from compare_methods import (
    best,
    comparison,
    cost_table,
    digits,
    lost_table,
    settings_text,
    ssim_notes,
    ssim_table,
    tuned_table,
)
from plot_compute import MARKED, compute_figure, group_of, summary
from results.reading import read_methods, read_published, read_scores, read_tuned

DASH = "\N{EN DASH}"
NOISE = {
    "gauss": {"distribution": "gaussian", "factor": 0.1, "mean": 0, "std": 1},
    "pois": {"distribution": "poisson", "factor": 0.2, "lambda": 1},
    "dots": {"distribution": "salt_pepper", "share": 0.1},
}
LABELS = {"autoencoder": "auto-encoder", "unet": "U-Net", "median": "median", "snap": "snapped"}
USES = {
    "autoencoder": ["clean images"],
    "unet": ["noise model"],
    "median": [],
    "snap": ["noise model", "clean images"],
}
SSIM = {
    "gauss": {"noisy": 0.4, "autoencoder": 0.8, "unet": 0.9, "median": 0.7},
    "pois": {"noisy": 0.3, "autoencoder": 0.71, "unet": 0.7, "median": 0.6, "snap": 0.95},
    "dots": {"noisy": 0.2, "median": 0.99},
}
CAVEATS = {"snap": "knows the grey values. Real images have others."}
SECONDS = {"gauss": 100, "pois": 300, "dots": 250}
PUBLISHED = {
    "source": "somewhere",
    "image_size": 128,
    "rows": [
        {"noise": NOISE["pois"], "readme": {"noisy": 0.3, "autoencoder": 0.99, "median": 0.5}}
    ],
}


def score_lines(ssim=SSIM) -> pd.DataFrame:
    """Scores of three images around the mean."""
    return pd.DataFrame(
        [
            {"noise": noise, "method": method, "image": image, "ssim": mean + change, "psnr": 20.0}
            for noise, means in ssim.items()
            for method, mean in means.items()
            for image, change in (("NA", 0.02), ("002", -0.01), ("003", -0.01))
        ]
    )


def cost_lines(ssim=SSIM) -> pd.DataFrame:
    """Costs of every method: only the auto-encoder and the U-Net are trained."""
    rows = []
    for noise, means in ssim.items():
        for method in means.keys() - {"noisy"}:
            trained = method in ("autoencoder", "unet")
            rows.append(
                {
                    "noise": noise,
                    "method": method,
                    "parameters": 57_313 + (noise == "pois") if trained else None,
                    "training_images": 1280 if trained else None,
                    "training_seconds": SECONDS[noise] if trained else None,
                    "milliseconds": SECONDS[noise] / 1000,
                }
            )
    return pd.DataFrame(rows)


def table_of(ssim=SSIM, noise=NOISE) -> pd.DataFrame:
    return comparison(score_lines(ssim), cost_lines(ssim), noise, LABELS)


def rows_of(text: pd.DataFrame) -> dict[str, list[str]]:
    return {row[0]: row[1:] for row in text.to_numpy().tolist()}


def test_comparison_has_a_line_for_each_method_that_was_run():
    table = table_of()
    assert list(table.columns) == [
        *("noise", "method", "label", "ssim", "psnr"),
        *("parameters", "training_images", "training_seconds", "milliseconds"),
    ]
    pairs = list(zip(table["noise"], table["method"], strict=True))
    assert pairs[:5] == [("gauss", name) for name in ("noisy", "autoencoder", "unet", "median")] + [
        ("pois", "noisy")
    ]
    assert len(table) == 4 + 5 + 2
    line = table[(table["noise"] == "pois") & (table["method"] == "unet")].iloc[0]
    assert line["ssim"] == pytest.approx(0.7)
    assert line["training_seconds"] == 300
    assert line["label"] == "U-Net"


@pytest.mark.parametrize(
    ("means", "caveats", "bold"),
    [
        ({"a": 0.5, "b": 0.6}, [], {"b"}),
        ({"a": 0.60001, "b": 0.60004, "c": 0.59994}, [], {"a", "b"}),
        ({"a": 0.5, "b": 0.6, "s": 0.9}, ["s"], {"b", "s"}),
        ({"a": 0.5, "b": 0.6, "s": 0.55}, ["s"], {"b"}),
        ({"a": 0.5, "b": 0.6, "s": 0.6}, ["s"], {"b", "s"}),
        ({"a": 0.5, "s": 0.9, "t": 0.8}, ["s", "t"], {"a", "s"}),
        ({"a": 0.5, "b": np.nan, "s": np.nan}, ["s"], {"a"}),
        ({"a": -0.2, "b": -0.1}, [], {"b"}),
        ({"s": 0.9}, ["s", "elsewhere"], {"s"}),
        ({}, [], set()),
    ],
)
def test_bold_is_the_best_and_the_best_without_a_caveat(means, caveats, bold):
    assert best(pd.Series(means, dtype=float), caveats) == bold


def test_table_of_all_methods():
    rows = rows_of(ssim_table(table_of(), NOISE, LABELS, CAVEATS, PUBLISHED))
    assert list(rows.items()) == [
        ("noisy", ["0.4000", "0.3000", "0.2000"]),
        ("*published auto-encoder*", [DASH, "*0.9900*", DASH]),
        ("*published median*", [DASH, "*0.5000*", DASH]),
        ("auto-encoder", ["0.8000", "**0.7100**", DASH]),
        ("U-Net", ["**0.9000**", "0.7000", DASH]),
        ("median", ["0.7000", "0.6000", "**0.9900**"]),
        ("snapped †", [DASH, "**0.9500**", DASH]),
    ]


def test_columns_are_in_the_order_of_the_configuration():
    noise = {name: NOISE[name] for name in ("pois", "dots", "gauss")}
    text = ssim_table(table_of(noise=noise), noise, LABELS, {}, None)
    assert list(text.columns) == ["Method", "pois", "dots", "gauss"]


def test_published_rows_only_where_noise_and_size_fit(tmp_path):
    path = tmp_path / "published.yaml"
    path.write_text(yaml.safe_dump(PUBLISHED))
    assert read_published(path, 64) is None
    assert read_published(None, 128) is None
    assert read_published([], 128) is None
    assert read_published(path, 128) == PUBLISHED
    other = {"gauss": NOISE["gauss"]}
    for noise, published in ((NOISE, None), (other, PUBLISHED)):
        text = ssim_table(table_of(noise=noise), noise, LABELS, CAVEATS, published)
        assert not text["Method"].str.contains("published").any()
        notes = ssim_notes(noise, LABELS, CAVEATS, published)
        assert not any("somewhere" in line for line in notes)
    notes = ssim_notes(NOISE, LABELS, CAVEATS, PUBLISHED)
    assert any("somewhere" in line for line in notes)


def test_notes_explain_bold_marks_and_the_published_poisson_noise():
    assert ssim_notes({"gauss": NOISE["gauss"]}, LABELS, {}, None) == ["In bold: the best method."]
    assert ssim_notes({"gauss": NOISE["gauss"]}, LABELS, CAVEATS, None) == [
        "In bold: the best method, and the best of those without †.",
        "† snapped: knows the grey values. Real images have others.",
    ]
    bold, poisson = ssim_notes(NOISE, {"median": "median"}, CAVEATS, None)
    assert bold == "In bold: the best method."
    assert poisson.startswith("Poisson is the published noise")
    assert "clinical noise" in poisson


def test_costs_are_medians_over_the_noise_settings():
    everywhere = {noise: dict.fromkeys(["noisy", *LABELS], 0.5) for noise in NOISE}
    text = cost_table(table_of(everywhere), LABELS, USES)
    assert list(text.columns) == [
        *("Method", "Clean images", "Noise model", "Parameters", "Image passes"),
        *("Training, s", "ms an image"),
    ]
    rows = rows_of(text)
    assert rows["auto-encoder"] == ["yes", "no", "57,313 to 57,314", "1,280", "250", "0.250"]
    assert rows["U-Net"][:2] == ["no", "yes"]
    assert rows["median"] == ["no", "no", DASH, DASH, DASH, "0.250"]
    assert rows["snapped"][:2] == ["yes", "yes"]


def test_what_is_lost_without_clean_images():
    rows = rows_of(lost_table(table_of(), NOISE, LABELS, USES, CAVEATS))
    # Against the auto-encoder: the only one with clean images that has no caveat.
    assert rows == {
        "U-Net": ["-0.1000", "0.0100", DASH],
        "median": ["0.1000", "0.1100", DASH],
    }
    assert lost_table(table_of(), NOISE, {"snap": "snapped"}, USES, CAVEATS).empty
    dots = table_of({"dots": SSIM["dots"]}, ["dots"])  # where no method with clean images was run
    assert lost_table(dots, ["dots"], LABELS, USES, CAVEATS).empty


def test_numbers_have_about_three_digits():
    assert [digits(value) for value in (0.01234, 1.5, 12.34, 99.9, 1234.5, np.nan)] == [
        *("0.0123", "1.50", "12.3", "99.9", "1,234", DASH)
    ]


def test_tuned_settings_are_the_first_of_each_file(tmp_path):
    path = tmp_path / "tuning" / "pois" / "median.json"
    path.parent.mkdir(parents=True)
    tried = [{"settings": {"size": 5}, "ssim": 0.6}, {"settings": {"size": 3}, "ssim": 0.5}]
    path.write_text(json.dumps(tried))
    tuned = read_tuned([str(path)])
    assert tuned == {("pois", "median"): {"size": 5}}
    text = tuned_table(tuned, NOISE, LABELS)
    assert list(text.columns) == ["Method", *NOISE]
    assert rows_of(text) == {"median": [DASH, "size 5", DASH]}
    assert tuned_table({}, NOISE, LABELS).empty


def test_settings_in_short():
    assert settings_text({"sigma": 1.5, "size": 3}) == "sigma 1.5, size 3"
    assert settings_text({"weight": 0.30000000000000004, "mode": "soft"}) == "weight 0.3, mode soft"
    assert settings_text({}) == settings_text(None) == DASH


def snakemake_of(**parts):
    """What Snakemake hands to a script."""
    return Namedlist(fromdict={name: Namedlist(fromdict=part) for name, part in parts.items()})


@pytest.mark.parametrize("labels", [LABELS, {}])
def test_page_of_all_methods(tmp_path, labels):
    paths = {"scores": [], "costs": []}
    for name, lines in (("scores", score_lines()), ("costs", cost_lines())):
        for (noise, method), some in lines.groupby(["noise", "method"], sort=False):
            if method in ("noisy", *labels):
                paths[name].append(str(tmp_path / f"{name}-{noise}-{method}.csv"))
                some.to_csv(paths[name][-1], index=False)
    tuning = tmp_path / "tuning" / "pois" / "snap.json"
    tuning.parent.mkdir(parents=True)
    tuning.write_text(json.dumps([{"settings": {"size": 5}, "ssim": 0.6}]))
    published = tmp_path / "published.yaml"
    published.write_text(yaml.safe_dump(PUBLISHED | {"image_size": 32}))
    outputs = {name: str(tmp_path / f"out.{name}") for name in ("md", "html", "csv", "scores")}
    params = {
        "dataset": "phantom",
        "rendered": True,
        "image_size": 32,
        "noise": NOISE,
        "labels": labels,
        "uses": {name: USES[name] for name in labels},
        "caveats": CAVEATS,
    }
    job = snakemake_of(
        input=paths | {"tuning": [str(tuning)] if labels else [], "published": str(published)},
        output=outputs,
        params=params,
    )
    compare_methods.main(job)
    text = (tmp_path / "out.md").read_text()
    assert text.startswith("# All methods: digital phantom (phantom)\n")
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    everything = [
        "## SSIM",
        "## Cost and what each method uses",
        "## Lost without clean images",
        "## Tuned settings",
    ]
    assert headings == (everything if labels else everything[:1])
    assert "over 3 test images" in text
    assert "*published auto" in text
    assert "The images are a digital phantom: this says nothing about patients." in text
    assert text.count(" snapped † ") == (3 if labels else 0)  # SSIM, cost, tuned
    assert text.count("- † snapped: ") == (1 if labels else 0)
    assert ("**0.9500**" in text) == bool(labels)
    assert ("<strong>0.9500</strong>" in (tmp_path / "out.html").read_text()) == bool(labels)
    lines = read_scores([tmp_path / "out.scores"])
    assert len(lines) == sum(map(len, map(read_scores, [[path] for path in paths["scores"]])))
    table = read_methods(tmp_path / "out.csv")
    assert set(table["method"]) == {"noisy", *labels}

    plot_compute.main(
        snakemake_of(
            input={"methods": outputs["csv"]},
            output={"figure": str(tmp_path / "compute.png")},
            params=params,
        )
    )
    assert (tmp_path / "compute.png").stat().st_size > 10_000


def test_figure_compares_over_the_settings_that_most_methods_have():
    methods, note = summary(table_of(), USES, CAVEATS)
    assert list(methods.index) == ["autoencoder", "unet", "median"]
    assert methods.loc["median", "ssim"] == pytest.approx((0.7 + 0.6) / 2)  # not over `dots`
    assert methods.loc["unet", "training_seconds"] == 200
    assert methods.loc["median", "milliseconds"] == pytest.approx(0.2)
    mean = "Mean over the noise settings gauss, pois."
    assert note == f"{mean} Left out, since they lack some of these: snapped."


def test_figure_is_of_the_commonest_settings_where_no_setting_has_most_methods():
    ssim = {"gauss": ["autoencoder", "unet"], "pois": ["median"], "dots": ["snap"]}
    table = table_of({name: dict.fromkeys(["noisy", *some], 0.5) for name, some in ssim.items()})
    methods, note = summary(table, USES, CAVEATS)
    assert list(methods.index) == ["autoencoder", "unet"]
    assert note.startswith("Mean over the noise settings gauss. Left out")


def test_groups_of_the_figure():
    kinds = [
        group_of(trained=False, uses=["clean images"], has_caveat=False),
        group_of(trained=True, uses=["clean images", "noise model"], has_caveat=False),
        group_of(trained=True, uses=["noise model"], has_caveat=False),
        group_of(trained=True, uses=["clean images"], has_caveat=True),
    ]
    assert kinds == list(plot_compute.STYLES)
    assert kinds[-1] == MARKED


def test_figure_shows_all_methods_by_time_and_the_trained_ones_by_training():
    figure = compute_figure(summary(table_of(), USES, CAVEATS)[0], "note")
    run, train = figure.axes
    assert {text.get_text() for text in run.texts} == {"auto-encoder", "U-Net", "median"}
    assert {text.get_text() for text in train.texts} == {"auto-encoder", "U-Net"}
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[:-1] == [
        "classical",
        "trained with clean images",
        "trained without clean images",
    ]
    assert legend[-1] == "best at this cost or less"


def test_figure_marks_methods_with_a_caveat_and_explains_it(tmp_path, monkeypatch):
    table_of({"pois": SSIM["pois"]}, ["pois"]).to_csv(tmp_path / "methods.csv", index=False)
    figures = []
    monkeypatch.setattr(
        plot_compute, "compute_figure", lambda *a: figures.append(compute_figure(*a)) or figures[0]
    )
    plot_compute.main(
        snakemake_of(
            input={"methods": str(tmp_path / "methods.csv")},
            output={"figure": str(tmp_path / "compute.png")},
            params={"dataset": "mine", "rendered": True, "uses": USES, "caveats": CAVEATS},
        )
    )
    (figure,) = figures
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[-2:] == ["with a caveat (†)", "best at this cost or less, without †"]
    assert " ".join(figure.get_supxlabel().split()) == (
        "Digital phantom (mine). Mean over the noise settings pois. The images are a digital "
        "phantom: this says nothing about patients. † snapped: knows the grey values. Real images "
        "have others."
    )
    run = figure.axes[0]
    assert run.lines[0].get_ydata().max() == pytest.approx(0.71)  # not that of snapped
    assert {text.get_text() for text in run.texts} == set(LABELS.values())


def test_labels_of_the_figure_do_not_cover_each_other():
    rng = np.random.default_rng(0)
    methods = pd.DataFrame(
        {
            "label": [f"a method, number {number}" for number in range(20)],
            "group": [list(plot_compute.STYLES)[number % 4] for number in range(20)],
            "ssim": rng.uniform(0.6, 0.8, 20),
            "milliseconds": 10 ** rng.uniform(0, 1.5, 20),
            "training_seconds": np.nan,
        }
    )
    figure = compute_figure(methods, "note")
    axis = figure.axes[0]
    assert axis.get_xscale() == "log"
    fair = methods[methods["group"] != MARKED].sort_values("milliseconds")
    line = axis.lines[0].get_xydata().tolist()
    assert line == np.c_[fair["milliseconds"], fair["ssim"].cummax()].tolist()
    renderer = figure.canvas.get_renderer()
    boxes = []
    for text in axis.texts:
        text.update_positions(renderer)
        boxes.append(super(type(text), text).get_window_extent(renderer))
    assert len(boxes) == 20
    for number, box in enumerate(boxes):
        assert box.count_overlaps(boxes[:number]) == 0
        assert np.all(axis.bbox.min <= box.min)
        assert np.all(box.max <= axis.bbox.max)
