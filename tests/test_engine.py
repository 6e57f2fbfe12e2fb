"""Around the work: digests of code, how jobs end, what is installed; and the wall around it."""

import ast
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest

from engine import digests as module
from engine.digests import digests_of, source_digests
from engine.job import check_code
from engine.locks import announce
from engine.machine import wants_gpu
from engine.messages import InputError
from engine.records import read_record
from training.devices import torch_device

SCRIPTS = Path(module.__file__).parents[1]


def python(*arguments, version="", check=True, **environment) -> subprocess.CompletedProcess:
    """Run this Python, or another version, in the folder of the scripts."""
    command = [f"python{version}" if version else sys.executable, *arguments]
    kept = {"capture_output": True, "text": True}
    return subprocess.run(command, cwd=SCRIPTS, env=os.environ | environment, check=check, **kept)


FILES = {
    "a.py": "import b\nimport numpy\n",
    "b.py": "def f():\n    from package import c\n    return c\n",
    "package/__init__.py": "",
    "package/c.py": "VALUE = 1\n",
    "other.py": "VALUE = 1\n",
}


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    """A folder of scripts in which `a` imports `b`, which imports `package.c` in a function."""
    monkeypatch.setattr(module, "SCRIPTS", tmp_path)
    (tmp_path / "package").mkdir()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "text", "same"),
    [
        ("a.py", '"""Docstring."""\n# comment\nimport b\n\nimport numpy\n', True),
        ("a.py", "import b\nimport numpy\nx = 1\n", False),
        ("package/c.py", "VALUE = 2\n", False),
        ("package/c.py", "VALUE  =  (1)\n", True),
        ("package/__init__.py", "x = 1\n", False),
        ("other.py", "VALUE = 2\n", True),
    ],
)
def test_digest_follows_imports_and_ignores_what_does_not_run(scripts, file, text, same):
    before = source_digests("a.py")
    (scripts / file).write_text(text)
    after = source_digests("a.py")
    assert (after == before) is same
    assert {name for name in before if after[name] != before[name]} == (set() if same else {file})


def test_digest_follows_imports_within_a_package(scripts):
    (scripts / "b.py").write_text("import package.d\n")
    for line in ("from . import c", "from .c import VALUE"):
        (scripts / "package/d.py").write_text(line + "\n")
        files = ["a.py", "b.py", "package/__init__.py", "package/c.py", "package/d.py"]
        assert list(source_digests("a.py")) == files


@patch.dict(sys.modules)
def test_code_that_was_edited_since_it_was_planned_is_not_run(scripts, monkeypatch):
    """It is imported before it is checked, so it does not matter whether it is edited later."""
    monkeypatch.syspath_prepend(scripts)
    planned = source_digests("a.py")
    check_code(planned)
    assert sys.modules["package.c"].VALUE == 1
    (scripts / "b.py").write_text("# A comment makes no difference.\n" + FILES["b.py"])
    check_code(planned)
    (scripts / "package/c.py").unlink()
    with pytest.raises(InputError, match=r"^package/c\.py changed"):
        check_code(planned)
    for name in ("package/c.py", "b.py"):
        (scripts / name).write_text("VALUE = 2\n")
    with pytest.raises(InputError, match=r"^b\.py, package/c\.py changed while the workflow ran"):
        check_code(planned)


def test_digest_does_not_depend_on_what_syntax_trees_of_a_version_have():
    """Python 3.12 gave functions and classes `type_params`, 3.13 leaves empty fields out."""
    source = "class A:\n    def f(self, x=1, *y):\n        'Docstring.'\n        return x\n"
    before = module._normalised(ast.parse(source))
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            node.type_params = []
            node._fields = (*node._fields, "type_params")
        node._fields = tuple(f for f in node._fields if getattr(node, f, None) not in (None, []))
    assert module._normalised(tree) == before
    assert module._normalised(ast.parse(source.replace("=1", "=2"))) != before


@pytest.mark.parametrize("version", ["3.10", "3.12", "3.13", "3.14"])
def test_digests_are_the_same_in_another_version_of_python(version):
    code = (
        "import json, pathlib; from engine.digests import digests_of\n"
        "print(json.dumps(digests_of(p.as_posix() for p in pathlib.Path().rglob('*.py'))))"
    )
    other = {"version": version, "PYENV_VERSION": version}  # pyenv shows one version alone
    try:
        python("--version", **other)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("this version is not installed")
    found = json.loads(python("-B", "-c", code, **other).stdout)
    assert len(found) > 60
    assert found == digests_of(found)


