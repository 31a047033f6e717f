"""Requests with as much wrong in them as fits: refused, in little time and in few words.

What took minutes before is not measured here: a test that takes as long fails by itself.
"""

from __future__ import annotations

import json

import pytest
from fuzzing.stage import TOKEN, Server, outcome_of

from livekit_plugins_voicegateway.errors import InvalidQueryError, QueryProblem
from livekit_plugins_voicegateway.server.access import session_of

JSON = [(b"content-type", b"application/json")]
FORM = [(b"content-type", b"application/x-www-form-urlencoded")]
MCP = [*JSON, (b"accept", b"application/json, text/event-stream")]


def test_a_cookie_full_of_backslashes_is_not_taken_apart(token_app: Server) -> None:
    # http.cookies takes ten seconds for it, before anybody has shown a token
    garbled = b'voicegw_session="' + b"\\" * 60_000 + b'"'
    scope = {"type": "http", "headers": [(b"cookie", garbled)]}
    assert session_of(scope) == garbled.partition(b"=")[2].decode()


def test_of_several_cookies_the_own_one_is_found() -> None:
    sent = b'{"other": 1}; voicegw_session=12.ab.cd ; voicegw_session2=3; theirs="a; b"'
    assert session_of({"type": "http", "headers": [(b"cookie", sent)]}) == "12.ab.cd"
    assert session_of({"type": "http", "headers": []}) is None


def test_a_log_in_with_many_fields_is_refused(token_app: Server) -> None:
    body = b"&".join(b"token=x" for _ in range(100))
    answer = token_app.ask("POST", b"/login", headers=FORM, body=body)
    assert answer.status == 400
    assert b"more than 8 fields" in answer.body


def test_of_a_hundred_thousand_keys_the_one_that_stands_twice_is_named(open_app: Server) -> None:
    keys = ",".join(f'"{number}":1' for number in range(80_000))
    body = f'{{{keys},"79999":1}}'.encode()
    answer = open_app.ask("POST", b"/v1/projects", headers=JSON, body=body)
    assert answer.status == 400
    assert "the key '79999' stands there twice" in json.loads(answer.body)["detail"]


@pytest.mark.parametrize("count", [4_000, 100_000])
def test_unknown_fields_are_not_all_named(open_app: Server, count: int) -> None:
    body = json.dumps({f"nam{number}": 1 for number in range(count)}).encode()
    for method, target in (("POST", b"/v1/projects"), ("PATCH", b"/v1/projects/lab")):
        answer = open_app.ask(method, target, headers=JSON, body=body)
        assert answer.status in (413, 422)
        assert outcome_of(answer) == "refused"
        assert len(answer.body) < 50_000


def test_unknown_parameters_are_not_all_named(open_app: Server) -> None:
    query = b"&".join(b"perio%d=1" % number for number in range(400))
    answer = open_app.ask("GET", b"/v1/costs?" + query)
    assert answer.status == 422
    errors = json.loads(answer.body)["errors"]
    assert len(errors) == 101
    assert "did you mean 'period'" in errors[0]["expected"]
    assert errors[-1]["found"] == "300 more wrong values"


def test_unknown_arguments_of_a_tool_are_not_all_named(token_app: Server) -> None:
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "get_costs", "arguments": {f"a{n}": 1 for n in range(20_000)}},
    }
    bearer = (b"authorization", b"Bearer " + TOKEN.encode())
    answer = token_app.ask("POST", b"/mcp", headers=[*MCP, bearer], body=json.dumps(call).encode())
    said = json.loads(answer.body)["result"]
    assert said["isError"]
    assert "19900 more wrong values" in said["content"][0]["text"]
    assert len(answer.body) < 20_000


def test_a_refusal_names_a_hundred_faults_and_counts_the_others() -> None:
    problems = [QueryProblem(f"f{n}", "nothing", "a value") for n in range(100)]
    assert InvalidQueryError(problems).problems == tuple(problems)
    more = InvalidQueryError([*problems, *problems]).problems
    assert more[:100] == tuple(problems)
    assert len(more) == 101
    assert more[100].found == "100 more wrong values"
