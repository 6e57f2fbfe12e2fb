"""The comparison of all methods: its tables, its figure, and the examples of the best one."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from snakemake.iocontainers import Namedlist

import compare_methods
import plot_compute
import plot_examples
from compare_methods import (
    best,
    comparison,
    cost_table,
    digits,
    lost_table,
    read_costs,
    read_methods,
    settings_text,
    ssim_notes,
    ssim_table,
    tuned_table,
)
from make_table import (
    html,
    markdown,
    mean_table,
    read_published,
    read_scores,
    shown,
    with_published,
)
from plot_compute import LATTICE, compute_figure, group_of, summary
from plot_examples import heading_of, shown_methods

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
SECONDS = {"gauss": 100, "pois": 300, "dots": 200}
PUBLISHED = {
    "source": "somewhere",
    "image_size": 128,
    "rows": [
        {"noise": NOISE["pois"], "readme": {"noisy": 0.3, "autoencoder": 0.99, "median": 0.5}}
    ],
}


def score_lines(ssim=SSIM) -> pd.DataFrame:
    """Scores of two images, .01 above and below the mean."""
    return pd.DataFrame(
        [
            {"noise": noise, "method": method, "image": image, "ssim": mean + change, "psnr": 20.0}
            for noise, means in ssim.items()
            for method, mean in means.items()
            for image, change in (("NA", 0.01), ("002", -0.01))
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
    ("means", "lattice", "bold"),
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
def test_bold_is_the_best_and_the_best_without_the_lattice(means, lattice, bold):
    assert best(pd.Series(means, dtype=float), lattice) == bold


def test_table_of_all_methods():
    rows = rows_of(ssim_table(table_of(), NOISE, LABELS, ["snap"], PUBLISHED))
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
    text = ssim_table(table_of(noise=noise), noise, LABELS, [], None)
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
        text = ssim_table(table_of(noise=noise), noise, LABELS, ["snap"], published)
        assert not text["Method"].str.contains("published").any()
        notes = ssim_notes("real images", 2, noise, LABELS, ["snap"], published)
        assert not any("somewhere" in line for line in notes)
    notes = ssim_notes("real images", 2, NOISE, LABELS, ["snap"], PUBLISHED)
    assert any("somewhere" in line for line in notes)


def test_notes_explain_the_lattice_where_there_is_one_and_warn_of_the_phantom():
    with_lattice = ssim_notes("digital phantom", 80, NOISE, LABELS, ["snap"], None)
    without = ssim_notes("real images", 80, NOISE, {"median": "median"}, ["snap"], None)
    assert "Mean structural similarity (SSIM) over 80 test images; higher is better." in without
    assert any(line.startswith("†") and "not on clinical noise" in line for line in with_lattice)
    assert not any("†" in line for line in without)
    poisson = [line for line in without if line.startswith("Poisson is the published noise")]
    assert len(poisson) == 1
    gauss = ssim_notes("real images", 80, {"gauss": NOISE["gauss"]}, LABELS, [], None)
    assert not any(line.startswith("Poisson") for line in gauss)
    warning = "The images are a digital phantom: this says nothing about patients."
    assert warning in with_lattice
    assert warning not in without


def test_costs_are_medians_over_the_noise_settings():
    everywhere = {noise: dict.fromkeys(["noisy", *LABELS], 0.5) for noise in NOISE}
    text = cost_table(table_of(everywhere), LABELS, USES, ["snap"])
    assert list(text.columns) == [
        *("Method", "Clean images", "Noise model", "Parameters", "Image passes"),
        *("Training, s", "ms an image"),
    ]
    rows = rows_of(text)
    assert rows["auto-encoder"] == ["yes", "no", "57,313 to 57,314", "1,280", "200", "0.200"]
    assert rows["U-Net"][:2] == ["no", "yes"]
    assert rows["median"] == ["no", "no", DASH, DASH, DASH, "0.200"]
    assert rows["snapped †"][:2] == ["yes", "yes"]


def test_what_is_lost_without_clean_images():
    rows = rows_of(lost_table(table_of(), NOISE, LABELS, USES, ["snap"]))
    # Against the auto-encoder: the only one with clean images that does not exploit the lattice.
    assert rows == {
        "U-Net": ["-0.1000", "0.0100", DASH],
        "median": ["0.1000", "0.1100", DASH],
    }
    assert lost_table(table_of(), NOISE, {"snap": "snapped"}, USES, ["snap"]).empty


def test_numbers_have_about_three_digits():
    assert [digits(value) for value in (0.01234, 1.5, 12.34, 99.9, 1234.5, np.nan)] == [
        *("0.0123", "1.50", "12.3", "99.9", "1,234", DASH)
    ]


def test_tuned_settings_are_the_first_of_each_file(tmp_path):
    path = tmp_path / "tuning" / "pois" / "median.json"
    path.parent.mkdir(parents=True)
    tried = [{"settings": {"size": 5}, "ssim": 0.6}, {"settings": {"size": 3}, "ssim": 0.5}]
    path.write_text(json.dumps(tried))
    tuned = compare_methods.read_tuned([str(path)])
    assert tuned == {("pois", "median"): {"size": 5}}
    text = tuned_table(tuned, NOISE, LABELS, [])
    assert list(text.columns) == ["Method", *NOISE]
    assert rows_of(text) == {"median": [DASH, "size 5", DASH]}
    assert tuned_table({}, NOISE, LABELS, []).empty


def test_settings_in_short():
    assert settings_text({"sigma": 1.5, "size": 3}) == "sigma 1.5, size 3"
    assert settings_text({"weight": 0.30000000000000004, "mode": "soft"}) == "weight 0.3, mode soft"
    assert settings_text({}) == settings_text(None) == DASH


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


def test_pages_mark_whole_cells_and_escape_the_rest():
    table = pd.DataFrame({"Method": ["*a*", "b*", "<c>"], "x": ["**1**", DASH, "*"]})
    text = markdown("Title", "Part", table, ["line"])
    assert text.startswith("# Title\n\n## Part\n\n|")
    assert text.endswith("|\n\n- line\n")
    page = html("Title", "Part", table, ["line"])
    for cell in ("<i>a</i>", "b*", "&lt;c&gt;", "<b>1</b>", DASH, "*"):
        assert f"<td>{cell}</td>" in page
    assert page.index("<h1>Title</h1>") < page.index("<h2>Part</h2>") < page.index("<li>line</li>")


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
    tuning = tmp_path / "tuning" / "gauss" / "median.json"
    tuning.parent.mkdir(parents=True)
    tuning.write_text(json.dumps([{"settings": {"size": 5}, "ssim": 0.6}]))
    published = tmp_path / "published.yaml"
    published.write_text(yaml.safe_dump(PUBLISHED))
    outputs = {name: str(tmp_path / f"out.{name}") for name in ("md", "html", "csv", "scores")}
    params = {
        "dataset": "phantom",
        "kind": "digital phantom",
        "image_size": 128,
        "noise": NOISE,
        "labels": labels,
        "uses": {name: USES[name] for name in labels},
        "lattice": ["snap"],
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
    assert "over 2 test images" in text
    assert ("**0.9500**" in text) == bool(labels)
    assert ("<b>0.9500</b>" in (tmp_path / "out.html").read_text()) == bool(labels)
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
    methods, note = summary(table_of(), USES, ["snap"])
    assert list(methods.index) == ["autoencoder", "unet", "median"]
    assert methods.loc["median", "ssim"] == pytest.approx((0.7 + 0.6) / 2)  # not over `dots`
    assert methods.loc["unet", "training_seconds"] == 200
    assert methods.loc["median", "milliseconds"] == pytest.approx(0.2)
    assert note == (
        "Mean over the noise settings gauss, pois. Left out, since they lack some of these: snapped."
    )


def test_groups_of_the_figure():
    kinds = [
        group_of("a", False, ["clean images"], ["c"]),
        group_of("a", True, ["clean images", "noise model"], ["c"]),
        group_of("b", True, ["noise model"], ["c"]),
        group_of("c", True, ["clean images"], ["c"]),
    ]
    assert kinds == list(plot_compute.STYLES)
    assert kinds[-1] == LATTICE


def test_figure_shows_all_methods_by_time_and_the_trained_ones_by_training():
    figure = compute_figure(summary(table_of(), USES, ["snap"])[0], "note")
    run, train = figure.axes
    assert {text.get_text() for text in run.texts} == {"auto-encoder", "U-Net", "median"}
    assert {text.get_text() for text in train.texts} == {"auto-encoder", "U-Net"}
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[:-1] == [
        "classical",
        "trained with clean images",
        "trained without clean images",
    ]


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


def test_examples_show_the_published_methods_and_the_best():
    labels = {"autoencoder": "auto-encoder", "median": "median"}
    means = {"autoencoder": 0.8, "unet": 0.9, "median": 0.7, "snap": 0.6}
    assert list(shown_methods(labels, LABELS, means).items()) == [
        *labels.items(),
        ("unet", "best here: U-Net"),
    ]
    assert shown_methods(labels, LABELS, means | {"median": 0.95}) == labels
    assert shown_methods(labels, {"median": "median"}, {"median": 0.7}) == {"median": "median"}
    assert shown_methods(labels, {}, {}) == {}


def test_headings_leave_out_a_factor_that_is_not_there():
    assert heading_of(NOISE["gauss"]) == "Gaussian (mean 0, std 1), factor 0.1"
    assert heading_of(NOISE["dots"]) == "Salt-Pepper (share 0.1)"
    table = pd.DataFrame({"noise": ["dots"], "noisy": [0.5]})
    assert shown(table, NOISE, {})["Noise factor"].tolist() == [DASH]


def test_published_form_has_a_dash_where_a_method_was_not_run():
    published = PUBLISHED | {"tolerance": {"snap": {"within": 0.1}}}
    published["rows"] = [{"noise": NOISE["gauss"], "readme": {"snap": 1}, "notebook": {"snap": 1}}]
    noise = {name: NOISE[name] for name in ("gauss", "pois")}
    table = mean_table(score_lines(), noise)
    table = with_published(table, noise, published, {})
    assert "agrees_snap" not in table
    text = shown(table, noise, {"snap": "snapped", "elsewhere": "never run"})
    assert text["SSIM snapped"].tolist() == [DASH, "0.9500"]
    assert text["SSIM never run"].tolist() == [DASH, DASH]


def test_figure_of_examples_has_the_images_and_scores_of_the_best(tmp_path, monkeypatch):
    methods = ["noisy", "autoencoder", "unet", "median", "snap"]
    images = {name: np.full((3, 8, 8), number / 5) for number, name in enumerate(methods)}
    for name, ssim in zip(methods, (0.1, 0.5, 0.9, 0.6, 0.7), strict=True):
        np.save(tmp_path / f"{name}.npy", images[name])
        pd.DataFrame({"ssim": [ssim, ssim - 0.1, ssim]}).to_csv(tmp_path / f"{name}.csv")
    np.save(tmp_path / "clean.npy", np.zeros((3, 8, 8)))
    ids = pd.DataFrame({"id": ["1", "2", "3"], "part": "test"})
    ids.to_csv(tmp_path / "split.csv", index=False)
    drawn = []
    real = plot_examples.example_figure
    monkeypatch.setattr(plot_examples, "example_figure", lambda *a: drawn.append(a) or real(*a))
    plot_examples.main(
        snakemake_of(
            input={
                "clean": str(tmp_path / "clean.npy"),
                "split": str(tmp_path / "split.csv"),
                "noisy": str(tmp_path / "noisy.npy"),
                "denoised": [str(tmp_path / f"{name}.npy") for name in LABELS],
                "scores": [str(tmp_path / f"{name}.csv") for name in methods],
            },
            output={"figure": str(tmp_path / "examples.png")},
            params={
                "dataset": "phantom",
                "kind": "digital phantom",
                "noise": NOISE["dots"],
                "labels": {"autoencoder": "auto-encoder", "median": "median"},
                "candidates": LABELS,
            },
        )
    )
    columns, similarity, names, title = drawn[0]
    headings = ["noisy", "auto-encoder", "median", "best here: U-Net"]
    assert list(columns) == ["ground truth", *headings]
    np.testing.assert_array_equal(columns["best here: U-Net"], images["unet"])
    assert list(similarity) == headings
    assert similarity["best here: U-Net"] == pytest.approx([0.9, 0.8, 0.9])
    assert names == ["1", "2", "3"]
    assert title == "digital phantom (phantom): Salt-Pepper (share 0.1)"
    assert (tmp_path / "examples.png").exists()
