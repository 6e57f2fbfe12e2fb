"""Pastes results into a page, in place of what stands between the markers of each.

Between `<!-- table: FILE -->` and `<!-- end -->` goes what a file that the workflow made has before
its first heading, or with `FILE#HEADING` the part under this heading. Between
`<!-- times: FOLDER,FOLDER -->` and `<!-- end -->` goes how long the jobs took that have their
benchmark files in these folders. What was made of a file that is missing stays as it is.
"""

import argparse
import errno
import re
import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from files.atomic import write_text
from results.jobs import measured

MARKED = re.compile(r"(<!-- (table|times): ([^>]+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def pasted(page: str) -> str:
    """Return the page with the current results between its markers."""

    def replaced(found: re.Match) -> str:
        try:
            made = {"table": table, "times": times}[found[2]](*map(Path, found[3].split(",")))
        except FileNotFoundError as error:
            print(f"{error.filename} is missing: what was made of it stays", file=sys.stderr)
            return found[0]
        return f"{found[1]}\n{made}\n\n{found[4]}"

    return MARKED.sub(replaced, page)


def table(file: Path) -> str:
    """Return the first part of a file, or its part FILE#HEADING, its title as a line in bold."""
    name, _, heading = str(file).partition("#")
    title, _, rest = Path(name).read_text(encoding="utf-8").partition("\n")
    if heading:
        _, _, rest = rest.partition(f"\n## {heading}\n")
    rest = rest.partition("\n## ")[0]
    return f"**{title.removeprefix('# ')}**\n{rest}".rstrip()


def times(*folders: Path) -> str:
    """Return a table of the time that the jobs of each rule took, in seconds.

    Raises:
        FileNotFoundError: When the folders hold no benchmark files.
    """
    files = [path for folder in folders for path in sorted(folder.glob("benchmarks/**/*.tsv"))]
    if not files:
        raise FileNotFoundError(errno.ENOENT, "no benchmark files", str(folders[0]))
    found = measured(files).groupby("rule")
    columns = {
        "jobs": found.size(),
        "seconds a job (median)": found["seconds"].median().round(1),
        "seconds in all": found["seconds"].sum().round(),
        "memory a job (MB, most)": found["memory"].max().round(),
    }
    summary = pd.DataFrame(columns).sort_values("seconds in all", ascending=False)
    total = summary.sum()
    summary.loc["all"] = [total["jobs"], None, total["seconds in all"], None]
    summary["jobs"] = summary["jobs"].astype(int)
    return summary.astype(object).fillna("").to_markdown()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", type=Path, help="Markdown file to change in place")
    page = parser.parse_args().page
    write_text(page, pasted(page.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
