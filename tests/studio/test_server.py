import base64
import concurrent.futures
import contextlib
import hashlib
import http.client
import json
import re
import socket
import threading

import pytest

from nst_jax.errors import ConfigError, ImageError
from nst_jax.studio import answers, guard, routes, server

JPEG = b"\xff\xd8 a picture"
PROTECTIONS = guard.protections(answers.page())


class Desk:
    """Answers with what it was asked, and has pictures and events when a test says so."""

    def __init__(self, folder):
        self.folder = folder
        self.changed = threading.Condition()
        self.version, self.number, self.is_over, self.waiting = 0, 1, False, 0
        self.size = 0
        self.asked = []

    def change(self, **values):
        with self.changed:
            vars(self).update(values)
            self.changed.notify_all()

    def wait(self, condition, timeout):
        with self.changed:
            self.waiting += 1
            self.changed.notify_all()
            try:
                return self.changed.wait_for(condition, timeout)
            finally:
                self.waiting -= 1
                self.changed.notify_all()

    def about(self):
        return {"mode": "studio", "name": "é"}

    def events(self, seen, timeout):
        if not self.wait(lambda: seen.get("number") != self.number or self.is_over, timeout):
            return []
        seen["number"] = self.number
        run = ("run", {"id": self.number, "text": "line\nline", "more": "x" * self.size})
        return [run, ("studio", {"is_over": self.is_over})]

    def picture(self, run, after, timeout):
        if run == 9:
            raise LookupError("there is no run 9")
        if self.wait(lambda: self.version > after, timeout):
            return JPEG, self.version
        return None

    def shown(self, run, what, number):
        return f"{run} {what} {number}".encode()

    def thumbnail(self, name):
        return {"sample:starry": b"small starry", "upload:1a2b": b"small upload"}[name]

    def config(self, run):
        return 'é"\r\nX: 1/run.yaml', b"size: 64\n"

    def saved(self, name):
        return {"a.png": self.folder / "a.png", "gone.png": self.folder / "gone.png"}[name]

    def upload(self, name, data):
        if data == b"text":
            raise ImageError(f"{name}: is not an image")
        return {"id": "upload:1a2b", "name": name, "sha256": hashlib.sha256(data).hexdigest()}

    def start(self, values):
        self.asked.append(values)
        return {"run": 3}

    def grid(self, values):
        return {"run": 4, "values": values}

    def act(self, run, verb, body):
        if verb == "stop":
            raise ConnectionResetError("a bug that looks like a client that is gone")
        return {"run": run, "verb": verb, "body": body}


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "SLICE", 0.05)
    return Desk(tmp_path)


@pytest.fixture
def served(desk):
    with server.serve(desk) as served:
        yield served


@pytest.fixture
def guarded(desk):
    with server.serve(desk, token="right-token") as served:
        yield served


