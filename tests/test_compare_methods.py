"""The comparison of all methods: its tables and its figure."""

import re

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import yaml
from matplotlib.text import Text

import compare_methods
import plot_compute
from compare_methods import lost_table, score_table, ssim_notes
from engine.messages import InputError
from plot_compute import MARKED, compute_figure, group_of, summary
from results.fairness import (
    cost_table,
    digits,
    given_notes,
    read_trials,
    require_equal_seconds,
    settings_text,
    tuned_table,
)
from results.intervals import ENOUGH, FEW, IMAGES, PAIRS, TRAININGS, half_width
from results.reading import COSTS, read_methods, read_published, read_scores, read_tuned
from results.wording import PHANTOM_WARNING
from test_results import DASH, DOTS, figure_of, job_of, texts_of

NOISE = {
    "gauss": {"distribution": "gaussian", "factor": 0.1, "mean": 0, "std": 1},
    "pois": {"distribution": "poisson", "factor": 0.2, "lambda": 1},
    "dots": DOTS,
}
LABELS = {"autoencoder": "auto-encoder", "unet": "U-Net", "median": "median", "snap": "snapped"}
USES = {"autoencoder": ["clean images"], "unet": ["noise model"], "median": []}
USES["snap"] = ["noise model", "clean images"]
SSIM = {
    "gauss": {"noisy": 0.4, "autoencoder": 0.8, "unet": 0.9, "median": 0.7},
    "pois": {"noisy": 0.3, "autoencoder": 0.71, "unet": 0.7, "median": 0.6, "snap": 0.95},
    "dots": {"noisy": 0.2, "median": 0.99},
}
CAVEATS = {"snap": "knows the grey values. Real images have others."}
SECONDS = {"gauss": 100, "pois": 300, "dots": 250}
ROW = {"noise": NOISE["pois"], "readme": {"noisy": 0.3, "autoencoder": 0.99, "median": 0.5}}
PUBLISHED = {"source": "somewhere", "image_size": 32, "rows": [ROW]}


def score_lines(ssim=SSIM) -> pd.DataFrame:
    """Scores of three images around the mean."""
    lines = [
        (noise, method, image, mean + change, 20.0)
        for noise, means in ssim.items()
        for method, mean in means.items()
        for image, change in (("NA", 0.02), ("002", -0.01), ("003", -0.01))
    ]
    return pd.DataFrame(lines, columns=["noise", "method", "image", "ssim", "psnr"])


def cost_lines(ssim=SSIM) -> pd.DataFrame:
    """Costs of every method: only the auto-encoder and the U-Net are trained."""
    lines = []
    for noise, means in ssim.items():
        seconds = SECONDS[noise]
        trained = (57_313 + (noise == "pois"), 1280, seconds)
        for method in means.keys() - {"noisy"}:
            costs = trained if method in ("autoencoder", "unet") else [None] * 3
            lines.append((noise, method, *costs, seconds / 1000))
    return pd.DataFrame(lines, columns=["noise", "method", *COSTS])


def variance_lines(ssim=SSIM) -> pd.DataFrame:
    """How much the images of each method vary: as those of filters do."""
    keys = [(noise, method) for noise, means in ssim.items() for method in means]
    return pd.DataFrame(keys, columns=["noise", "method"]).assign(variance_share=0.9)


def table_of(ssim=SSIM, noise=NOISE) -> pd.DataFrame:
    variances = variance_lines(ssim).set_index(["noise", "method"])["variance_share"]
    return compare_methods.comparison(score_lines(ssim), cost_lines(ssim), variances, noise, LABELS)


def rows_of(text: pd.DataFrame) -> dict[str, list[str]]:
    return {row[0]: row[1:] for row in text.to_numpy().tolist()}


def test_comparison_has_a_line_for_each_method_that_was_run():
    table = table_of()
    names = ["noise", "method", "label", "ssim", "ssim_half_width", "psnr"]
    assert list(table) == [*names, *COSTS, "variance_share"]
    pairs = table[["noise", "method"]].to_numpy().tolist()
    assert pairs == [[noise, method] for noise, means in SSIM.items() for method in means]
    line = table.set_index(["noise", "method"]).loc["pois", "unet"]
    assert line["ssim"] == pytest.approx(0.7)
    assert line[["label", "training_seconds"]].tolist() == ["U-Net", 300]


