"""The report that Snakemake makes of a run, as a browser shows it."""

import base64
import json
import re
import subprocess
from html import unescape

import pytest

from conftest import ROOT, TWO_NOISES, environment_with, needed

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("report")]

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
    code = "import snakemake, torch, pygments, importlib.util as i; i.find_spec('pytest') and 1 / 0"
    subprocess.run([snakemake[0], "-c", code], check=True)
