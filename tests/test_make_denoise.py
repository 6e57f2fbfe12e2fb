"""`make denoise`: a folder of films, good ones and bad ones, from the command to the results."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scipy.ndimage import gaussian_filter

from conftest import ROOT, Project
from engine.configuration import checked
from engine.films import film_method, given_noise, refusals
from engine.messages import InputError
from engine.plugins import ConfigurationError
from files.models import save_safetensors
from films.examining import NO_LIMITS, examined, ranges_of
from films.folder import films_of
from films.listing import check_places, key_of, listed
from films.strips import open_film
from methods.unet_any import build_network
from noise.models import corrupt
from noise.seeds import generator

NOISE = {"distribution": "poisson_gaussian", "dose": 100, "electronic": 0.02}
RANGES = {"gain": [1e-4, 0.06], "deviation": [0.004, 0.25]}
CONFIG, DENOISE = (
    yaml.safe_load((ROOT / name).read_text()) for name in ("config.yaml", "config/denoise.yaml")
)
ODD = """-sub/it's {run} "50%s" ü.png"""
BAD = {
    "blurred.png": "correlated",
    "broken.png": "cannot be read as an image",
    "colour.png": "colour",
    "flat.png": "same level everywhere",
    "small.png": "too small",
    "strong.png": "beyond the training",
}


def noisy(number: int, noise: dict = NOISE, side: int = 96) -> np.ndarray:
    """Return a smooth film with noise, (side, side) in [0, 1]."""
    y, x = np.mgrid[:side, :side] / 96
    clean = 0.5 + 0.3 * np.sin(3 * x + number) * np.cos(2 * y)
    return corrupt(clean, noise, generator(number, "film"))


