"""The contract of who may import whom, as `lint-imports` checks it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[1]


def test_rooms_import_downward_only(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    code = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    report = capsys.readouterr().out
    assert code == 0, report
    assert "0 broken" in report


def test_the_contract_can_break(tmp_path):
    """The same contract over a package of the same rooms where one imports upward."""
    package = tmp_path / "diffrig_emo"
    rooms = [p.parent.name for p in sorted((ROOT / "diffrig_emo").glob("*/__init__.py"))]
    for room in [".", *rooms]:
        (package / room).mkdir(exist_ok=True)
        (package / room / "__init__.py").touch()
    for module in ("cli", "__main__"):
        (package / f"{module}.py").touch()
    (package / "morphable" / "__init__.py").write_text("import diffrig_emo.renderer\nimport lightning\n")
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    script = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    code, output = _run(script, tmp_path)
    assert code == 1, output
    assert "2 broken" in output
    assert "diffrig_emo.morphable -> diffrig_emo.renderer" in output


def _run(script, folder):

    # -P keeps the checkout out of the path, so that the small package above is the one that is found.
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr
