"""Forms of the dashboard bring no files: those would be on disk before anybody looks at them."""

from __future__ import annotations

import pytest
from fuzzing.stage import Server

MULTIPART = (
    b'--x\r\nContent-Disposition: form-data; name="name"; filename="f"\r\n\r\ndata\r\n'
    b'--x\r\nContent-Disposition: form-data; name="project_id"; filename="g"\r\n\r\nmore'
)


@pytest.mark.parametrize("target", [b"/projects/~new", b"/projects/prod/edit"])
@pytest.mark.parametrize("media_type", [b'multipart/form-data; boundary="x"', b"text/plain", b""])
def test_a_form_of_another_kind_is_refused(
    open_app: Server, target: bytes, media_type: bytes
) -> None:
    answer = open_app.ask("POST", target, headers=[(b"content-type", media_type)], body=MULTIPART)
    assert answer.status == 415
    assert b"application/x-www-form-urlencoded" in answer.body
