"""Weights come from their homes whole or not at all; servers on loopback stand for the homes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from livekit_plugins_voicegateway.errors import UnknownModelError, WeightsDownloadError
from livekit_plugins_voicegateway.local.downloads import download
from livekit_plugins_voicegateway.local.weights import find_kokoro, missing_weights

REVISION = "0" * 40
NOWHERE = "http://127.0.0.1:9"  # the discard port: nobody listens

Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def server(answer: Callable[[str], Answer]) -> Iterator[str]:
    """A web server on loopback that answers paths as ``answer`` says."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answer(self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}"
        finally:
            running.shutdown()
            thread.join()


def from_folder(folder: Path) -> Callable[[str], Answer]:
    """Answer with the files of a folder."""

    def answer(path: str) -> Answer:
        file = folder / path.rsplit("/", 1)[-1]
        return (200, {}, file.read_bytes()) if file.is_file() else (404, {}, b"")

    return answer


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "voicegateway" / "kokoro"


def test_kokoro_comes_from_its_home_and_is_found_then(cache: Path, kokoro_weights: Path) -> None:
    lines: list[str] = []
    with server(from_folder(kokoro_weights / "kokoro")) as home:
        assert download("kokoro", report=lines.append, kokoro_home=home) == cache
    assert find_kokoro().model == cache / "kokoro-v1.0.int8.onnx"
    assert sorted(path.name for path in cache.iterdir()) == [
        "kokoro-v1.0.int8.onnx",
        "voices-v1.0.bin",
    ]
    assert "local/kokoro: kokoro-v1.0.int8.onnx 50 % of 92 MB" in lines
    assert lines[-1] == f"local/kokoro: complete in {cache}"


def test_what_is_there_is_not_fetched_again(cache: Path, kokoro_weights: Path) -> None:
    cache.mkdir(parents=True)
    for file in (kokoro_weights / "kokoro").glob("*v1.0*"):
        (cache / file.name).symlink_to(file)
    lines: list[str] = []
    download("kokoro", report=lines.append, kokoro_home=NOWHERE)
    assert lines[0] == f"local/kokoro: {cache / 'kokoro-v1.0.int8.onnx'} is there"


def test_a_damaged_file_is_refused_and_does_not_take_its_name(cache: Path) -> None:
    with (
        server(lambda _: (200, {}, b"not the model")) as home,
        pytest.raises(WeightsDownloadError, match=r"int8\.onnx came damaged: its sha256 is .* not"),
    ):
        download("kokoro", report=lambda _: None, kokoro_home=home)
    assert list(cache.iterdir()) == []


def test_an_answer_that_is_cut_short_is_refused(cache: Path) -> None:
    with (
        server(lambda _: (200, {"Content-Length": "1000"}, b"half")) as home,
        pytest.raises(WeightsDownloadError),
    ):
        download("kokoro", report=lambda _: None, kokoro_home=home)
    assert list(cache.iterdir()) == []


def test_a_home_that_cannot_be_reached_is_named_with_another_way(cache: Path) -> None:
    with pytest.raises(WeightsDownloadError) as caught:
        download("kokoro", report=lambda _: None, kokoro_home=NOWHERE)
    assert f"from {NOWHERE}/kokoro-v1.0.int8.onnx: " in str(caught.value)
    assert "`providers.kokoro.weights` in voicegw.yaml" in str(caught.value)
    assert len(missing_weights("kokoro", {})) == 2


def test_a_home_without_the_file_says_so(cache: Path) -> None:
    with (
        server(lambda _: (404, {}, b"")) as home,
        pytest.raises(WeightsDownloadError, match="HTTP Error 404"),
    ):
        download("kokoro", report=lambda _: None, kokoro_home=home)


def test_an_unknown_model_is_not_looked_for_anywhere() -> None:
    with pytest.raises(UnknownModelError, match="whisper-base"):
        download("whisper-bace")


def hub(folder: Path, *, damaged: bool = False) -> Callable[[str], Answer]:
    """Answer as Hugging Face does, as far as its library asks."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files["README.md"] = b"not one of the model's files, and not fetched"

    def describe(name: str) -> dict[str, Any]:
        digest, size = hashlib.sha256(files[name]).hexdigest(), len(files[name])
        large = {"oid": digest, "size": size, "pointerSize": 134}
        return {"type": "file", "path": name, "oid": digest[:40], "size": size, "lfs": large}

    def answer(path: str) -> Answer:
        if "/tree/" in path:
            return 200, {}, json.dumps([describe(name) for name in files]).encode()
        if path.startswith("/api/models/"):
            siblings = [{"rfilename": name} for name in files]
            repository = {"id": "Systran/faster-whisper-tiny.en", "sha": REVISION}
            return 200, {}, json.dumps({**repository, "siblings": siblings}).encode()
        name = path.rsplit("/", 1)[-1]
        if name not in files:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        body = files[name]
        etag = hashlib.sha256(body).hexdigest()
        if damaged and name == "model.bin":
            body = body[:-1] + bytes([body[-1] ^ 1])
        return 200, {"ETag": f'"{etag}"', "X-Repo-Commit": REVISION}, body

    return answer


def download_whisper(endpoint: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Fetch whisper-tiny.en in a process of its own: the hub's library reads its home once."""
    code = (
        "from livekit_plugins_voicegateway.errors import VoiceGatewayError\n"
        "from livekit_plugins_voicegateway.local import download, missing_weights\n"
        "try:\n"
        "    download('whisper-tiny.en')\n"
        "except VoiceGatewayError as error:\n"
        "    print(type(error).__name__, error)\n"
        "print(missing_weights('whisper-tiny.en', {}))\n"
    )
    env = os.environ | {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )


def test_whisper_comes_from_the_hub_into_the_hubs_cache(
    tmp_path: Path, whisper_weights: Path
) -> None:
    with server(hub(whisper_weights / "whisper-tiny.en")) as endpoint:
        answer = download_whisper(endpoint, tmp_path)
    lines = answer.stdout.splitlines()
    assert lines[0].startswith(
        f"local/whisper-tiny.en: {endpoint}/Systran/faster-whisper-tiny.en -> {tmp_path}"
    )
    assert lines[1].startswith("local/whisper-tiny.en: complete in ")
    assert lines[2] == "[]"


def test_a_whisper_that_comes_damaged_is_removed(tmp_path: Path, whisper_weights: Path) -> None:
    with server(hub(whisper_weights / "whisper-tiny.en", damaged=True)) as endpoint:
        answer = download_whisper(endpoint, tmp_path)
    lines = answer.stdout.splitlines()
    assert lines[1].startswith("WeightsDownloadError local/whisper-tiny.en: model.bin from ")
    assert lines[2] != "[]"


def test_a_hub_that_cannot_be_reached_is_named_with_another_way(tmp_path: Path) -> None:
    lines = download_whisper(NOWHERE, tmp_path).stdout.splitlines()
    assert lines[1].startswith(
        "WeightsDownloadError local/whisper-tiny.en could not be fetched from "
        f"{NOWHERE}/Systran/faster-whisper-tiny.en: "
    )
    assert "`providers.whisper.weights` in voicegw.yaml" in lines[1]