def talk(served, method, path, body=None, **headers):
    """Send one request and return its answer, with the body, after looking at what all answers have."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    with contextlib.closing(connection):
        connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        return finished(connection)


def finished(connection):
    answer = connection.getresponse()
    answer.data = answer.read()
    for name, value in PROTECTIONS.items():
        assert answer.getheader(name) == value
    return answer


def post(served, path, value, kind=routes.JSON, **headers):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return talk(served, "POST", path, body, Content_Type=kind, **headers)


def error(answer):
    return answer.status, json.loads(answer.data)["error"]


@contextlib.contextmanager
def raw(served, text=b"", timeout=20):
    with socket.create_connection(("127.0.0.1", served.port), timeout=timeout) as connection:
        connection.sendall(text.replace(b"HOST", b"Host: 127.0.0.1:%d" % served.port))
        yield connection


def rest(connection):
    """Return all that a server sends until it ends the connection."""
    pieces = []
    while piece := connection.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def until(connection, end):
    found = b""
    while end not in found:
        piece = connection.recv(1 << 16)
        assert piece, found
        found += piece
    return found


EVENTS = b"GET /events HTTP/1.1\r\nHOST\r\n\r\n"


def waited_for(desk, number):
    with desk.changed:
        assert desk.changed.wait_for(lambda: desk.waiting == number, timeout=20)


def handlers():
    """Return the threads of connections."""
    return {thread for thread in threading.enumerate() if "process_request_thread" in thread.name}


def ended(threads):
    for thread in threads:
        thread.join(20)
    return not any(thread.is_alive() for thread in threads)


# What is answered


def test_the_page_runs_under_its_policy(served):
    answer = talk(served, "GET", "/")
    assert (answer.status, answer.getheader("Content-Type")) == (200, "text/html; charset=utf-8")
    policy = answer.getheader("Content-Security-Policy")
    for element in ("style", "script"):
        for inside in re.findall(rf"<{element}[^>]*>(.*?)</{element}>", answer.data.decode(), re.DOTALL):
            digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert re.findall(rb"\s(style|on[a-z]+)=", answer.data) == []


def test_facts(served):
    answer = talk(served, "GET", "/about")
    assert json.loads(answer.data) == {"mode": "studio", "name": "é"}
    assert answer.getheader("Content-Type") == "application/json"
    assert answer.getheader("Server") == "nst_jax"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/runs/1/content", b"1 content 0"),
        ("/runs/2/small", b"2 small 0"),
        ("/runs/1/moments/2", b"1 moments 2"),
        ("/runs/1/cells/4", b"1 cells 4"),
        ("/samples/starry", b"small starry"),
        ("/uploads/1a2b", b"small upload"),
    ],
)
def test_pictures(served, path, body):
    answer = talk(served, "GET", path)
    assert (answer.status, answer.data, answer.getheader("Content-Type")) == (200, body, "image/jpeg")


def test_files_have_names_that_break_no_header(served, desk):
    (desk.folder / "a.png").write_bytes(b"png")
    answer = talk(served, "GET", "/files/a.png")
    assert (answer.data, answer.getheader("Content-Type")) == (b"png", "image/png")
    assert answer.getheader("Content-Disposition") == (
        "attachment; filename=\"a.png\"; filename*=UTF-8''a.png"
    )
    answer = talk(served, "GET", "/runs/1/config.yaml")
    assert (answer.data, answer.getheader("Content-Type")) == (b"size: 64\n", "application/yaml")
    assert answer.getheader("X") is None
    assert answer.getheader("Content-Disposition") == (
        "attachment; filename=\"___r_nX_ 1_run.yaml\"; filename*=UTF-8''%C3%A9%22_r_nX%3A%201_run.yaml"
    )


def test_what_is_not_there(served):
    sentences = {
        "/files/other.png": "there is no such thing here (any more)",
        "/files/gone.png": "the file is no longer where it was saved",
        "/samples/other": "there is no such thing here (any more)",
        "/runs/9/picture": "there is no run 9",
        "/nowhere": "there is nothing at this path",
    }
    for path, sentence in sentences.items():
        assert error(talk(served, "GET", path)) == (404, sentence)


def test_uploads(served):
    data = bytes(range(256)) * 1000
    answer = post(served, "/uploads?name=my%20caf%C3%A9.jpg&x=", data, routes.BYTES)
    assert json.loads(answer.data) == {
        "id": "upload:1a2b",
        "name": "my café.jpg",
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    assert json.loads(post(served, "/uploads", data, routes.BYTES).data)["name"] == "picture"
    assert error(post(served, "/uploads?name=a.txt", b"text", routes.BYTES)) == (
        422,
        "a.txt: is not an image",
    )


def test_orders(served, desk):
    values = {"style.strength": 0.5, "content.image": "sample:portrait"}
    assert json.loads(post(served, "/runs", {"values": values}).data) == {"run": 3}
    assert desk.asked == [values]
    assert json.loads(post(served, "/grids", {"values": {}}).data) == {"run": 4, "values": {}}
    for verb in ("change", "pause", "go-on", "keep", "more", "restore", "branch", "save", "remove"):
        answer = json.loads(post(served, f"/runs/7/{verb}", {"moment": 2}).data)
        assert answer == {"run": 7, "verb": verb, "body": {"moment": 2}}


def test_many_requests_on_one_connection(served):
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    with contextlib.closing(connection):
        for _ in range(3):
            connection.request("GET", "/about")
            assert finished(connection).status == 200
            mine = connection.sock
            connection.request("POST", "/runs", b'{"values":{}}', {"Content-Type": "application/json"})
            assert finished(connection).status == 200
            connection.request("GET", "/nowhere")
            assert finished(connection).status == 404
            connection.request("HEAD", "/about")
            assert finished(connection).data == b""
            assert connection.sock is mine


# Pictures and events


def test_pictures_are_waited_for(served, desk, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(answers, "LONG_POLL", 0.02)
        answer = talk(served, "GET", "/runs/1/picture?after=0")
    assert (answer.status, answer.data, answer.getheader("Content-Length")) == (204, b"", None)
    assert talk(served, "GET", "/runs/1/picture").getheader("X-Version") == "0"
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        future = pool.submit(talk, served, "GET", "/runs/1/picture?after=0")
        waited_for(desk, 1)
        desk.change(version=13)
        answer = future.result()
    assert (answer.status, answer.data, answer.getheader("X-Version")) == (200, JPEG, "13")
    assert error(talk(served, "GET", "/runs/1/picture?after=x")) == (400, "after: a whole number is needed")


def test_no_picture_is_fetched_for_a_client_that_is_gone(served, desk):
    with raw(served, b"GET /runs/1/picture?after=5 HTTP/1.1\r\nHOST\r\n\r\n"):
        waited_for(desk, 1)
    assert ended(handlers())
    assert desk.waiting == 0


def test_events(served, desk, monkeypatch):
    monkeypatch.setattr(answers, "HEARTBEAT", 0.1)
    with raw(served, EVENTS) as stream:
        head, _, text = until(stream, b'{"is_over":false}\n\n').partition(b"\r\n\r\n")
        assert b"Content-Type: text/event-stream" in head
        assert all(f"{name}: {value}".encode() in head for name, value in PROTECTIONS.items())
        assert text == (
            b'retry: 1000\n\nevent: run\ndata: {"id":1,"text":"line\\nline","more":""}\n\n'
            b'event: studio\ndata: {"is_over":false}\n\n'
        )
        until(stream, b": still here\n\n: still here\n\n")
        desk.change(number=2)
        assert b'"id":2' in until(stream, b"event: studio")
        desk.change(is_over=True)
        assert rest(stream).endswith(b'event: studio\ndata: {"is_over":true}\n\n')


def test_twenty_clients_at_once(served, desk):
    def follow(_):
        with raw(served, EVENTS) as stream:
            return rest(stream)

    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        pictures = [pool.submit(talk, served, "GET", "/runs/1/picture?after=0") for _ in range(20)]
        streams = [pool.submit(follow, None) for _ in range(20)]
        waited_for(desk, 40)
        desk.change(version=1, number=2)
        assert {future.result().data for future in pictures} == {JPEG}
        desk.change(is_over=True)
        assert all(b'"id":2' in future.result() for future in streams)


def test_there_are_not_more_streams_than_can_be(desk, monkeypatch):
    monkeypatch.setattr(server, "MOST_STREAMS", 2)
    with server.serve(desk) as served:
        with raw(served, EVENTS) as one, raw(served, EVENTS) as two:
            until(one, b"event: studio")
            until(two, b"event: studio")
            assert error(talk(served, "GET", "/events"))[0] == 503
            assert talk(served, "GET", "/about").status == 200
        assert ended(handlers())
        with raw(served, EVENTS) as again:
            until(again, b"event: studio")


def test_there_are_not_more_connections_than_can_be(desk, monkeypatch):
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 1)
    with server.serve(desk) as served, raw(served, EVENTS) as one:
        until(one, b"studio")
        with raw(served) as two:
            assert rest(two) == b""
        desk.change(is_over=True)
        rest(one)


def test_a_client_that_vanishes_in_a_stream(served, desk, capsys):
    with raw(served, EVENTS) as stream:
        until(stream, b"studio")
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # it is reset
    desk.change(number=2)
    assert ended(handlers())
    assert talk(served, "GET", "/about").status == 200
    assert capsys.readouterr().err == ""


def test_a_client_that_takes_nothing_holds_nobody_up(desk, monkeypatch, capsys):
    monkeypatch.setattr(server._Handler, "timeout", 0.3)
    desk.size = 30_000_000
    before = handlers()
    with server.serve(desk) as served, raw(served, EVENTS) as stream:
        until(stream, b"event: run")
        (thread,) = handlers() - before
        assert talk(served, "GET", "/about").status == 200
        assert ended({thread})
        assert b"event: studio" not in rest(stream)
    assert capsys.readouterr().err == ""


def test_a_client_that_says_nothing_is_let_go(desk, monkeypatch):
    monkeypatch.setattr(server._Handler, "timeout", 0.05)
    with server.serve(desk) as served:
        with raw(served) as silent, raw(served, b"POST /runs HTTP/1.1\r\nHOST\r\n") as slow:
            assert rest(silent) == rest(slow) == b""
        half = b"POST /runs HTTP/1.1\r\nHOST\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        with raw(served, half) as slow:
            assert rest(slow) == b""
        with raw(served, half) as gone:
            gone.shutdown(socket.SHUT_WR)
            assert rest(gone) == b""
    assert desk.asked == []


# Who is refused


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example:{port}"},
        {"Host": "127.0.0.1"},
        {"Host": "localhost.evil.example:{port}"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:{port}"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_other_sites_are_refused(served, desk, headers):
    headers = {name: value.format(port=served.port) for name, value in headers.items()}
    for path in ("/", "/about", "/events", "/nowhere"):
        assert talk(served, "GET", path, **headers).status == 403
    assert post(served, "/runs", {"values": {}}, **headers).status == 403
    assert talk(served, "OPTIONS", "/runs", **headers).status == 403
    assert desk.asked == []


def test_a_host_that_is_missing_or_twice(served):
    for hosts in (b"", b"HOST\r\nHOST\r\n"):
        with raw(served, b"GET /about HTTP/1.1\r\n" + hosts + b"Connection: close\r\n\r\n") as connection:
            assert rest(connection).startswith(b"HTTP/1.1 403 ")


def test_the_page_itself_is_answered(served):
    ours = f"127.0.0.1:{served.port}"
    for host in (ours, f"localhost:{served.port}", f"[::1]:{served.port}"):
        headers = {"Host": host, "Origin": f"http://{host}", "Sec_Fetch_Site": "same-origin"}
        assert talk(served, "GET", "/about", **headers).status == 200
        assert post(served, "/runs", {"values": {}}, **headers).status == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_what_a_form_could_send_is_refused(served, desk, kind):
    assert error(post(served, "/runs", {"values": {}}, kind))[0] == 403
    assert error(post(served, "/uploads", JPEG, kind))[0] == 403
    assert error(post(served, "/uploads", JPEG, routes.JSON))[0] == 403
    assert desk.asked == []


@pytest.mark.parametrize(
    "path", ["/../a.png", "/files/..%2fa.png", "/files/%2e%2e/a.png", "/files/%252e%252e%252fa.png"]
)
def test_paths_that_climb_are_refused(served, desk, path):
    (desk.folder / "a.png").write_bytes(b"png")
    assert error(talk(served, "GET", path)) == (403, "such a path leads nowhere here")


def test_slashes_at_the_beginning_are_not_taken_away(served):
    for path in ("//about", "///", "http://127.0.0.1/about"):
        assert error(talk(served, "GET", path))[0] == 403


def test_methods(served):
    answer = talk(served, "GET", "/runs")
    assert (answer.status, answer.getheader("Allow")) == (405, "POST")
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"):
        answer = talk(served, method, "/about")
        assert (answer.status, answer.getheader("Allow")) == (405, "GET")
    assert error(talk(served, "BREW", "/about"))[0] == 405
    assert error(talk(served, "TRACE", "/about"))[0] == 405


def test_tokens(guarded):
    assert guarded.url == f"http://127.0.0.1:{guarded.port}/?token=right-token"
    for path in ("/", "/about", "/events", "/runs/1/picture", "/about?token=right-token", "/nowhere"):
        assert error(talk(guarded, "GET", path))[0] == 403
        assert error(talk(guarded, "GET", path, Cookie=f"nst_jax_token_{guarded.port}=wrong"))[0] == 403
    for path in ("/?token=wrong", "/?token=", "/?token=r%C3%AFght"):
        assert error(talk(guarded, "GET", path))[0] == 403
    assert error(post(guarded, "/runs", {"values": {}}))[0] == 403
    answer = talk(guarded, "GET", "/?token=right-token")
    assert (answer.status, answer.getheader("Location")) == (303, "/")
    name = f"nst_jax_token_{guarded.port}"
    assert answer.getheader("Set-Cookie") == f"{name}=right-token; HttpOnly; SameSite=Strict; Path=/"
    cookie = {"Cookie": f"other=1; {answer.getheader('Set-Cookie').partition(';')[0]}"}
    assert talk(guarded, "GET", "/", **cookie).status == 200
    assert post(guarded, "/runs", {"values": {}}, **cookie).status == 200
    assert talk(guarded, "GET", "/about", Host=f"evil.example:{guarded.port}", **cookie).status == 403


# What is sent


MALFORMED = (
    b"",
    b"{",
    b"\xff{}",
    b"[]",
    b"1",
    b'"text"',
    b"{}",
    b'{"values": []}',
    b'{"values": {"size": NaN}}',
    b'{"values": {"size": 1e999}}',
    b'{"values": {"a": "\\ud800"}}',
    b"[" * 100_000,
    b"1" * 10_000,
)


@pytest.mark.parametrize("body", MALFORMED)
def test_malformed_orders(served, desk, body):
    assert error(post(served, "/runs", body))[0] == 400
    assert desk.asked == []
    assert talk(served, "GET", "/about").status == 200


def test_bodies_that_are_too_large(served, monkeypatch):
    assert error(post(served, "/runs", bytes(1_000_001))) == (413, "that has 1.0 MB; at most 1 MB are taken")
    monkeypatch.setitem(server.LIMITS, routes.BYTES, 3_000_000)
    assert post(served, "/uploads", bytes(3_000_000), routes.BYTES).status == 200
    answer = post(served, "/uploads", bytes(9_000_000), routes.BYTES)  # more than fits between the two
    assert error(answer) == (413, "that has 9.0 MB; at most 3 MB are taken")
    assert answer.getheader("Connection") == "close"


def test_what_is_too_large_is_not_read_to_its_end(served, monkeypatch):
    monkeypatch.setattr(server, "DRAINED", 100_000)
    kind = b"Content-Type: application/json\r\n"
    head = b"POST /runs HTTP/1.1\r\nHOST\r\n" + kind + b"Content-Length: 999999999999\r\n\r\n"
    with raw(served, head) as connection:
        assert until(connection, b"}").startswith(b"HTTP/1.1 413 ")
        with pytest.raises(ConnectionError):  # long before that is sent
            connection.sendall(bytes(1 << 28))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"", 411),
        (b"Transfer-Encoding: chunked\r\n", 411),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", 411),
        (b"Content-Length: -1\r\n", 400),
        (b"Content-Length: 0x10\r\n", 400),
        (b"Content-Length: \xb2\r\n", 400),
        (b"Content-Length: 2\r\nContent-Length: 3\r\n", 400),
        (b"Content-Length: 9999999999999999999999\r\n", 400),
    ],
)
def test_bodies_of_unclear_length(served, headers, status):
    head = b"POST /runs HTTP/1.1\r\nHOST\r\nContent-Type: application/json\r\n" + headers
    with raw(served, head + b"Connection: close\r\n\r\n{}") as connection:
        connection.shutdown(socket.SHUT_WR)
        assert rest(connection).startswith(b"HTTP/1.1 %d " % status)


def test_nothing_follows_a_body_that_was_not_read(served):
    """It would be taken for another request."""
    hidden = b"GET /about HTTP/1.1\r\nHOST\r\n\r\n"
    for head in (
        b"GET /about HTTP/1.1\r\nHOST\r\nContent-Length: 40\r\n\r\n",
        b"POST /nowhere HTTP/1.1\r\nHOST\r\nTransfer-Encoding: chunked\r\n\r\n",
    ):
        with raw(served, head + hidden) as connection:
            connection.shutdown(socket.SHUT_WR)
            assert rest(connection).count(b"HTTP/1.1 ") == 1


def test_a_client_that_asks_first_whether_to_send(served):
    head = b"POST /runs HTTP/1.1\r\nHOST\r\nContent-Type: %s\r\n"
    head += b"Expect: 100-continue\r\nContent-Length: 13\r\n\r\n"
    with raw(served, head % b"application/json") as connection:
        assert until(connection, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b'{"values":{}}')
        assert until(connection, b"}").startswith(b"HTTP/1.1 200 ")
    with raw(served, head % b"text/plain") as connection:
        assert until(connection, b"}").startswith(b"HTTP/1.1 403 ")


NO_REQUESTS = (
    b"hello\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\r\n",
    b"GET /about HTTP/9.9\r\n\r\n",
    b"GET / about HTTP/1.1\r\n\r\n",
    b"GET " + b"a" * 70_000,
    b"GET /about HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n",
)


@pytest.mark.parametrize("text", NO_REQUESTS)
def test_what_is_no_request(served, text, capsys):
    with raw(served, text) as connection:
        connection.shutdown(socket.SHUT_WR)
        assert re.match(rb"HTTP/1.1 (4|505)", rest(connection))
    assert talk(served, "GET", "/about").status == 200
    assert capsys.readouterr().err == ""


def test_a_query_of_too_many_parts(served):
    assert error(talk(served, "GET", f"/about?{'a=1&' * 20}"))[0] == 400


# Bugs, beginnings and ends


def test_a_bug_is_told_and_the_server_lives_on(served, capfd):
    status, sentence = error(post(served, "/runs/1/stop", {}))
    assert status == 500
    assert "mistake" in sentence
    assert "bug" not in sentence
    assert "ConnectionResetError: a bug" in capfd.readouterr().err
    assert talk(served, "GET", "/about").status == 200
    assert capfd.readouterr() == ("", "")


def test_a_bug_in_a_stream_ends_it(served, desk, capfd):
    desk.events = lambda seen, timeout: [("run", {"loss": float("nan")})]
    with raw(served, EVENTS) as stream:
        assert rest(stream).endswith(b"\r\n\r\nretry: 1000\n\n")
    assert "ValueError: Out of range float" in capfd.readouterr().err
    assert talk(served, "GET", "/about").status == 200


def test_leaving_ends_streams_after_their_last_word_and_frees_the_port(desk, monkeypatch):
    monkeypatch.setattr(answers, "SLICE", 0.4)  # longer than it takes to end
    desk.events = lambda seen, timeout: [] if seen.setdefault("all", timeout) == 0 else quiet(seen, timeout)

    def quiet(seen, timeout):
        if timeout:
            with desk.changed:
                desk.changed.wait(timeout)
            return []
        return [("studio", {"is_over": False, "last": True})]

    with contextlib.ExitStack() as clients:
        with server.serve(desk) as served:
            stream = clients.enter_context(raw(served, EVENTS))
            until(stream, b"retry")
            idle = clients.enter_context(raw(served, b"GET /about HTTP/1.1\r\nHOST\r\n\r\n"))
            until(idle, b"}")
            waiting = clients.enter_context(
                raw(served, b"GET /runs/1/picture?after=5 HTTP/1.1\r\nHOST\r\n\r\n")
            )
            waited_for(desk, 1)
        assert rest(stream).endswith(b'{"is_over":false,"last":true}\n\n')
        assert rest(idle) == b""
        assert rest(waiting).startswith(b"HTTP/1.1 204 ")
    assert ended(handlers())
    assert not any(thread.name == "studio" for thread in threading.enumerate())
    with server.serve(desk, port=served.port) as again:
        assert again.port == served.port


def test_a_port_that_is_taken(served, desk):
    sentence = rf"127.0.0.1, port {served.port}: cannot be used .*; port 0 is any"
    with pytest.raises(ConfigError, match=sentence), server.serve(desk, port=served.port):
        pass


@pytest.mark.parametrize(
    "options",
    [
        {"host": ""},
        {"host": "203.0.113.7"},
        {"host": "a..b"},
        {"host": "\udc80"},
        {"port": 70000},
        {"port": -1},
        {"token": "a b"},
        {"token": ""},
        {"token": "a\r\nX: 1"},
    ],
)
def test_what_cannot_be_served(desk, options):
    with pytest.raises(ConfigError) as caught, server.serve(desk, **options):
        pass
    assert "\n" not in str(caught.value)


def test_addresses_of_a_server_that_others_reach(desk):
    with server.serve(desk, host="0.0.0.0") as served:
        token = re.fullmatch(rf"http://127.0.0.1:{served.port}/\?token=([\w-]{{32}})", served.url)[1]
        assert served.elsewhere == f"http://{socket.gethostname()}:{served.port}/?token={token}"
        assert talk(served, "GET", "/about").status == 403
        assert talk(served, "GET", f"/?token={token}", Host=f"192.168.1.4:{served.port}").status == 303
        assert talk(served, "GET", f"/?token={token}", Host=f"evil.example:{served.port}").status == 403
    with server.serve(desk, host="localhost") as served:
        assert (served.url, served.elsewhere) == (f"http://localhost:{served.port}/", None)
        assert talk(served, "GET", "/about").status == 200


def test_ipv6(desk):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("has no IPv6")
    with server.serve(desk, host="::1") as served:
        assert served.url == f"http://[::1]:{served.port}/"
        connection = http.client.HTTPConnection("::1", served.port, timeout=20)
        with contextlib.closing(connection):
            connection.request("GET", "/about")
            assert finished(connection).status == 200
    with server.serve(desk, host="::", token="t") as served:
        assert served.url == f"http://[::1]:{served.port}/?token=t"
        assert talk(served, "GET", "/?token=t").status == 303  # by IPv4
