"""pyproject.toml, requirements.lock and environment.yml name the same packages."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from audit.extras import EXTRAS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())
LOCK_LINES = [
    line
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if not line.startswith("#")
]
# The one package that conda-forge calls otherwise.
CONDA_NAMES = {"pytorch": "torch"}


def locked() -> dict[str, Version]:
    """Every package of requirements.lock with its version."""
    return {name: Version(version) for name, version in (line.split("==") for line in LOCK_LINES)}


def declared() -> dict[str, Requirement]:
    """The direct dependencies in pyproject.toml; `vision` is not among the locked extras."""
    extras = PROJECT["project"]["optional-dependencies"]
    lines = PROJECT["project"]["dependencies"] + extras["notebooks"] + extras["dev"]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


def conda_packages() -> dict[str, str]:
    """The packages of environment.yml, by PyPI names; without python, pip and this project."""
    entries = CONDA["dependencies"]
    from_pip = next(entry["pip"] for entry in entries if isinstance(entry, dict))
    from_conda = [entry for entry in entries if isinstance(entry, str)]
    pinned = [line for line in from_conda + from_pip if re.fullmatch(r"[a-z0-9-]+==?\d\S*", line)]
    others = set(from_conda + from_pip) - set(pinned)
    python = f"python{PROJECT['project']['requires-python']}"
    assert others == {python, "pip", "-e ."}, "every other entry names one exact version"
    pairs = (re.split("==?", line) for line in pinned)
    return {CONDA_NAMES.get(name, name): version for name, version in pairs}


def test_lock_is_full_pins_that_install_on_any_machine() -> None:
    for line in LOCK_LINES:
        assert re.fullmatch(r"[a-z0-9.-]+==[0-9][0-9a-z.]*", line), line


@pytest.mark.parametrize("prefix", ["nvidia", "cuda", "triton", "torchvision", "pruning-audit"])
def test_lock_leaves_out_what_belongs_to_one_machine(prefix: str) -> None:
    assert not [name for name in locked() if name.startswith(prefix)]


def test_lock_satisfies_every_declared_requirement() -> None:
    versions = locked()
    for name, requirement in declared().items():
        assert name in versions, f"{name} is not in requirements.lock: run `make lock`"
        assert requirement.specifier.contains(versions[name]), f"{requirement} != {versions[name]}"


def test_lock_holds_the_build_backend_for_installs_without_isolation() -> None:
    for line in PROJECT["build-system"]["requires"]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(locked()[requirement.name])


def test_conda_environment_names_the_declared_packages_at_the_locked_versions() -> None:
    versions = locked()
    expected = {name: str(versions[name]) for name in declared()}
    assert conda_packages() == expected


def test_the_core_brings_neither_notebooks_nor_browser_nor_pdf_nor_trackers() -> None:
    core = {
        canonicalize_name(Requirement(line).name) for line in PROJECT["project"]["dependencies"]
    }
    assert not core & {
        "jupyter",
        "ipykernel",
        "playwright",
        "weasyprint",
        "mlflow",
        "wandb",
        "pytest",
    }


def test_every_extra_is_in_all_and_every_optional_package_in_its_extra() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    (whole,) = extras["all"]
    assert Requirement(whole).extras == set(extras) - {"all", "dev"}
    for package, extra in EXTRAS.items():
        names = {canonicalize_name(Requirement(line).name) for line in extras[extra]}
        wanted = canonicalize_name(package)
        assert names & {wanted, f"{wanted}-skinny"}, (package, extra)


def test_every_locked_package_installs_on_the_oldest_python_that_is_admitted() -> None:
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=") + ".0"
    for name, locked_at in locked().items():
        try:
            told = metadata(name)
        except PackageNotFoundError:  # of another platform
            continue
        if Version(told["Version"]).public != locked_at.public:
            continue  # an environment of other versions (make test-newest) says nothing of the lock
        (found,) = told.get_all("Requires-Python") or [""]
        assert SpecifierSet(found).contains(oldest), f"{name} needs Python {found}"
