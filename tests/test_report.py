"""The report that Snakemake makes of a run, as a browser shows it."""

import base64
import importlib.metadata
import json
import re
import sys
import venv
from html import unescape
from pathlib import Path

import pytest

from conftest import ROOT, TWO_NOISES, needed

pytestmark = pytest.mark.slow

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


def required(files: list[Path]) -> dict[str, importlib.metadata.Distribution]:
    """Return the packages in files of requirements, and all that these need themselves."""
    lines = [line for file in files for line in file.read_text().splitlines()]
    waiting, found = [line for line in lines if re.match(r"\w", line)], {}
    while waiting:
        line = waiting.pop()
        name = re.match(r"[\w.-]+", line)[0].lower().replace("_", "-")
        if name not in found and "extra ==" not in line:
            try:
                found[name] = importlib.metadata.distribution(name)
            except importlib.metadata.PackageNotFoundError:
                continue  # for another system
            waiting += found[name].requires or []
    return found


@pytest.fixture(scope="module")
def snakemake(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Snakemake in an environment that has what requirements.txt names, and nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    installed = Path(importlib.metadata.distribution("snakemake").locate_file(""))
    for package in required([ROOT / "requirements.txt"]).values():
        for top in {file.parts[0] for file in package.files} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(installed / top)
    return [str(folder / "bin/python"), "-m", "snakemake"]


def test_the_report_shows_every_table_and_figure(snakemake, finished, tmp_path):
    chromium = needed("chromium")
    path = tmp_path / "report.html"
    done = finished.run(*snakemake, "--report", str(path))
    assert done.returncode == 0, done.stdout
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
        *(("Table", label) for label in (*pages, "Scores against costs")),
        *(("Examples", noise) for noise in TWO_NOISES),
        ("Training", "Losses of all trainings"),
    }
    assert len(shown) == 6
    for _, label, width, page in shown:
        if label in pages:
            content = base64.b64decode(page.partition("base64,")[2]).decode()
            assert content == (results / pages[label]).read_text(encoding="utf-8")
        else:
            assert width > 500  # a picture that could not be shown has none


def test_the_environment_has_nothing_else(snakemake):
    """Else the test above would not see that a package is missing in requirements.txt."""
    found = required([ROOT / "requirements.txt"])
    assert {"snakemake", "torch", "pygments"} <= found.keys()
    assert not {"pytest", "ruff", "snakefmt"} & found.keys()
    assert sys.prefix not in snakemake[0]
