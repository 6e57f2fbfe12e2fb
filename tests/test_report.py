"""The page to mail, and the report that Snakemake makes of a run, as a browser shows them."""

import base64
import csv
import json
import math
import os
import re
import subprocess
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import write_report
from conftest import ROOT, TWO_NOISES, Project, environment_with, needed
from engine.plugins import plugins
from results import report_tables
from results.answer import answer
from results.intervals import PAIRS
from results.jobs import jobs_behind
from results.wording import MISSING

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("report")]

SCORES = "All scores, a line for each test image"
# Opens each result of each category, and leaves what is shown in the page.
VISIT = """
<script>
(async () => {
  const found = [];
  const all = (what) => [...document.querySelectorAll(what)];
  const opened = async (link) => {
    link.click();
    await new Promise((done) => setTimeout(done, 300));
  };
  await new Promise((done) => setTimeout(done, 500));
  for (const category of all("nav ul li a").slice(3).map((link) => link.textContent)) {
    await opened(all("nav a").find((link) => link.textContent === category));
    for (const n of all("tbody tr").keys()) {
      const row = all("tbody tr")[n];
      await opened(row.querySelector("a[iconname=eye]"));
      const [image] = all("#app > div > div:last-child img");
      const [page] = all("#app > div > div:last-child iframe");
      found.push([category, row.textContent, image?.naturalWidth ?? null, page?.src ?? null]);
    }
    await opened(all("nav nav li a")[0]);
  }
  const left = document.createElement("pre");
  left.id = "found";
  left.textContent = JSON.stringify(found);
  document.body.append(left);
})();
</script>
"""


