"""docs/dependencies.md names every dependency, and the licence that each has."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "dependencies.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

UNNAMED = {"kokoro-onnx": "MIT"}
"""Licences that stand in the package's licence file only."""


def wanted() -> dict[str, str]:
    """Every dependency of a user's installation, with the extra that brings it."""
    named = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
    return {
        re.split(r"[\[<>=; ]", requirement)[0]: extra
        for extra, requirements in named.items()
        if extra not in ("dev", "all")
        for requirement in requirements
    }


def listed() -> dict[str, tuple[str, str]]:
    """Every package of the page's tables: the extra that it stands under, and its licence."""
    found = {}
    for section in re.split(r"^## ", PAGE, flags=re.M)[1:]:
        extra = re.match(r"`\[(\w+)\]`", section)
        for line in section.splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if (
                len(cells) == 4
                and re.fullmatch(r"[a-z][a-z0-9-]+", cells[0])
                and cells[2] != "licence"
            ):
                found[cells[0]] = (extra[1] if extra else "", cells[2])
    return found


def licence_of(package: str) -> str:
    """The licence that an installed package names."""
    about = metadata.metadata(package)
    if named := about.get("License-Expression") or about.get("License"):
        return named.splitlines()[0]
    kinds = [line for line in about.get_all("Classifier") or [] if line.startswith("License ::")]
    if kinds:
        return kinds[0].rpartition(":: ")[2].removesuffix(" License")
    return UNNAMED[package]


def test_the_page_names_what_is_installed_and_by_which_extra() -> None:
    assert {name: extra for name, (extra, _) in listed().items()} == wanted()


@pytest.mark.parametrize("package", sorted(listed()))
def test_the_page_names_the_licence_of_a_package(package: str) -> None:
    try:
        assert listed()[package][1] == licence_of(package)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not installed")


def test_no_package_that_is_always_installed_has_a_licence_that_asks_for_ones_own_code() -> None:
    """Nor has one that these need; the extra ``local`` has, and the page and the README say so."""
    waiting = [name for name, extra in wanted().items() if extra in ("", "server", "parquet")]
    seen: set[str] = set()
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # for another system
        waiting += [re.split(r"[\[<>=!~; (]", need)[0] for need in needs if "extra ==" not in need]
    strong = {name for name in seen if re.search(r"(?<!L)GPL|AFFERO", _all_said(name), re.I)}
    assert len(seen) > 40
    assert strong == set()
    for page in (PAGE, (ROOT / "README.md").read_text()):
        assert "GPL-3.0-or-later" in page


def _all_said(name: str) -> str:
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return ""
    said = [about.get("License-Expression") or "", (about.get("License") or "")[:200]]
    return " ".join([*said, *(about.get_all("Classifier") or [])])