def save(path: Path, film: np.ndarray, bits: int = 8) -> None:
    """Write a film as PNG, whatever its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.rint(film * (2**bits - 1)).astype(f"u{bits // 8}")
    Image.fromarray(levels).save(path, "PNG")


def save_model(path: Path) -> None:
    """Write a network that is told the noise, small and untrained."""
    torch.manual_seed(0)
    settings = {"widths": [4, 4], "blocks": 1}
    network = build_network(settings, NOISE)
    costs = dict.fromkeys(["parameters", "training_images", "training_seconds"], 1)
    model = {"plugin": "unet_any", "settings": settings, "noise": NOISE, "cost": costs}
    path.parent.mkdir(parents=True)
    save_safetensors(path, model | {"weights": network.state_dict(), "training": RANGES})


def bad_films(folder: Path) -> None:
    save(folder / "blurred.png", gaussian_filter(noisy(3), 1))
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:500])
    save(folder / "colour.png", np.dstack([noisy(4), noisy(5), noisy(6)]))
    save(folder / "flat.png", np.full((96, 96), 0.5))
    save(folder / "small.png", noisy(7, side=60))
    save(folder / "strong.png", noisy(8, NOISE | {"dose": 5}))


class Denoising(Project):
    """A project with a folder of films."""

    films: Path

    def arguments(self, *given: str) -> list[str]:
        images = json.dumps(str(self.films), ensure_ascii=False)
        return ["--configfile", "config/denoise.yaml", "--config", f"images= {images} ", *given]

    def named(self, *given: str) -> set[str]:
        """Return the jobs that would run: the rule, and the film by its name in the run."""
        done = self.script("why.py", *self.arguments(*given))
        assert done.returncode == 0, done.stdout
        return self.named_in(done.stdout)

    @staticmethod
    def named_in(said: str) -> set[str]:
        rules = ("examine_film", "gather_films", "denoise_film", "write_index", "finish_films")
        return {line for line in said.splitlines() if line.split(" ")[0] in rules}


LAST = {"write_index", "finish_films"}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Denoising:
    """A folder of films, denoised as far as they are good."""
    root = tmp_path_factory.mktemp("denoise")
    (root / "project").mkdir()
    project = Denoising(root / "project")
    (project.folder / "resources/models").unlink()  # a link to the project's own
    save_model(project.folder / "resources/models/unet_any.safetensors")
    project.films = root / "my 'films'"
    save(project.films / "a.png", noisy(1))
    save(project.films / ODD, noisy(2), bits=16)
    save(project.films / ".hidden.png", noisy(9))
    (project.films / "notes.txt").write_text("no film")
    bad_films(project.films)
    project.before = {
        path: path.read_bytes() for path in project.films.rglob("*") if path.is_file()
    }
    project.first = project.make("denoise", f"IMAGES={project.films}", "CORES=2")
    return project


@pytest.fixture
def copy(done: Denoising, tmp_path: Path) -> Denoising:
    """A copy of it; the films are where they were, so changed ones have to be put back."""
    project = Denoising.at(shutil.copytree(done.folder, tmp_path / "copy", symlinks=True))
    project.films = done.films
    yield project
    for path in project.films.rglob("*"):
        if path.is_file() and path not in done.before:
            path.unlink()
    for path, content in done.before.items():
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


@pytest.mark.slow
def test_good_films_are_denoised_and_bad_ones_named_at_the_end(done: Denoising):
    said = done.first.stdout
    assert done.first.returncode != 0, said
    *_, first, second = [n for n, line in enumerate(said.splitlines()) if "8 films" in line]
    assert second - first > 3
    last = said.splitlines()[second:]
    assert last[0].startswith("6 of 8 films can't be denoised")
    for line, (name, reason) in zip(last[1:7], BAD.items(), strict=True):
        assert line.startswith(f"{name} ")
        assert reason in line
    assert len(last) <= 8, "but for make's own last line, nothing follows"
    out = done.folder / "denoised"
    assert {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()} == {
        *("images/a.png", f"images/{ODD}", "sheets/a.png.png", f"sheets/{ODD}.png"),
        *("noise.csv", "index.html"),
    }
    for name, bits in (("a.png", np.uint8), (ODD, np.uint16)):
        images = [np.asarray(Image.open(f / name)) for f in (done.films, out / "images")]
        assert images[1].dtype == bits
        assert images[0].shape == images[1].shape
        assert (images[0] != images[1]).any()
    assert done.before == {
        path: path.read_bytes() for path in done.films.rglob("*") if path.is_file()
    }
    page, lines = (out / "index.html").read_text(), (out / "noise.csv").read_text()
    assert all(name in page and name in lines for name in BAD)
    assert len(lines.splitlines()) == 9
    assert not (done.folder / "resources/datasets").exists(), "nothing is prepared or trained"
    (record,) = done.folder.glob("results/*/films/a.png/denoised.json")
    found = json.loads(record.read_text())
    assert found["gain"] == pytest.approx(0.01, rel=0.3)
    assert found["estimated"]
    assert (found["height"], found["width"], found["bits"]) == (96, 96, 8)
    assert found["image"] == "images/a.png"
    assert found["residual_deviation"] > 0
    assert found["refused"] is None


@pytest.mark.slow
def test_after_a_run_its_end_alone_would_run_and_all_results_are_as_they_were_made(done):
    assert done.named() == {"finish_films"}
    verified = done.script("verify.py")
    assert verified.returncode == 0, verified.stdout


@pytest.mark.slow
def test_a_changed_film_and_one_more_run_by_themselves(copy: Denoising):
    save(copy.films / "a.png", noisy(11))
    save(copy.films / "more {film}.png", noisy(12))
    examined = {"examine_film a.png", "examine_film more %7Bfilm%7D.png"}
    said = copy.script("why.py", *copy.arguments()).stdout
    planned = copy.named_in(said)
    assert examined | {"gather_films"} <= planned
    assert planned <= examined | {"gather_films", "denoise_film a.png"} | LAST
    assert "what gather_films finds decides what else runs" in said


@pytest.mark.slow
def test_another_noise_runs_all(copy: Denoising):
    everything = {f"examine_film {key_of(n)}" for n in (*BAD, "a.png", ODD)}
    planned = copy.named("noise_level={dose: 100, electronic: 0.02}")
    assert everything | {"gather_films"} <= planned


@pytest.mark.slow
def test_a_given_white_is_that_of_all_films(copy: Denoising):
    twelve = np.rint(noisy(1) * 4095).astype(np.uint16)
    (copy.films / "a.png").unlink()
    for name in (*BAD, ODD):
        (copy.films / name).unlink()
    Image.fromarray(twelve).save(copy.films / "twelve.png")
    done = copy.make("denoise", f"IMAGES={copy.films}", "CORES=1")
    assert "twelve.png has levels over a span of" in done.stdout
    assert "say which level is white (WHITE=4095 of `make denoise`)" in done.stdout
    done = copy.make("denoise", f"IMAGES={copy.films}", "CORES=1", "WHITE=4095")
    assert done.returncode == 0, done.stdout
    written = copy.folder / "denoised/images/twelve.png"
    with Image.open(written) as image:
        levels = np.asarray(image)
    assert levels.dtype == np.uint16
    assert abs(levels.mean() - twelve.mean()) < 0.03 * 4095
    assert open_film(written).depth.white == 4095, "it says which level is white"
    (record,) = copy.folder.glob("results/*/films/twelve.png/denoised.json")
    assert json.loads(record.read_text())["gain"] == pytest.approx(0.01, rel=0.3)
    assert "12 bits" in (copy.folder / "denoised/index.html").read_text()
    assert "examine_film twelve.png" in copy.named("white=65535")


@pytest.mark.slow
def test_deleted_results_are_made_again_and_without_bad_films_a_run_ends_well(copy: Denoising):
    deleted = copy.folder / "denoised/images" / ODD
    before = deleted.read_bytes()
    deleted.unlink()
    key = key_of(ODD)
    assert copy.named() == {f"denoise_film {key}"} | LAST
    said = copy.script("verify.py").stdout
    assert f"denoised/images/{ODD} is missing" in said
    for name in BAD:
        (copy.films / name).unlink()
    finished = copy.snakemake(*copy.arguments())
    assert finished.returncode == 0, finished.stdout
    assert deleted.read_bytes() == before
    assert "Results are in denoised; see denoised/index.html." in finished.stdout
    assert "examine_film" not in finished.stdout
    assert not any(name in (copy.folder / "denoised/index.html").read_text() for name in BAD)
    assert copy.named() == set()
    assert copy.script("verify.py").returncode == 0
    save(copy.films / ODD, np.dstack([noisy(4), noisy(5), noisy(6)]))
    refused = copy.snakemake(*copy.arguments())
    assert refused.returncode != 0
    assert f"{ODD} " in refused.stdout.splitlines()[-1]
    left = [path.name for path in (copy.folder / "denoised").rglob("*.png")]
    assert sorted(left) == ["a.png", "a.png.png"], "nothing is left of the film that it was"
    (wrong,) = [line for line in copy.script("verify.py").stdout.splitlines() if " is " in line]
    assert "finished.txt is missing" in wrong, "the run did not end well"
    other = copy.films.parent / "others"
    save(other / "b.png", noisy(1))
    copy.films = other
    refused = copy.script("why.py", *copy.arguments())
    assert refused.returncode != 0
    assert f"out: denoised has the films of {copy.films.parent / 'my '}" in refused.stdout


def test_make_wants_the_films(tmp_path: Path):
    environment = {"ISBI2015_IMAGES": "elsewhere"}
    said = Project.at(tmp_path).run(
        *("make", f"--makefile={ROOT / 'Makefile'}", "--old-file=.venv/run", "denoise"),
        **environment,
    )
    assert said.returncode != 0
    assert "say where your films are: make denoise IMAGES=FOLDER" in said.stdout


# ----------------------------------------------------------------------------- the configuration


def refused(**given: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        checked(CONFIG, DENOISE, given)
    return str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "images: missing; give the folder of your films"),
        ({"method": "median"}, "method: 'median' is not allowed; allowed: blind_spot, bm3d, nl_"),
        (
            {"method": "autoencoder"},
            "allowed: blind_spot, bm3d, nl_means, total_variation, unet_any",
        ),
        (
            {"noise_level": "strong"},
            "noise_level: 'strong' is not allowed; allowed: estimated, {do",
        ),
        ({"noise_level": {"dose": 100}}, "allowed: estimated, {dose: D, electronic: E} or {gain:"),
        ({"noise_level": {"gain": 0, "deviation": 0}}, "both 0"),
        ({"noise_level": {"dose": 0, "electronic": 0}}, "noise_level.dose: 0 is not allowed"),
        ({"noise_level": {"sigma": 1}}, "noise_level.sigma: unknown key; allowed: deviation, dose"),
        ({"white": "bright"}, "white: 'bright' is not allowed"),
        ({"white": 0}, "white: '0' is not allowed"),
    ],
)
def test_wrong_keys_are_named_at_once(given: dict, words: str):
    assert words in refused(**({"images": "films"} if given else {}), **given)


def test_a_run_of_films_has_a_name_of_its_own_and_numbers_may_be_text():
    given = {"images": "films", "noise_level": {"dose": "100", "electronic": "0.01"}}
    config = checked(CONFIG, DENOISE, given | {"white": 4095})
    assert given_noise(config["noise_level"]) == (0.01, 0.01)
    assert config["white"] == "4095"
    other = checked(CONFIG, DENOISE, given | {"out": "elsewhere/denoised"})
    assert config["run"].startswith("films-denoised-")
    assert other["run"].startswith("films-denoised-")
    assert other["run"] != config["run"]
    assert given_noise({"gain": 0, "deviation": 0.1}) == (0, 0.1)
    assert given_noise("estimated") is None


def test_without_images_nothing_is_different():
    assert checked(CONFIG)["run"] == "phantom"
    assert not {"images", "out", "method", "noise_level", "white"} & checked(CONFIG).keys()
    assert film_method(checked(CONFIG), str) is None


def test_given_noise_beyond_the_training_and_a_missing_model_are_refused_at_once(tmp_path, capsys):
    save_model(tmp_path / "models/m.safetensors")
    for level, model, words in [
        ({"dose": 5, "electronic": 0.01}, "models/m.safetensors", "noise_level: noise beyond"),
        ("estimated", "models/none.safetensors", "none.safetensors: there is no such file; give"),
    ]:
        config = checked(CONFIG, DENOISE, {"images": str(tmp_path), "noise_level": level})
        method = film_method(config, lambda _, model=model: str(tmp_path / model))
        with pytest.raises(SystemExit, match=words):
            films_of(config, method, note=True)


# ---------------------------------------------------------------------------------- the folder


def test_films_are_listed_as_other_folders_are_and_no_two_share_a_file(tmp_path: Path):
    names = ["B/2.png", "b/2.png", "a.png", "A.png", "logs/x", "1.jpg", "1.jpg.png", "%7B.png"]
    names += ["{.png", "sub/a.png.png", "1.2.840", ".b.png", "__MACOSX/c.png", "e.txt"]
    for name in names:
        save(tmp_path / name, noisy(1))
    with Image.open(tmp_path / "a.png") as image:
        image.save(tmp_path / "1.jpg", "JPEG")
    (tmp_path / "linked").symlink_to("sub")
    found = {film.path: film for film in listed(tmp_path)}
    assert set(found) == {*names[:6], *names[6:10], "linked/a.png.png"} - {"logs/x"}
    assert len({film.key for film in found.values()}) == len(found)
    for kind in ("image", "sheet"):
        written = [getattr(film, kind) for film in found.values()]
        assert len({path.casefold() for path in written}) == len(found)
        assert all(path.startswith(f"{kind}s/") for path in written)
    assert found["A.png"].image == "images/A.png"
    assert found["a.png"].image == "images/a.png.png"
    assert found["b/2.png"].image == "images/b/2.png.png"
    assert "JPEG" in found["1.jpg"].note
    assert found["1.jpg.png"].image == "images/1.jpg.png"
    assert found["1.jpg"].image == "images/1.jpg.png.png"
    assert found["linked/a.png.png"].sheet == "sheets/linked/a.png.png.png"


def test_names_in_a_run_differ_and_mean_nothing_to_snakemake():
    names = ["logs/a", "%logs/a", "provenance/logs", "{a}", "%7Ba%7D", "a\nb", "a%0Ab", "a b"]
    keys = [key_of(name) for name in names]
    assert len(set(keys)) == len(names)
    assert not any(set("{}\n") & set(key) for key in keys)
    assert not any({"logs", "provenance"} & set(key.split("/")) for key in keys)
    assert key_of("a b/ü'\"-.png") == "a b/ü'\"-.png"


def test_a_folder_without_films_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="has no film; give the folder of your films"):
        listed(tmp_path)
    (tmp_path / "a.txt").touch()
    with pytest.raises(InputError, match="has no film, but 1 other file; give"):
        listed(tmp_path)
    with pytest.raises(InputError, match="is no folder"):
        listed(tmp_path / "a.txt")
    save(tmp_path / (240 * "a" + ".png"), noisy(1))
    with pytest.raises(InputError, match="too long; at most 230 bytes"):
        listed(tmp_path)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `films` in it, which is the current one."""
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "films/sub/a.png", noisy(1))
    return tmp_path