@pytest.mark.parametrize(
    ("means", "caveats", "bold"),
    [
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
    assert compare_methods.best(pd.Series(means, dtype=float), caveats) == bold


def test_table_of_all_methods():
    rows = rows_of(score_table(table_of(), NOISE, LABELS, CAVEATS, [], PUBLISHED))
    assert list(rows.items()) == [
        ("noisy", ["0.4000", "0.3000", "0.2000"]),
        ("*published auto-encoder*", [DASH, "*0.9900*", DASH]),
        ("*published median*", [DASH, "*0.5000*", DASH]),
        ("auto-encoder", ["0.8000", "**0.7100**", DASH]),
        ("U-Net", ["**0.9000**", "0.7000", DASH]),
        ("median", ["0.7000", "0.6000", "**0.9900**"]),
        ("snapped †", [DASH, "**0.9500**", DASH]),
    ]
    noise = {name: NOISE[name] for name in ("pois", "dots", "gauss")}
    assert list(score_table(table_of(), noise, LABELS, {}, [])) == ["Method", *noise]


def test_published_rows_only_where_noise_and_size_fit(tmp_path):
    path = tmp_path / "published.yaml"
    path.write_text(yaml.safe_dump(PUBLISHED))
    assert [read_published(*some) for some in ((path, 64), (None, 32), ([], 32))] == [None] * 3
    assert read_published(path, 32) == PUBLISHED
    for noise, published in ((NOISE, None), ({"gauss": NOISE["gauss"]}, PUBLISHED)):
        text = score_table(table_of(noise=noise), noise, LABELS, CAVEATS, [], published)
        assert not text["Method"].str.contains("published").any()
        assert "somewhere" not in "".join(ssim_notes(noise, LABELS, CAVEATS, [], published))
    assert "somewhere" in "".join(ssim_notes(NOISE, LABELS, CAVEATS, [], PUBLISHED))


def test_each_mean_says_how_sure_it_is():
    rows = rows_of(compare_methods.sure_table(table_of(), NOISE, LABELS))
    scores = np.array([0.02, -0.01, -0.01]) + 0.9  # of the U-Net
    low, high = scipy.stats.t.interval(0.95, 2, scores.mean(), scipy.stats.sem(scores))
    assert rows["U-Net"] == [f"0.9000 ± {(high - low) / 2:.4f}", "0.7000 ± 0.0430", DASH]
    assert list(rows) == ["noisy", *LABELS.values()]


def test_it_says_over_what_the_intervals_are():
    many = np.random.default_rng(0).random((3, ENOUGH))
    few = many[:, :2]
    grids = {("a", "noisy"): few[:, :1], ("a", "x"): many, ("a", "y"): few, ("a", "z"): few[:, :1]}
    grids |= {("b", method): values for (_, method), values in grids.items()}
    labels = {"noisy": "noisy", "x": "ex", "y": "why", "z": "zed"}
    _, *lines = compare_methods.sure_notes(grids, labels, ["x", "y"])
    assert lines == [f"noisy, zed: {IMAGES}.", f"ex: {TRAININGS}.", f"why: {FEW}."]
    _, line = compare_methods.sure_notes({("a", "x"): many[:1]}, labels, ["x"])
    assert line == "ex: no interval, since there is one test image."


def pairs_of(*lines: tuple) -> pd.DataFrame:
    """Pairs with a verdict and a p-value, or with neither."""
    return pd.DataFrame(
        [
            {"noise": noise, "first": first, "second": second, "verdict": verdict}
            | {"p": 0.01 if verdict else np.nan, "over": IMAGES if verdict else FEW}
            for noise, first, second, verdict in lines
        ]
    ).reindex(columns=PAIRS)


def test_verdicts_are_on_each_method_against_the_best_without_a_caveat():
    pairs = pairs_of(
        ("gauss", "autoencoder", "unet", "worse"),
        ("gauss", "unet", "median", "better"),
        ("gauss", "autoencoder", "median", "undecided"),
        ("pois", "autoencoder", "unet", "equivalent"),
        ("pois", "autoencoder", "median", ""),
        ("pois", "autoencoder", "snap", "worse"),
    )
    rows = compare_methods.verdict_table(pairs, table_of(), NOISE, LABELS, CAVEATS, [])
    assert rows_of(rows) == {
        "auto-encoder": ["worse", "**best**", DASH],
        "U-Net": ["**best**", "equivalent", DASH],
        "median": ["worse", DASH, DASH],
        "snapped †": [DASH, "better", DASH],
    }
    what, how, why, mend = compare_methods.verdict_notes(pairs, 0.005)
    assert "0.005 SSIM" in what
    assert "(5)" in how
    assert why == f"No verdict: {FEW}."
    assert mend == "For verdicts on trained methods, set replicates: {training: 6}."


def test_without_a_verdict_a_sentence_says_why():
    pairs = pairs_of(("gauss", "autoencoder", "unet", ""), ("pois", "unet", "median", ""))
    assert compare_methods.verdict_table(pairs, table_of(), NOISE, LABELS, {}, []).empty
    why, mend = compare_methods.verdict_notes(pairs, 0.005)
    assert why == f"No verdict: {FEW}."
    assert "replicates" in mend
    (line,) = compare_methods.verdict_notes(pairs[:0], 0.005)
    assert line == "No verdict, since no noise setting has two methods."
    # Verdicts on others are in pairs.csv, but there is none against the best.
    pairs = pairs_of(("gauss", "autoencoder", "median", "better"))
    assert compare_methods.verdict_table(pairs, table_of(), NOISE, LABELS, {}, []).empty


def test_notes_explain_bold_marks_and_the_published_poisson_noise():
    gauss = {"gauss": NOISE["gauss"]}
    assert ssim_notes(gauss, LABELS, {}, [], None) == ["In bold: the best method."]
    assert ssim_notes(gauss, LABELS, CAVEATS, [], None) == [
        "In bold: the best method, and the best of those without †.",
        "† snapped: knows the grey values. Real images have others.",
    ]
    bold, poisson = ssim_notes(NOISE, {"median": "median"}, CAVEATS, [], None)
    assert bold == "In bold: the best method."
    assert poisson.startswith("Poisson is the published noise")
    assert "clinical noise" in poisson


def test_costs_are_medians_over_the_noise_settings():
    everywhere = {noise: dict.fromkeys(["noisy", *LABELS], 0.5) for noise in NOISE}
    tried = pd.DataFrame({"noise": ["pois", "dots"], "method": "snap", "trials": 9, "images": 16})
    text = cost_table(table_of(everywhere), LABELS, USES, tried, {"snap"})
    columns = ["Method", "Clean images", "Noise model", "Phantoms", "Trials", "Validation images"]
    assert list(text) == [*columns, "Parameters", "Image passes", "Training, s", "ms an image"]
    rows = rows_of(text)
    assert rows["auto-encoder"][:5] == ["yes", "no", "no", "1", DASH]
    assert rows["auto-encoder"][5:] == ["57,313 to 57,314", "1,280", "250", "0.250"]
    assert rows["U-Net"][:2] == ["no", "yes"]
    assert rows["median"] == ["no", "no", "no", "1", DASH, DASH, DASH, DASH, "0.250"]
    assert rows["snapped"][2:5] == ["yes", "9", "16"]
    assert rows["snapped"][:2] == ["yes", "yes"]


def test_references_are_never_bold_and_no_yardstick():
    table, unet = table_of(), ["unet"]
    assert rows_of(score_table(table, NOISE, LABELS, CAVEATS, unet))["U-Net"][0] == "0.9000"
    pairs = pairs_of(("gauss", "autoencoder", "unet", "worse"))
    rows = rows_of(compare_methods.verdict_table(pairs, table, NOISE, LABELS, CAVEATS, unet))
    assert rows == {"auto-encoder": ["**best**", DASH, DASH], "U-Net": ["better", DASH, DASH]}
    uses = USES | {"unet": ["clean images"]}
    assert rows_of(lost_table(table, NOISE, LABELS, uses, {}, unet))["median"][0] == "0.1000"
    assert "never in bold" in ssim_notes({}, LABELS, {}, unet, None)[-1]


def test_table_of_peak_signal_to_noise_ratios():
    table = table_of()
    table.loc[table["method"] == "unet", "psnr"] = 20.004  # the same to two decimal places
    table.loc[table["method"] == "median", "psnr"] = 19.99
    rows = rows_of(score_table(table, NOISE, LABELS, {}, [], score="psnr"))
    assert rows["auto-encoder"] == rows["U-Net"] == ["**20.00**", "**20.00**", DASH]
    assert rows["median"] == ["19.99", "19.99", "**19.99**"]


def test_trainings_that_take_another_time_are_refused():
    table = table_of()
    allowed = {"seconds_as": "unet", "tolerance": 0.1}
    of_one = (table["noise"] == "pois") & (table["method"] == "autoencoder")
    for seconds, fine in ((330, True), (270, True), (331, False), (269, False), (None, False)):
        table.loc[of_one, "training_seconds"] = seconds
        require_equal_seconds(table, ["autoencoder", "unet"], {"trials": 20})
        require_equal_seconds(table, ["unet"], allowed)  # the other one is a reference
        if fine:
            require_equal_seconds(table, ["autoencoder", "unet", "not run"], allowed)
            continue
        with pytest.raises(InputError) as caught:
            require_equal_seconds(table, ["autoencoder", "unet"], allowed)
        for words in ("methods.autoencoder", "pois", f"took {seconds or DASH} s", "270 to 330 s"):
            assert words in str(caught.value)
        assert "gauss" not in str(caught.value)


def test_what_methods_were_not_given_is_said():
    (line,) = given_notes(LABELS, USES)
    assert "; without clean images: U-Net, median; " in line
    assert line.endswith("; without noise model: auto-encoder, median.")
    assert given_notes({"snap": "snapped"}, USES) == given_notes({"median": "m"}, USES) == []


def test_what_is_lost_without_clean_images():
    rows = rows_of(lost_table(table_of(), NOISE, LABELS, USES, CAVEATS, []))
    # Against the auto-encoder: the only one with clean images that has no caveat.
    assert rows == {"U-Net": ["-0.1000", "0.0100", DASH], "median": ["0.1000", "0.1100", DASH]}
    assert lost_table(table_of(), NOISE, {"snap": "snapped"}, USES, CAVEATS, []).empty
    dots = table_of({"dots": SSIM["dots"]}, ["dots"])  # where no method with clean images was run
    assert lost_table(dots, ["dots"], LABELS, USES, CAVEATS, []).empty


def test_numbers_have_about_three_digits():
    texts = ["0.0123", "1.50", "12.3", "99.9", "1,234", DASH]
    assert [*map(digits, (0.01234, 1.5, 12.34, 99.9, 1234.5, np.nan))] == texts


def test_tuned_settings_are_the_first_of_each_file(tmp_path):
    path = tmp_path / "pois/median.json"
    path.parent.mkdir()
    path.write_text('[{"settings": {"size": 5}, "images": 16}, {"settings": {"size": 3}}]')
    assert read_trials([path]).to_numpy().tolist() == [["pois", "median", 2, 16]]
    tuned = read_tuned([path])
    assert tuned == {("pois", "median"): {"size": 5}}
    text = tuned_table(tuned, NOISE, LABELS)
    assert list(text) == ["Method", *NOISE]
    assert rows_of(text) == {"median": [DASH, "size 5", DASH]}
    assert tuned_table({}, NOISE, LABELS).empty
    several = {"sigma": 1.5, "size": 3, "weight": 0.30000000000000004, "mode": "soft"}
    assert settings_text(several) == "sigma 1.5, size 3, weight 0.3, mode soft"
    assert settings_text({}) == settings_text(None) == DASH


@pytest.mark.parametrize("labels", [LABELS, {}])
def test_page_of_all_methods(tmp_path, monkeypatch, labels):
    tables = {"scores": score_lines(), "costs": cost_lines(), "variances": variance_lines()}
    paths = {name: [] for name in tables}
    for name, lines in tables.items():
        for (noise, method), some in lines.groupby(["noise", "method"], sort=False):
            if method in ("noisy", *labels):
                paths[name].append(tmp_path / f"{name}-{noise}-{method}.csv")
                some.to_csv(paths[name][-1], index=False)
    if labels:
        paths["tuning"] = [tmp_path / "pois/snap.json"]
        paths["tuning"][0].parent.mkdir()
        paths["tuning"][0].write_text('[{"settings": {"size": 5}, "ssim": 0.6, "images": 7}]')
    paths["published"] = tmp_path / "published.yaml"
    paths["published"].write_text(yaml.safe_dump(PUBLISHED))
    outputs = {name: tmp_path / f"out.{name}" for name in ("md", "html", "csv", "scores", "pairs")}
    params = {"dataset": "phantom", "rendered": True, "image_size": 32, "noise": NOISE}
    params |= {"labels": labels, "caveats": CAVEATS, "uses": USES}
    params |= {"trained": ["autoencoder", "unet"], "margin": 0.005}
    params |= {"references": ["unet"], "allowed": {}, "elsewhere": {}, "given": []}
    compare_methods.main(job_of(input=paths, output=outputs, params=params))
    text = (tmp_path / "out.md").read_text()
    assert text.startswith("# All methods: digital phantom (phantom)\n")
    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    others = ["Cost and what each method uses", "Lost without clean images", "Tuned settings"]
    assert headings == [
        "SSIM",
        "PSNR",
        "How sure the means are",
        "Verdicts",
        *(others if labels else []),
    ]
    warning = "The images are a digital phantom: this says nothing about patients."
    for part in ("over 3 test images", "*published auto", warning):
        assert part in text
    # SSIM, PSNR, intervals, costs, tuned
    assert text.count(" snapped † ") == (5 if labels else 0)
    assert text.count(" U-Net (reference) ") == (5 if labels else 0)
    assert ("Not all methods were given the same" in text) == bool(labels)
    assert len(re.findall(r"snapped † .* yes \| +1 \| +7 \|", text)) == bool(labels)
    assert text.count("- † snapped: ") == (1 if labels else 0)
    assert ("**0.9500**" in text) == bool(labels)
    assert ("<strong>0.9500</strong>" in (tmp_path / "out.html").read_text()) == bool(labels)
    pairs = pd.read_csv(outputs["pairs"], keep_default_na=False)
    assert list(pairs) == PAIRS
    # All differences of these scores are the same for all images.
    assert not pairs[["difference", "low", "high", "p", "verdict"]].any(axis=None)
    assert len(pairs) == (3 + 6 if labels else 0)
    assert len(read_scores([outputs["scores"]])) == 3 * len(paths["scores"])
    assert set(read_methods(outputs["csv"])["method"]) == {"noisy", *labels}
    parts = {"input": {"methods": outputs["csv"], "scores": outputs["scores"]}, "params": params}
    assert figure_of(plot_compute, tmp_path, monkeypatch, **parts)


def test_figure_compares_over_the_settings_that_most_methods_have():
    methods, note = summary(table_of(), score_lines(), USES, CAVEATS)
    assert list(methods.index) == ["autoencoder", "unet", "median"]
    assert methods.loc["median", "ssim"] == pytest.approx((0.7 + 0.6) / 2)  # not over `dots`
    assert methods.loc["unet", "training_seconds"] == 200
    assert methods.loc["median", "milliseconds"] == pytest.approx(0.2)
    mean = f"Mean over the noise settings gauss, pois. {plot_compute.BARS}"
    assert note == f"{mean} Left out, since they lack some of these: snapped."
    # The commonest settings, where no setting has most methods.
    ssim = {"gauss": ["autoencoder", "unet"], "pois": ["median"], "dots": ["snap"]}
    ssim = {name: dict.fromkeys(["noisy", *some], 0.5) for name, some in ssim.items()}
    methods, note = summary(table_of(ssim), score_lines(ssim), USES, CAVEATS)
    assert list(methods.index) == ["autoencoder", "unet"]
    assert note.startswith(f"Mean over the noise settings gauss. {plot_compute.BARS} Left out")


def test_intervals_of_the_figure_are_of_the_images_means_over_the_settings():
    scores = score_lines()
    scores.loc[scores["noise"] == "pois", "ssim"] += [*np.linspace(0, 0.1, 3)] * 5
    again = pd.concat([scores.assign(training=n, ssim=scores["ssim"] + n / 100) for n in (1, 2)])
    methods, _ = summary(table_of(), again, USES, CAVEATS)
    one = scores[scores["method"] == "unet"].pivot(index="image", columns="noise", values="ssim")
    assert methods.loc["unet", "half_width"] == pytest.approx(half_width(one.mean(axis=1)))
    figure = compute_figure(methods, "note")
    bars = [bar for bar in figure.axes[0].collections if len(bar.get_segments())]
    ends = {round(y, 9) for bar in bars for end in bar.get_segments() for y in end[:, 1]}
    assert {
        round(m.ssim + s * m.half_width, 9) for m in methods.itertuples() for s in (1, -1)
    } == ends
    methods, note = summary(table_of(), scores[scores["image"] == "NA"], USES, CAVEATS)
    assert methods["half_width"].isna().all()
    assert plot_compute.BARS not in note
    assert f"{plot_compute.NO_BAR} all methods." in note
    constant = scores.assign(ssim=scores["ssim"].where(scores["method"] != "median", 0.5))
    assert f"{plot_compute.NO_BAR} median." in summary(table_of(), constant, USES, CAVEATS)[1]
    bars = compute_figure(methods, "").axes[0].collections
    assert not any(len(end) for bar in bars for end in bar.get_segments())


def test_groups_of_the_figure():
    clean, model = ["clean images"], ["noise model"]
    of = ((False, clean, False), (True, clean + model, False), (True, model, False))
    kinds = [group_of(*some) for some in (*of, (True, clean, True))]
    assert kinds == list(plot_compute.KINDS)
    assert kinds[-1] == MARKED


def test_figure_shows_all_methods_by_time_and_the_trained_ones_by_training():
    figure = compute_figure(summary(table_of(), score_lines(), USES, CAVEATS)[0], "note")
    run, train = figure.axes
    assert set(texts_of(run.texts)) == {"auto-encoder", "U-Net", "median"}
    assert set(texts_of(train.texts)) == {"auto-encoder", "U-Net"}
    kinds = ["classical", "trained with clean images", "trained without clean images"]
    legend = texts_of(figure.legends[0].get_texts())
    assert legend == [*kinds, "best at this cost or less"]


def test_figure_marks_methods_with_a_caveat_and_explains_it(tmp_path, monkeypatch):
    table_of({"pois": SSIM["pois"]}, ["pois"]).to_csv(tmp_path / "methods.csv", index=False)
    score_lines({"pois": SSIM["pois"]}).to_csv(tmp_path / "scores.csv", index=False)
    inputs = {name: tmp_path / f"{name}.csv" for name in ("methods", "scores")}
    params = {"dataset": "mine", "rendered": True, "uses": USES, "caveats": CAVEATS}
    figure = figure_of(plot_compute, tmp_path, monkeypatch, input=inputs, params=params)
    legend = texts_of(figure.legends[0].get_texts())
    assert legend[-2:] == ["with a caveat (†)", "best at this cost or less, without †"]
    assert " ".join(figure.get_supxlabel().split()) == (
        f"Digital phantom (mine). Mean over the noise settings pois. {plot_compute.BARS} "
        f"{PHANTOM_WARNING} † snapped: {CAVEATS['snap']}"
    )
    run = figure.axes[0]
    assert run.lines[0].get_ydata().max() == pytest.approx(0.71)  # not that of snapped
    assert set(texts_of(run.texts)) == set(LABELS.values())


def test_labels_of_the_figure_do_not_cover_each_other():
    rng = np.random.default_rng(0)
    methods = pd.DataFrame(
        {
            "label": [f"a method, number {number}" for number in range(20)],
            "group": [*plot_compute.KINDS] * 5,
            "ssim": rng.uniform(0.6, 0.8, 20),
            "half_width": [np.nan, 0.02] * 10,
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
        boxes.append(Text.get_window_extent(text, renderer))  # without its line
    assert len(boxes) == 20
    for number, box in enumerate(boxes):
        assert box.count_overlaps(boxes[:number]) == 0
        assert np.all(axis.bbox.min <= box.min)
        assert np.all(box.max <= axis.bbox.max)
