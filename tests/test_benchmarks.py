"""The benchmarks run, and what they compare is the same computation."""

import argparse
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import training


@pytest.fixture(scope="module")
def results():
    parser = argparse.ArgumentParser()
    training.arguments_of(parser)
    arguments = ["--device", "cpu", "--threads", "1", "--rounds", "1", "--steps", "1"]
    return training.measure(parser.parse_args(arguments))


def test_all_ways_to_train_compute_the_same_loss(results):
    """Two steps from the same weights with the same images: the first update is in the second."""
    losses = {
        line["what"]: line["loss"] for line in results if line.get("network") == "auto-encoder"
    }
    assert set(losses) == {"workflow", "workflow, fp32", "plain PyTorch"}
    assert losses["workflow, fp32"] == pytest.approx(losses["plain PyTorch"], rel=2e-2)
    assert losses["workflow"] == pytest.approx(losses["workflow, fp32"], rel=1e-2)


def test_results_can_be_read(results):
    text = training.shown(results)
    assert text.count("as plain PyTorch") == 3
    assert text.count("after 2 steps") == 3
    assert all(0 < line["share_of_peak"] < 1 for line in results if "network" in line)