@pytest.fixture(scope="module")
def snakemake(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Snakemake in an environment that has what requirements.txt names, and nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [environment_with(folder, lines), "-m", "snakemake"]


def test_the_report_shows_every_table_and_figure(snakemake, finished, tmp_path):
    path = tmp_path / "report.html"
    done = finished.run(*snakemake, "--report", str(path))
    assert done.returncode == 0, done.stdout
    chromium = needed("chromium")
    path.write_text(path.read_text(encoding="utf-8") + VISIT, encoding="utf-8")
    browser = [chromium, "--headless", "--no-sandbox", "--disable-gpu"]
    patience = "--virtual-time-budget=60000"
    text = finished.run(*browser, patience, "--dump-dom", path.as_uri()).stdout
    shown = json.loads(unescape(re.search('<pre id="found">(.*?)</pre>', text, re.DOTALL)[1]))
    results = finished.folder / "results/phantom"
    pages = {
        "All methods: scores, costs, settings": "methods.html",
        "Table in the published form": "table.html",
    }
    assert {(category, label) for category, label, *_ in shown} == {
        *(("Table", label) for label in (*pages, SCORES, "Scores against costs")),
        *(("Examples", noise) for noise in TWO_NOISES),
        ("Training", "Losses of all trainings"),
    }
    assert len(shown) == 7
    for _, label, width, page in shown:
        if label == SCORES:
            continue  # a file to save
        if label in pages:
            content = base64.b64decode(page.partition("base64,")[2]).decode()
            assert content == (results / pages[label]).read_text(encoding="utf-8")
        else:
            assert width > 500  # a picture that could not be shown has none


def test_the_environment_has_nothing_else(snakemake):
    """Else the test above would not see that a package is missing in requirements.txt."""
    code = "import snakemake, torch, pygments, importlib.util as i; i.find_spec('pytest') and 1 / 0"
    subprocess.run([snakemake[0], "-c", code], check=True)


class Browser:
    """Chromium without a network, driven through pipes by its own protocol."""

    def __init__(self, folder: Path) -> None:
        ours, self.commands = os.pipe()
        self.answers, theirs = os.pipe()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        shell = ["bash", "-c", f'exec "$0" "$@" 3<&{ours} 4>&{theirs}', needed("chromium")]
        self.process = subprocess.Popen(
            [*shell, *options, f"--user-data-dir={folder}"],
            pass_fds=(ours, theirs),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(ours)
        os.close(theirs)
        self.stream, self.session, self.count = os.fdopen(self.answers, "rb"), None, 0
        self.events: list[dict[str, Any]] = []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self.session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self(f"{domain}.enable")
        none = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self("Network.emulateNetworkConditions", offline=True, **none)
        self("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def __call__(self, method: str, **params: object) -> dict[str, Any]:
        """Send a command, and return its result; what happens meanwhile is in `events`."""
        self.count += 1
        command = {"id": self.count, "method": method, "params": params}
        command |= {"sessionId": self.session} if self.session else {}
        with os.fdopen(os.dup(self.commands), "wb") as stream:
            stream.write(json.dumps(command).encode() + b"\0")
        while True:
            text = b"".join(iter(lambda: self.stream.read(1), b"\0"))
            found = json.loads(text)
            if found.get("id") == self.count:
                assert "error" not in found, found
                return found["result"]
            self.events.append(found)

    def run(self, code: str) -> Any:
        """Return what a piece of JavaScript gives in the page."""
        options = {"awaitPromise": True, "returnByValue": True}
        found = self("Runtime.evaluate", expression=code, **options)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def open(self, page: Path, width: int) -> None:
        """Open a page at a width, and wait until its tables can be sorted."""
        size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
        self("Emulation.setDeviceMetricsOverride", **size)
        self.events.clear()
        self("Page.navigate", url=page.as_uri())
        tables = "document.querySelectorAll('table.sortable:not(.dataTable)').length"
        wait_for(lambda: self.run(f"document.readyState === 'complete' && {tables} === 0"))

    def happened(self, method: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.events if event.get("method") == method]

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()
        self.stream.close()
        os.close(self.commands)


def wait_for(condition) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("waited for a minute")


@pytest.fixture(scope="module")
def paged(snakemake, finished, tmp_path_factory) -> Project:
    """The finished run with its page, written with nothing but what requirements.txt names."""
    project = finished.copied(tmp_path_factory.mktemp("paged") / "project")
    done = project.run(*snakemake, "--cores", "1", "--", "page")
    assert done.returncode == 0, done.stdout
    return project


@pytest.fixture(scope="module")
def page(paged: Project) -> Path:
    return paged.folder / "results/phantom/report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


DATASET = "resources/datasets/phantom/provenance/**/*.json"
WIDTHS = pytest.mark.parametrize("width", [1280, 390])
PLACES = "[...document.querySelectorAll('tbody tr')].map(r => [...r.cells].map(c => c.innerText))"


@WIDTHS
def test_the_page_needs_nothing_else_and_fits(browser, page, width):
    assert page.stat().st_size < write_report.LIMIT
    browser.open(page, width)
    asked = {request["request"]["url"] for request in browser.happened("Network.requestWillBeSent")}
    assert {url.partition(":")[0] for url in asked} == {"file", "data"}
    assert [url for url in asked if url.startswith("file")] == [page.as_uri()]
    assert browser.happened("Log.entryAdded") == []
    assert browser.happened("Runtime.consoleAPICalled") == []
    assert browser.happened("Runtime.exceptionThrown") == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert browser.run("document.images.length") == 4 * 2 * 4 + 7  # of images, and figures


def test_a_request_or_an_error_would_be_noticed(browser, page, tmp_path):
    bad = tmp_path / "bad.html"
    extra = "<img src='http://example.org/x.png'><script>console.error('x')</script></body>"
    bad.write_text(page.read_text(encoding="utf-8").replace("</body>", extra), encoding="utf-8")
    browser.open(bad, 1280)
    assert browser.happened("Log.entryAdded")
    assert browser.happened("Runtime.consoleAPICalled")


def axe_core() -> str:
    path = ROOT / ".axe/node_modules/axe-core/axe.min.js"
    return path.read_text(encoding="utf-8") if path.exists() else needed("axe-core")


@WIDTHS
def test_the_page_is_accessible(browser, page, width):
    code = axe_core()
    browser.open(page, width)
    browser.run(f"{code}; 0")
    found = browser.run("axe.run().then(r => r.violations.map(v => [v.id, v.nodes[0].html]))")
    assert found == []
    assert browser.run("axe.run().then(r => r.passes.length)") > 20


def test_tables_are_sorted_filtered_and_saved_as_shown(browser, page, tmp_path):
    browser("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.open(page, 1280)
    browser.run("""
        const box = document.querySelector("#images_wrapper input[type=search]");
        box.value = "poisson_0.2_1";
        box.dispatchEvent(new Event("input", {bubbles: true}));
    """)
    rows = PLACES.replace("tbody", "#images tbody")
    wait_for(lambda: len(browser.run(rows)) == 4)
    browser.run("document.querySelectorAll('#images thead th')[2].querySelector('span').click()")
    scores = lambda: [float(row[2]) for row in browser.run(rows)]  # noqa: E731
    wait_for(lambda: scores() == sorted(scores()))
    shown = browser.run(rows)
    assert {row[1] for row in shown} == {"poisson_0.2_1"}
    assert [row[0] for row in shown] != sorted(row[0] for row in shown)
    browser.run("document.querySelector('#images_wrapper .dt-buttons button').click()")
    wait_for((tmp_path / "images.csv").exists)
    with (tmp_path / "images.csv").open(encoding="utf-8-sig", newline="") as file:
        head, *lines = filter(None, csv.reader(file))
    assert lines == [[cell.strip() for cell in row] for row in shown]
    assert head == browser.run(
        "[...document.querySelectorAll('#images thead th')].map(h => h.innerText.trim())"
    )


def test_the_page_has_what_was_measured(browser, page):
    results = page.parent
    browser.open(page, 1280)
    cells = {
        name: browser.run(PLACES.replace("tbody", f"#{name} tbody"))
        for name in ("answer", "methods", "images", "times", "checksums")
    }
    methods = pd.read_csv(results / "methods.csv")
    assert [row[2] for row in cells["methods"]] == [f"{ssim:.4f}" for ssim in methods["ssim"]]
    highest = methods[methods["method"] != "noisy"].groupby("noise")["ssim"].max()
    means = [row[2].partition(" ")[0] for row in cells["answer"]]
    assert means == [f"{highest[noise]:.4f}" for noise in TWO_NOISES]
    scores = pd.read_csv(results / "scores.csv", dtype={"image": str})
    noisy = scores[scores["method"] == "noisy"]
    expected = {(n, i, f"{s:.4f}") for n, i, s in noisy[["noise", "image", "ssim"]].to_numpy()}
    assert {(row[1], row[0].strip(), row[2].strip()) for row in cells["images"]} == expected
    jobs = [path for path in results.rglob("benchmarks/**/*.tsv") if path.stem != "write_report"]
    assert sum(int(row[1]) for row in cells["times"]) == len(jobs) + 2  # of the data set
    recorded: dict[str, str] = {}
    for record in (*results.glob("provenance/**/*.json"), *results.parents[1].glob(DATASET)):
        recorded |= json.loads(record.read_text(encoding="utf-8"))["outputs"]
    assert len(cells["checksums"]) == 30
    assert {row[0]: row[3] for row in cells["checksums"]}.items() <= recorded.items()
    text = browser.run("document.body.innerText")
    assert "The images are a digital phantom: this says nothing about patients." in text
    assert "x + factor * n, n normal and independent in each pixel" in text
    assert "Training: steps 6, batch 4, learning rate 0.001" in text
    places = browser.run("[...document.querySelectorAll('p a')].map(a => a.getAttribute('href'))")
    assert len(places) >= 6
    assert browser.run(f"{places}.every(place => document.querySelector(place))")


def test_the_same_run_gives_the_same_page(paged, page):
    before = page.read_bytes()
    paged.succeed("--force", "--", str(page.relative_to(paged.folder)))
    assert page.read_bytes() == before


def test_a_run_makes_no_page(finished):
    assert ("write_report",) not in finished.planned("--forceall")


def test_one_image_and_one_method_have_a_sentence_and_no_interval(project):
    project.edit_config(lambda config: config["datasets"]["phantom"].update(subjects=7))
    select = "select={methods: [median], noise: [poisson_0.2_1]}"
    project.succeed("--config", select, "--", "page")
    results = project.folder / "results/phantom"
    text = (results / "report.html").read_text(encoding="utf-8")
    assert "One test image says nothing about others." in text
    assert "not part of this run" in text
    assert not re.search(r"\d ±", text)
    assert "±" not in (results / "methods.tex").read_text(encoding="utf-8")


@pytest.mark.parametrize(("key", "folders"), [("sources", ["."]), ("join", ["a", "b"])])
def test_folders_of_one_s_own_are_not_on_the_page(project, tmp_path, key, folders):
    own = {"mine": {key: [str(tmp_path / "secret" / name) for name in folders], "train": 4}}
    pixels = np.random.default_rng(0).random((6, 16, 16))
    for index, image in enumerate(pixels):
        place = tmp_path / f"secret/{'ab'[index % 2]}/{index}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        write_report.Image.fromarray((255 * image).astype(np.uint8)).save(place)
    project.edit_config(lambda config: config.update(datasets=own, dataset="mine"))
    select = "select={methods: [median], noise: [poisson_0.2_1]}"
    project.succeed("--config", select, "--", "page")
    text = (project.folder / "results/mine/report.html").read_text(encoding="utf-8")
    assert "secret" not in text
    assert "a folder or an archive" in text
    assert "send it only if you have the right to" in text


LABELS = {"autoencoder": "auto-encoder", "median": "median", "unet": "U-Net"}
LEVELS = {
    "gauss": {"noisy": 0.1, "autoencoder": 0.5, "median": 0.4, "unet": 0.9},
    "poisson": {"noisy": 0.1, "autoencoder": 0.6, "median": 0.7, "unet": 0.8},
}


def table_of(means: dict[str, dict[str, float]], width: float = 0.01) -> pd.DataFrame:
    return pd.DataFrame(
        {"noise": noise, "method": method, "ssim": ssim, "ssim_half_width": width}
        | {"variance_share": 0.9}
        for noise, row in means.items()
        for method, ssim in row.items()
    )


def pairs_of(*verdicts: str, low: float = -0.3) -> pd.DataFrame:
    """Return verdicts on the auto-encoder and the U-Net, the better method second."""
    both = {"first": "autoencoder", "second": "unet", "over": "trainings"}
    numbers = {"difference": -0.3, "low": low, "high": 0.1, "p": 0.5}
    rows = zip(LEVELS, verdicts, strict=True)
    return pd.DataFrame({"noise": n, **both, **numbers, "verdict": v} for n, v in rows)


NO_PAIRS = pd.DataFrame(columns=PAIRS)
TIED, MIXED = {"gauss": dict.fromkeys(LABELS, 0.5)}, {"gauss": LEVELS["gauss"], "b": {"median": 1}}
ALONE, NONE = {"gauss": {"noisy": 0.1, "median": 0.4}}, {"gauss": {"noisy": 0.1}}
NOTHING = {"gauss": dict.fromkeys(LABELS, math.nan)}


@pytest.mark.parametrize(
    ("means", "width", "count", "pairs", "first", "second"),
    [
        (
            LEVELS,
            0.01,
            8,
            NO_PAIRS,
            "U-Net has the highest mean SSIM in 2 of 2",
            "at most ± 0.0100",
        ),
        (LEVELS, 0.01, 8, pairs_of("worse", "worse"), "U-Net lies", "U-Net is better in 2 (over"),
        (LEVELS, 0.01, 8, pairs_of("worse", ""), "U-Net lies", "in 1 and without a verdict in 1"),
        (LEVELS, 0.01, 8, pairs_of("", ""), "U-Net lies", "no verdict, its differences being sure"),
        (
            LEVELS,
            0.01,
            8,
            pairs_of("", "", low=math.nan),
            "U-Net lies",
            "has no verdict (trainings)",
        ),
        (MIXED, 0.01, 8, NO_PAIRS, "U-Net has the highest mean SSIM in 1 of 2", "no verdict"),
        (
            TIED,
            0.01,
            8,
            NO_PAIRS,
            "More than one method has the highest mean SSIM in 1",
            "no verdict",
        ),
        (LEVELS, math.nan, 8, NO_PAIRS, "in 2 of 2 noise settings, over", "scores do not vary"),
        (
            LEVELS,
            math.nan,
            1,
            NO_PAIRS,
            "One test image says nothing",
            "no method can be called ahead",
        ),
        (ALONE, 0.01, 8, NO_PAIRS, "Median is the only method", "at most ± 0.0100"),
        (NONE, math.nan, 8, NO_PAIRS, "No method has a score", "nothing to compare"),
        (NOTHING, math.nan, 8, NO_PAIRS, "No method has a score", "nothing to compare"),
    ],
)
def test_the_answer_says_what_can_be_said(means, width, count, pairs, first, second):
    text = answer(table_of(means, width), LABELS, "real images (x)", count, pairs)
    assert re.fullmatch(r"[A-Z].*?\. [A-Z].*\.", text)
    assert first in text
    assert second in text
    assert ("better" in text) == ("worse" in set(pairs["verdict"]))
    assert bool(re.search(r"\d\.\d", text)) == (not math.isnan(width))
    assert "nan" not in text


def test_the_answer_says_by_how_much():
    text = answer(table_of(LEVELS), LABELS, "real images (x)", 8, NO_PAIRS)
    assert "U-Net lies 0.2000 to 0.4000 above the auto-encoder (the published network) and " in text
    assert "0.1000 to 0.5000 above the median (the published filter)." in text
    crossed = {**LEVELS, "c": {"autoencoder": 0.9, "unet": 0.8}}
    text = answer(table_of(crossed), LABELS, "real images (x)", 8, NO_PAIRS)
    assert "U-Net lies between 0.1000 below and 0.4000 above the auto-encoder" in text


def test_missing_numbers_are_a_dash_and_verdicts_a_table():
    rows = report_tables.pairs_table(pairs_of("worse", "", low=math.nan), LABELS).rows
    shown = [[getattr(cell, "text", cell) for cell in row] for row in rows]
    assert shown[0][1:] == [
        *("auto-encoder", "U-Net", "-0.3000", MISSING, "0.1000", "0.5000", "worse", "trainings")
    ]
    assert shown[1][-2] == MISSING
    assert [report_tables.number(value).text for value in (math.nan, math.inf)] == [MISSING] * 2
    assert report_tables.with_width(0.5, math.nan, 0.9).text == "0.5000"


@pytest.mark.parametrize(
    ("count", "settings", "shown"), [(80, 7, 80), (100_000, 7, 85), (1, 7, 1), (10, 1000, 1)]
)
def test_of_many_test_images_some_are_shown(count, settings, shown):
    indices = write_report.shown_images(count, settings)
    assert len(set(indices)) == len(indices) == shown
    assert indices[0] == 0
    assert indices[-1] == count - 1 or shown == 1


def test_pictures_of_nothing_but_noise_leave_room_for_the_page():
    noise = np.random.default_rng(0).random((64, 64))
    most = 4 * write_report.ROWS * len(write_report.picture(noise))
    assert most < write_report.LIMIT - write_report.BESIDES


def test_figures_without_room_are_named(tmp_path):
    caption = tmp_path / "caption.rst"
    caption.write_text("What\nto see.\n")
    path = tmp_path / "figure.png"
    write_report.Image.fromarray(np.zeros((20, 30), np.uint8)).save(path)
    files, captions = [str(path)] * 2, [str(caption)] * 2
    (first, _) = write_report.figures(files, ["a", "b"], captions, 10_000)
    room = len(first["source"])
    found = write_report.figures(files, ["a", "b"], captions, room)
    assert [figure["source"] is None for figure in found] == [False, True]
    assert first["size"] == (30, 20)
    assert first["caption"] == "What to see."


def test_references_are_of_what_there_is_and_numbered_as_cited():
    references = yaml.safe_load((ROOT / "resources/references.yaml").read_text(encoding="utf-8"))
    kinds: dict[str, set[str]] = {}
    for key in references:
        folder, _, name = key.partition("/")
        kinds.setdefault(folder, set()).add(name)
    for folder in ("methods", "recipes", "distributions"):
        assert kinds[folder] <= set(plugins(folder))
    assert (
        kinds["datasets"] <= yaml.safe_load((ROOT / "config.yaml").read_text())["datasets"].keys()
    )
    template = (ROOT / "workflow/report/page.html.j2").read_text(encoding="utf-8")
    for key in (f"{kind}/{name}" for kind in ("packages", "metrics") for name in kinds[kind]):
        assert f'cite("{key}")' in template
    assert references["methods/autoencoder"]["url"] in (
        (ROOT / "resources/published.yaml").read_text(encoding="utf-8")
    )
    cite = write_report.Citations(references)
    assert cite("methods/dncnn") == ' <a href="#reference-1">[1]</a>'
    assert "[2]" in cite("methods/unet")
    assert "[2]" in cite("methods/noise2noise")  # the same network
    assert cite("methods/none") == ""
    assert len(cite.cited) == 2


def test_jobs_that_did_not_make_the_results_are_left_out(finished):
    folder = finished.folder
    record = next((folder / "results/phantom/provenance/score_images").rglob("median.json"))
    path, _ = json.loads(record.read_text())["outputs"]
    places = [folder / "results/phantom", folder / "resources/datasets/phantom"]
    behind = jobs_behind([path], places)
    assert [found["rule"] for found in behind.values()] == [
        *("render_phantom", "split_images", "corrupt_images", "filter_images", "score_images")
    ]


def test_settings_that_differ_are_named():
    same = {"a": {"learning_rate": 1}, "b": {"learning_rate": 1}}
    assert write_report.by_setting(same) == "learning rate 1"
    assert write_report.by_setting({**same, "c": {}}).startswith("learning rate 1 for a, b; ")


def test_tables_in_latex(paged, tmp_path):
    texts = {}
    for name in ("table", "methods"):
        texts[name] = (paged.folder / f"results/phantom/{name}.tex").read_text(encoding="utf-8")
        body = texts[name].partition("\\toprule")[2].partition("\\bottomrule")[0]
        lines = [line for line in body.splitlines() if line.endswith("\\\\")]
        assert len({line.count("&") for line in lines}) == 1
        assert not re.search(r"(?<!\\)[_%#$]", texts[name])
        assert "this says nothing about patients" in texts[name]
    assert "gaussian\\_0.1\\_0\\_1" in texts["methods"]
    assert "& auto-encoder & median" in texts["table"]
    document = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}"
    (tmp_path / "all.tex").write_text(document + "".join(texts.values()) + "\\end{document}")
    command = [needed("pdflatex"), "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stdout
