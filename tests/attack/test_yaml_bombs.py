"""Configuration files that are made to hurt: refused with a reason, in bounded memory."""

from __future__ import annotations

import resource
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.errors import ConfigError

LARGEST = 1 << 20

LAUGHS = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 10)
)

BOMBS = {
    "aliases of aliases": (LAUGHS, "values; expected a smaller file"),
    "an alias of itself": ("projects: &a {b: *a}", "an alias (*…) whose anchor"),
    "aliases a level deeper each": (
        "a: &a0 [x]\n" + "".join(f"b{n}: &a{n + 1} [*a{n}]\n" for n in range(60)),
        "aliases without end",
    ),
    "lists in lists": ("a: " + "[" * 500_000, "nesting without end"),
    "mappings in mappings": ("a: " + "{a: " * 200_000, "nesting without end"),
    "keys that are keys": ("? " * 400_000, "nesting without end"),
    "blocks in blocks": (
        "".join(f"{' ' * n}k:\n" for n in range(1_000)),
        "nesting without end",
    ),
    "lists of lists, in blocks": ("- " * 400_000, "nesting without end"),
    "many keys": ("".join(f"k{n}: 1\n" for n in range(20_000)), "19900 more problems"),
    "more keys than are read": ("".join(f"k{n}:\n" for n in range(80_000)), "more than 50000"),
    "one key many times": ("timezone: UTC\n" * 20_000, "19899 more problems"),
    "many projects": (
        "projects:\n" + "".join(f"  -{n}: {{}}\n" for n in range(20_000)),
        "19900 more problems",
    ),
    "many options": (
        "providers:\n  openai:\n" + "".join(f"    {n}: 1\n" for n in range(20_000)),
        "19900 more problems",
    ),
    "a long text": (f"timezone: {'x' * 900_000}", "an IANA time zone"),
    "a long key": (f"? {'k' * 900_000}\n: 1", "an unknown key"),
    "a long project": (f"projects:\n  ? {'k' * 900_000}\n  : {{}}", "at most 64"),
    "a number with many digits": (f"server: {{port: {'1' * 900_000}}}", "a whole number"),
    "a number with many underscores": (f"server: {{port: 1{'_1' * 400_000}}}", "a whole number"),
    "a number with a great exponent": ("server: {port: 1e999999999}", "a whole number"),
    "a number with a small exponent": (
        "projects: {p: {daily_budget: 1e-999999999}}",
        "dollars a day",
    ),
    "a price beyond all measure": (
        "pricing: {openai/x: {input: 1e999999999, output: 1, per: 1000000}}",
        "pricing.openai/x.input",
    ),
    "an option beyond all measure": (
        "providers: {openai: {temperature: 1e999999999}}",
        "a finite number",
    ),
    "many variables": (f"timezone: {'${A:-b}' * 100_000}", "what the environment gives"),
    "variables that do not end": (f"timezone: {'${A:-' * 150_000}", "begins no variable"),
    "a variable whose default does not end": (
        f"timezone: ${{A:-{'$' * 900_000}",
        "begins no variable",
    ),
    "many anchors": ("".join(f"- &a{n} x\n" for n in range(60_000)), "more than 50000"),
    "many documents": ("--- {}\n" * 100_000, "a second document"),
    "a tag that makes something": ("!!python/object/apply:os.system ['true']", "a YAML tag"),
    "a tag that is no text": ("a: !x%ED%A0%80 y", "a YAML tag"),
    "many tags": ("".join(f"t{n}: !x y\n" for n in range(20_000)), "more problems"),
    "merge keys": ("a: &a {x: 1}\n" + "".join(f"b{n}: {{<<: *a}}\n" for n in range(9_000)), "<<"),
    "directives": ("%TAG ! tag:x,2000:\n" * 40_000 + "--- a", "a syntax error"),
    "line breaks": ("\n" * 900_000 + ":", "expected"),
    "comments": ("#\n" * 400_000 + "- x", "a mapping with default_project"),
    "quotes that do not end": ("a: '" + "''" * 400_000, "a syntax error"),
    "escapes": ('a: "' + "\\u0041" * 150_000 + '"', "an unknown key"),
    "folded lines": ("a: >\n" + " x\n" * 300_000, "an unknown key"),
    "keys without values": ("{" + "a," * 400_000, "more problems"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused(bomb: str, tmp_path: Path) -> None:
    text, reason = BOMBS[bomb]
    content = text.encode()
    assert len(content) <= LARGEST
    path = tmp_path / "voicegw.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        load_config(path, env={})
    assert reason in str(refused.value)
    assert len(refused.value.problems) <= 101
    assert len(str(refused.value)) < 100_000


def read_all(folder: str) -> None:
    """Read all bombs, and print by how many bytes the process has grown."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number, (text, _) in enumerate(BOMBS.values()):
        path = Path(folder, f"{number}.yaml")
        path.write_text(text)
        try:
            load_config(path, env={})
        except ConfigError:
            continue
        raise AssertionError(f"{text[:60]!r} was taken")
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)


def test_all_bombs_together_take_a_hundred_megabytes_at_most(tmp_path: Path) -> None:
    # each is a file of a megabyte at most, and fifty thousand values
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 100 * LARGEST


def test_of_a_file_of_100_mb_no_more_is_read_than_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "voicegw.yaml"
    with path.open("wb") as file:
        file.truncate(100 * LARGEST)  # no blocks of the disk: all of it reads as zeros
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match="at most 1048576 bytes"):
            load_config(path, env={})
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 * LARGEST


def test_a_file_that_never_ends_is_refused() -> None:
    with pytest.raises(ConfigError):
        load_config(Path("/dev/zero"), env={})


def test_a_configuration_of_a_thousand_projects_is_none(tmp_path: Path) -> None:
    path = tmp_path / "voicegw.yaml"
    path.write_text("projects:\n" + "".join(f"  p{n}: {{daily_budget: 5}}\n" for n in range(1_000)))
    assert len(load_config(path, env={}).projects) == 1_000


if __name__ == "__main__":
    read_all(sys.argv[1])