def checked_places(out: str, folder: str = "films", *, note: bool = False) -> None:
    check_places(Path(folder), Path(out), listed(Path(folder)), Path("results/x"), note=note)


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("films", "films is the folder of the films"),
        ("films/out", "lies in the folder"),
        (".", "holds the folder"),
        ("linked/out", "lies in the folder"),
        ("behind", "leads into films"),
        ("a.txt", "is no folder"),
        ("full", "full has sheets already"),
    ],
)
def test_results_go_nowhere_near_the_films_nor_over_other_files(places, out: str, words: str):
    Path("linked").symlink_to("films")
    Path("behind").mkdir()
    Path("behind/images").symlink_to(places / "films")
    Path("a.txt").touch()
    Path("full/sheets").mkdir(parents=True)
    with pytest.raises(InputError, match=words):
        checked_places(out)
    checked_places("other")


def test_a_film_that_is_a_result_is_refused(places: Path):
    save(places / "out/b.png", noisy(1))
    (places / "films/loop").symlink_to(places / "out")
    with pytest.raises(InputError, match=r"films/loop/b\.png leads into out; remove the link"):
        checked_places("out")


def test_a_folder_of_results_is_of_one_folder_of_films_even_after_a_move(places, monkeypatch):
    save(places / "others/b.png", noisy(1))
    checked_places("out", note=True)
    (places / "out/images").mkdir(parents=True)
    checked_places("out", note=True)
    with pytest.raises(InputError, match="out has the films of films "):
        checked_places("out", "others")
    moved = shutil.move(places, places.with_name("moved"))
    monkeypatch.chdir(moved)
    checked_places("out")


