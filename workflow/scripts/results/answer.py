"""What a run found, in two sentences and a table."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from results.intervals import from_both_sides
from results.reading import best, by_noise, differing
from results.wording import Texts, capitalised

NETWORK = "autoencoder"  # the published network, as it is trained here
REFERENCES = {NETWORK: "the published network", "median": "the published filter"}


def winners(table: pd.DataFrame, labels: Texts) -> dict[str, list[str]]:
    """Return by noise setting the methods with the highest mean SSIM; of equals all, in order.

    Those whose images hardly differ from each other don't count.

    Args:
        table: What `reading.read_methods` returns of `methods.csv`.
        labels: What each method that counts is called, in order.
    """
    means = by_noise(differing(table), labels, table["noise"].unique())
    best_of = {noise: best(means[noise], ()) for noise in means}
    return {noise: [name for name in labels if name in found] for noise, found in best_of.items()}


def answer(table: pd.DataFrame, labels: Texts, images: str, count: int, pairs: pd.DataFrame) -> str:
    """Return two sentences: which method is ahead and by how much, and how sure that is.

    Args:
        table: See `winners`.
        labels: See `winners`; methods with a caveat and reference rows are not among them.
        images: In words, see `wording.images_of`.
        count: How many test images there are.
        pairs: The verdicts, `pairs.csv`.
    """
    table = differing(table)
    scored = table[table["method"].isin(labels) & table["ssim"].notna()]
    methods, varies = list(scored["method"].unique()), scored["ssim_half_width"].notna().any()
    if not methods:
        return "No method has a score. So there is nothing to compare."
    if count < 2:
        return "One test image says nothing about others. So no method can be called ahead."
    if len(methods) == 1:
        first = f"{labels[methods[0]]} is the only method, so there is nothing to compare it with."
    else:
        first = ahead(table, labels, f"{count} test images of the {images}", varies)
    second = certainty(scored, verdicts(table, labels, pairs) if varies else "")
    return f"{capitalised(first)} {capitalised(second)}"


def ahead(table: pd.DataFrame, labels: Texts, images: str, varies: bool) -> str:
    """Return a sentence that says in how many noise settings each method has the highest mean.

    By how much is said if scores vary: else it is no measurement.
    """
    found = winners(table, labels)
    alone = Counter(names[0] for names in found.values() if len(names) == 1).most_common()
    places = [(labels[name], number) for name, number in alone]
    if shared := sum(len(names) > 1 for names in found.values()):
        places.append(("more than one method", shared))
    (name, number), *others = places
    settings = f"{len(found)} noise setting{'s' * (len(found) > 1)}"
    first = f"{name} has the highest mean SSIM in {number} of {settings}"
    text = listed([first, *(f"{name} in {number}" for name, number in others)])
    text += f", over {images}"
    if varies and (leader := leader_of(found)):
        against = [differences(table, leader, other, labels) for other in REFERENCES]
        if against := list(filter(None, against)):
            text += f"; {labels[leader]} lies {listed(against)}"
    return f"{text}."


def leader_of(found: Mapping[str, Sequence[str]]) -> str | None:
    """Return the method that has the highest mean most often, if one has; see `winners`."""
    counts = Counter(name for names in found.values() for name in names).most_common(2)
    numbers = [number for _, number in counts]
    return counts[0][0] if len(set(numbers)) == len(numbers) > 0 else None


def differences(table: pd.DataFrame, method: str, other: str, labels: Texts) -> str:
    """Return how far a method's means are from another's, in words; empty if that can't be said."""
    if method == other or other not in labels:
        return ""
    means = by_noise(table, [method, other], table["noise"].unique())
    found = (means.loc[method] - means.loc[other]).dropna()
    if found.empty:
        return ""
    name = f"the {labels[other]} ({REFERENCES[other]})"
    low, high = found.min(), found.max()
    if low < 0 < high:
        return f"between {-low:.4f} below and {high:.4f} above {name}"
    sizes = dict.fromkeys(f"{size:.4f}" for size in sorted(found.abs())[:: max(len(found) - 1, 1)])
    return f"{' to '.join(sizes)} {'below' if low < 0 else 'above'} {name}"


def certainty(scored: pd.DataFrame, said: str) -> str:
    """Return a sentence that says how sure the means are: the verdicts, if any can be `said`."""
    widths = scored["ssim_half_width"].dropna()
    if widths.empty:
        return "the scores do not vary from image to image, so no mean has an interval."
    return said or (
        f"the 95 % intervals of the means are at most ± {widths.max():.4f}, which is no verdict "
        "between methods."
    )


def verdicts(table: pd.DataFrame, labels: Texts, pairs: pd.DataFrame) -> str:
    """Return a sentence on the leading method and each published one: verdicts, or why none."""
    leader, texts = leader_of(winners(table, labels)), []
    both = from_both_sides(pairs)
    for other in filter(labels.get, REFERENCES):
        found = both[(both["first"] == leader) & (both["second"] == other)]
        if len(found):
            texts.append(f"against the {labels[other]}, {labels[leader]} {judged(found)}")
    return f"{'; '.join(texts)}." if texts else ""


def judged(found: pd.DataFrame) -> str:
    """Return the verdicts of some pairs in words; if there are none, how sure differences are."""
    given = found[found["verdict"] != ""]
    over = "; ".join(dict.fromkeys((given if len(given) else found)["over"]))
    if len(given):
        counts = Counter(found["verdict"].replace("", "without a verdict")).most_common()
        return f"is {listed([f'{verdict} in {count}' for verdict, count in counts])} (over {over})"
    reach = ((found["high"] - found["low"]) / 2).max()
    sure = "" if math.isnan(reach) else f", its differences being sure to ± {reach:.4f} at 95 %"
    return f"has no verdict{sure} ({over})"


def listed(words: Sequence[str]) -> str:
    """Return words as an enumeration."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
