import base64
import hashlib
import http.cookies

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nst_jax.studio import guard

LOCAL = guard.door("127.0.0.1", 8080)
NAMED = guard.door("Studio.Example", 8080, "right")
WIDE = guard.door("0.0.0.0", 8080, "right", machine="Painter")

HOSTS = ("127.0.0.1:8080", "localhost:8080", "LocalHost:8080", "[::1]:8080", "[0:0:0:0:0:0:0:1]:8080")
FOREIGN = (
    "",
    "localhost",
    "localhost:80",
    "localhost:8081",
    "localhost:08080x",
    "localhost:8080:8080",
    "localhost.:8080",
    "evil.example:8080",
    "localhost.evil.example:8080",
    "127.0.0.1.evil.example:8080",
    "127.0.0.2:8080",
    "user@localhost:8080",
    "localhost:8080@evil.example",
    "localhost:8080/",
    "localhost:8080\n",
    " localhost:8080",
    "::1:8080",
    "[::1:8080",
    "[127.0.0.1]:8080",
    "[]:8080",
    "localhost:８０８０",
)


def request(host="127.0.0.1:8080", **headers):
    return {"host": [host]} | {name.replace("_", "-"): [value] for name, value in headers.items()}


@pytest.mark.parametrize("host", HOSTS)
def test_this_machine_may_be_named(host):
    for door in (LOCAL, NAMED, WIDE):
        assert guard.refusal(door, request(host)) is None


@pytest.mark.parametrize("host", FOREIGN)
def test_other_hosts_are_refused(host):
    assert "http://localhost:8080/" in guard.refusal(LOCAL, request(host))


@given(st.text(max_size=40))
def test_no_other_text_is_a_host_of_ours(text):
    assert guard.is_ours(LOCAL, text) == (text.lower() in {host.lower() for host in HOSTS})


@given(st.ip_addresses(), st.integers(0, 65535))
def test_addresses_are_ours_where_the_server_is_open_on_all(address, port):
    host = f"{guard.in_address(str(address))}:{port}"
    assert guard.is_ours(WIDE, host) == (port == 8080)
    assert guard.is_ours(LOCAL, host) == (port == 8080 and str(address) in ("127.0.0.1", "::1"))
    there = guard.door(str(address), 8080, "right")
    assert guard.is_ours(there, host) == (port == 8080)


def test_a_named_host_and_the_machines_own():
    assert guard.is_ours(NAMED, "studio.example:8080")
    assert not guard.is_ours(NAMED, "painter:8080")
    assert guard.is_ours(WIDE, "painter:8080")
    assert not guard.is_ours(WIDE, "evil.example:8080")
    assert not guard.is_ours(WIDE, "[192.168.1.4]x:8080")


def test_browsers_leave_out_the_usual_port():
    assert guard.is_ours(guard.door("127.0.0.1", 80), "localhost")
    assert not guard.is_ours(LOCAL, "localhost")


def test_there_must_be_one_host():
    assert guard.refusal(LOCAL, {})
    assert guard.refusal(LOCAL, {"host": ["localhost:8080", "localhost:8080"]})


def test_origins():
    assert guard.refusal(LOCAL, request(origin="http://127.0.0.1:8080")) is None
    for origin in ("null", "", "http://evil.example", "https://127.0.0.1:8080", "http://localhost:8080"):
        assert "another site" in guard.refusal(LOCAL, request(origin=origin))
    both = request() | {"origin": ["http://127.0.0.1:8080", "http://evil.example"]}
    assert guard.refusal(LOCAL, both)


def test_where_a_browser_says_that_a_request_comes_from():
    for site in ("same-origin", "none"):
        assert guard.refusal(LOCAL, request(sec_fetch_site=site)) is None
    for site in ("cross-site", "same-site", ""):
        assert "another site" in guard.refusal(LOCAL, request(sec_fetch_site=site))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "LOCALHOST"])
def test_loopback_needs_no_token(host):
    assert not guard.needs_token(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "fe80::1", "painter", "localhost.example"])
def test_all_else_does(host):
    assert guard.needs_token(host)


@pytest.mark.parametrize(
    ("cookie", "is_right"),
    [
        ("nst_jax_token_8080=right", True),
        ('odd"=;; {"a":1}; =; nst_jax_token_8080=right; other=1', True),
        ("nst_jax_token_8080=wrong; nst_jax_token_8080=right", True),
        ("nst_jax_token_8080=wrong", False),
        ("nst_jax_token_8080=right1", False),
        ("nst_jax_token_8080=", False),
        ("my_nst_jax_token_8080=right", False),
        ("nst_jax_token_8080=ri\xffght", False),
        ("right", False),
        ("", False),
    ],
)
def test_cookies(cookie, is_right):
    assert guard.has_token(NAMED, request(cookie=cookie)) is is_right
    assert guard.has_token(LOCAL, request(cookie=cookie))


@given(st.text())
def test_no_other_text_is_the_token(text):
    assert guard.fits(NAMED, text) is (text == "right")
    assert not guard.fits(LOCAL, text)


def test_the_cookie_is_for_the_server_only():
    morsel = http.cookies.SimpleCookie(guard.cookie(NAMED))["nst_jax_token_8080"]
    assert morsel.value == "right"
    assert (morsel["httponly"], morsel["samesite"], morsel["path"]) == (True, "Strict", "/")
    assert guard.has_token(NAMED, request(cookie=f"nst_jax_token_8080={morsel.value}"))


def test_bodies_have_types_that_no_form_has():
    json = "application/json"
    assert guard.has_type(request(content_type="Application/JSON; charset=utf-8"), json)
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; x=application/json",
    ):
        assert not guard.has_type(request(content_type=kind), json)
    assert not guard.has_type(request(), json)
    assert not guard.has_type(request() | {"content-type": [json, "text/plain"]}, json)


def test_the_policy_admits_the_pages_own():
    page = "<style>a</style><style media=x>\nb\n</style><script>c('é')</script><styles>no</styles>"

    def hashed(text):
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    parts = dict(part.strip().split(" ", 1) for part in guard.policy(page).split(";"))
    assert parts["style-src"] == f"{hashed('a')} {hashed(chr(10) + 'b' + chr(10))}"
    assert parts["script-src"] == hashed("c('é')")
    assert (
        parts["default-src"]
        == parts["base-uri"]
        == parts["form-action"]
        == parts["frame-ancestors"]
        == "'none'"
    )
    assert (parts["img-src"], parts["connect-src"]) == ("'self' blob: data:", "'self'")
