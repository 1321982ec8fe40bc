"""A folder called `operator` is a source root here: it must never stand in for the standard library's module."""

import operator
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_operator_is_the_standard_librarys() -> None:
    assert operator.__file__ is not None
    assert Path(operator.__file__).parent == Path(sysconfig.get_path("stdlib"))


def test_operator_is_the_standard_librarys_from_the_repositorys_root_and_with_it_on_the_path() -> None:
    command = "import sys; sys.path.insert(0, '.'); import operator; print(operator.itemgetter(0)('x'))"
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "x\n"


def test_no_source_root_is_a_package() -> None:
    assert [root for root in ("core", "operator", "extauthz", "cli") if (ROOT / root / "__init__.py").exists()] == []


def test_no_module_or_test_folder_is_called_operator() -> None:
    found = [path for path in ROOT.rglob("operator*") if path.stem == "operator" and ".venv" not in path.parts]
    named = [path for path in found if path.is_dir() or path.suffix.startswith(".py")]
    # The folder of an image is on no path that Python looks at.
    assert sorted(named) == [ROOT / "images" / "operator", ROOT / "operator"]
