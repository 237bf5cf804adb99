from __future__ import annotations

import socket
import threading

import pytest

from stanchion.base import Conflict, Denied, Internal, Invalid, LimitExceeded, NotFound, Unauthenticated, Unavailable
from stanchion.cli import client
from stanchion.cli.client import Timeout, Unreachable, path
from tests.cli.stub import problem, sse


@pytest.fixture(name="connect")
def closing_api():
    made: list[client.Api] = []

    def make(*args, **kwargs) -> client.Api:
        made.append(client.Api(*args, **kwargs))
        return made[-1]

    yield make
    for api in made:
        api.close()


def test_a_path_quotes_its_parts():
    assert path("runs", "a/b c", "steps") == "/api/runs/a%2Fb%20c/steps"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, Invalid), (401, Unauthenticated), (403, Denied), (404, NotFound), (409, Conflict), (413, LimitExceeded), (422, Invalid), (429, LimitExceeded), (500, Internal), (503, Unavailable)],
)  # fmt: skip
def test_a_problem_document_becomes_the_problem_it_was(server, status, kind, connect):
    server.routes["GET /x"] = (status, problem("a.b", "Said.", errors=[{"line": 3}]), {})
    with pytest.raises(kind) as caught:
        connect(server.url, None).get("/x")
    found = caught.value
    assert (found.code, found.message, found.hint) == ("a.b", "Said.", "h")
    assert found.fields == {"errors": [{"line": 3}], "request_id": "req-1"}


def test_another_server_behind_the_address_is_told_apart(server, connect):
    server.routes["GET /x"] = (502, b"<html>bad gateway</html>", {"Content-Type": "text/html"})
    with pytest.raises(Unavailable) as caught:
        connect(server.url, None).get("/x")
    assert caught.value.code == "http.502"


def test_the_key_goes_along_and_is_never_in_an_error(server, connect):
    with pytest.raises(NotFound) as caught:
        connect(server.url, "s3cret").get("/x")
    assert server.seen[0][3]["authorization"] == "Bearer s3cret"
    assert "s3cret" not in f"{caught.value} {caught.value.fields}"


def test_nobody_there_and_no_answer(connect):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(Unreachable, match="no Stanchion at"):
            connect(f"http://127.0.0.1:{port}", None).get("/x")
        taken.listen()
        with pytest.raises(Timeout):
            connect(f"http://127.0.0.1:{port}", None, timeout_s=0.05).get("/x")
    with pytest.raises(Invalid, match="not an http"):
        connect("ftp://x", None)


def test_pages_are_read_until_the_limit(server, connect):
    def page(query, _body, _headers):
        start = 0 if "after" not in query else int(query.partition("after=")[2])
        size = int(query.partition("limit=")[2].partition("&")[0])
        items = [{"id": n} for n in range(start, min(start + size, 450))]
        return 200, {"items": items, "next": str(start + size) if start + size < 450 else None}, {}

    server.routes["GET /api/runs"] = page
    api = connect(server.url, None)
    assert [item["id"] for item in api.items("/api/runs")] == list(range(450))
    assert len(server.seen) == 3
    assert len(list(api.items("/api/runs", limit=210))) == 210
    assert server.seen[-1][1] == "limit=10&after=200"


def test_a_kept_connection_that_the_server_closed_is_opened_again(server, connect):
    server.routes["GET /x"] = (200, {"n": 1}, {"Connection": "close"})
    api = connect(server.url, None)
    assert api.get("/x") == {"n": 1}
    assert api.get("/x") == {"n": 1}


def test_events_are_read_and_resumed_from_the_last_id(server, connect):
    server.routes["GET /e"] = (
        200,
        b": heartbeat\n\n" + sse(("4", "run", {"a": 1}), ("5", "end", {})),
        {"Content-Type": "text/event-stream"},
    )
    events = list(connect(server.url, None).events("/e", "3"))
    assert [(e.id, e.name, e.data) for e in events] == [("4", "run", {"a": 1}), ("5", "end", {})]
    assert server.seen[0][3]["last-event-id"] == "3"


def test_a_refusal_before_the_whole_body_was_read_is_heard(connect):
    """A server that looks at Content-Length answers and closes; the client is still sending then."""
    said = b'{"code": "request.too_large", "detail": "Too large."}'
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        def refuse() -> None:
            peer, _ = taken.accept()
            with peer:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += peer.recv(1)
                length = b"Content-Length: %d\r\n" % len(said)
                peer.sendall(b"HTTP/1.1 413 No\r\nContent-Type: application/json\r\n" + length + b"\r\n" + said)

        server = threading.Thread(target=refuse)
        server.start()
        with pytest.raises(LimitExceeded, match="Too large"):
            connect(f"http://127.0.0.1:{taken.getsockname()[1]}", None).post("/x", {"a": "x" * 30_000_000})
        server.join()