# ------------------------------------------------------------------------------ the examination


def test_a_film_is_examined_and_never_fails(tmp_path: Path):
    save(tmp_path / "a.png", noisy(1))
    bad_films(tmp_path)
    save_model(tmp_path / "models/m.safetensors")
    ranges = ranges_of(tmp_path / "models/m.safetensors")
    assert ranges == ((1e-4, 0.06), (0.004, 0.25))
    for name, words in BAD.items():
        record = examined(tmp_path / name, name, None, ranges)
        assert words in record["refused"], name
        assert str(tmp_path) not in record["refused"]
        assert list(record) == list(examined(tmp_path / "a.png", "a.png", None))
        # Of the last three, the noise doesn't matter if it is given.
        known = examined(tmp_path / name, name, (0.01, 0.02), ranges)
        assert (known["refused"] is None) == (name in ("blurred.png", "strong.png"))
    assert examined(tmp_path / "strong.png", "strong.png", None)["refused"] is None
    given = examined(tmp_path / "a.png", "a.png", (0.01, 0.02))
    assert (given["gain"], given["deviation"], given["levels"]) == (0.01, 0.02, None)
    assert not given["estimated"]
    missing = examined(tmp_path / "none.png", "none.png", None, NO_LIMITS)
    assert missing["refused"].startswith("does not exist")
    said = refusals([given, missing])
    assert said[0].startswith("1 of 2 films can't be denoised")
    assert said[1:] == [f"none.png {missing['refused']}"]
    assert refusals([given]) == []


def test_an_examination_and_a_listing_import_no_torch():
    code = "import sys, examine_film, films.listing; sys.exit('torch' in sys.modules)"
    path = str(ROOT / "workflow/scripts")
    done = Project.at(ROOT).run(sys.executable, "-c", code, PYTHONPATH=path)
    assert done.returncode == 0, done.stdout
