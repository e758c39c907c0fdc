from __future__ import annotations

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "tests"]


@nox.session
def demo(session: nox.Session) -> None:
    """Train a small rig on synthetic faces, edit faces with it, and write the report to demo_output/."""
    session.install("-e", ".")
    session.run("diffrig-emo", "demo", "--output", "demo_output", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests and doctests."""
    session.install("-e", ".[dev]")
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting, types and who imports whom."""
    session.install("-e", ".[dev]")
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")
    session.run("mypy")
    session.run("lint-imports")


@nox.session
def bench(session: nox.Session) -> None:
    """Time the hot paths beside a fixed matmul; the table is also written to build/bench.json."""
    session.install("-e", ".[dev]")
    session.run("python", "tests/benchmarks/run.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into build/site; the sources are read, not imported."""
    session.install(*nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]["docs"])
    session.run("mkdocs", "build", "--strict", "--config-file", "docs/config/mkdocs.yml", *session.posargs)