def test_gpu_is_wanted_where_one_is_and_torch_can_use_it(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("engine.machine.Path.glob", lambda *_: iter(["nvidia0"]))
    torch = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr("engine.machine.importlib.util.find_spec", lambda name: torch)
    for cuda, wanted in (("None", False), ("'13.0'", True)):
        (tmp_path / "version.py").write_text(f"cuda = {cuda}\n")
        assert wants_gpu("auto") is wanted
    assert not wants_gpu("cpu")
    for hidden in ("-1", ""):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert not wants_gpu("auto")
    assert wants_gpu("cuda")


def done_by(tmp_path: Path, work: str) -> str:
    """Run a job that does `work`, a line of Python; return what it says, which it logs as well."""
    code = (
        "from types import SimpleNamespace; from engine.job import run\n"
        "from engine.messages import InputError\n"
        f"def main(snakemake): {work}\n"
        f"params, log = SimpleNamespace(code={{}}), [{str(tmp_path / 'log')!r}]\n"
        "job = dict(rule='r', wildcards=['a'], params=params, log=log, resources={})\n"
        "snakemake = SimpleNamespace(**job)\n"
        "run(main)"
    )
    done = python("-c", code, check=False)
    assert done.returncode == 1
    assert (tmp_path / "log").read_text().splitlines() == done.stderr.splitlines()
    return done.stderr


MESSAGES = {
    "raise InputError('film.png: is upside down')": "r a: film.png: is upside down",
    "import torch; torch.empty(10**15)": "r a: out of memory: close other programs, or run",
    "import numpy; numpy.empty(10**15)": "r a: out of memory: close other programs, or run",
}


@pytest.mark.parametrize("work", MESSAGES)
def test_errors_that_a_user_can_mend_end_a_job_with_a_message_alone(tmp_path, work):
    said = done_by(tmp_path, work)
    assert MESSAGES[work] in said
    assert "Traceback" not in said


@pytest.mark.parametrize("work", ["1 / 0", "raise OSError(5000, 'odd')"])
def test_other_errors_keep_their_traceback(tmp_path, work):
    said = done_by(tmp_path, work)
    assert "Traceback" in said
    assert "KeyError" not in said


# Prints, for each script, the local files that it imports, also those that its functions import.
IMPORTED = """
import ast, importlib, json, sys
from pathlib import Path

def local():
    paths = {n: Path(getattr(m, "__file__", None) or "/") for n, m in sys.modules.items()}
    ours = {n: p.relative_to(Path.cwd()) for n, p in paths.items() if Path.cwd() in p.parents}
    return {n: p.as_posix() for n, p in ours.items() if p.parts[0] != "engine"}

found = {}
for script in sys.argv[1:]:
    for name in local():
        del sys.modules[name]
    importlib.import_module(script.removesuffix(".py"))
    for node in ast.walk(ast.parse(Path(script).read_text())):
        if isinstance(node, ast.ImportFrom) and node.col_offset:
            importlib.import_module(node.module)
    found[script] = sorted(local().values())
print(json.dumps(found))
"""


def test_digests_are_of_exactly_what_scripts_import():
    """Else a change would be missed, or would run what it does not reach."""
    scripts = sorted(path.name for path in SCRIPTS.glob("*.py"))
    imported = json.loads(python("-c", IMPORTED, *scripts).stdout)
    assert {name: sorted(source_digests(name)) for name in scripts} == imported


def test_planning_does_not_import_torch():
    code = "import sys; from engine.machine import wants_gpu as wants; wants('auto'); "
    python("-c", code + "sys.exit('torch' in sys.modules)")


def test_auto_falls_back_to_the_cpu_and_says_so(monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert torch_device("auto").type == "cpu"
    assert "device: auto uses the CPU" in caplog.text


def imports_of(path: Path) -> set[str]:
    """Return the names of the packages, or of the rooms, that a file imports."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


def test_the_engine_has_walls():
    """It needs no package of the work's, and of our rooms the one that writes files whole.

    Of Snakemake it needs types alone.
    """
    allowed = {"engine", "files", "ruamel", "jsonschema", "psutil", "snakemake"}
    for path in (SCRIPTS / "engine").glob("*.py"):
        assert imports_of(path) - sys.stdlib_module_names <= allowed, path
        assert "from files.arrays" not in path.read_text()


def test_no_script_imports_a_script_and_each_is_a_rule_s():
    scripts = {path.stem for path in SCRIPTS.glob("*.py")}
    for path in SCRIPTS.rglob("*.py"):
        assert not imports_of(path) & scripts, path
    rules = "".join(path.read_text() for path in (SCRIPTS.parent / "rules").glob("*.smk"))
    assert sorted(re.findall(r'"../scripts/(\w+)\.py"', rules)) == sorted(scripts)


def test_no_module_is_long_but_the_anatomy():
    tools = (SCRIPTS.parent / "tools").glob("*.py")
    long = {p.name for p in [*SCRIPTS.rglob("*.py"), *tools] if p.read_text().count("\n") > 300}
    assert long == {"anatomy.py"}


def test_a_run_notes_its_machine_alone(tmp_path):
    """Else locks that another machine leaves later would be taken for its own."""
    alive = tmp_path / "alive"
    alive.write_text("elsewhere\n")
    announce(tmp_path, stay=True)
    assert socket.gethostname() in alive.read_text()
    assert "elsewhere" not in alive.read_text()


def test_a_process_that_nobody_waits_for_has_ended():
    code = (
        "import subprocess, time; from engine.locks import end_with\n"
        "end_with(subprocess.Popen(['true']).pid, every=0.05); time.sleep(60); print('alive')"
    )
    done = python("-c", code, check=False)
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize("text", ["", "[]", '{"rule": "r"}', "{"])
def test_a_damaged_record_is_none(tmp_path, text):
    (tmp_path / "record.json").write_text(text)
    assert read_record(tmp_path / "record.json") == {}
