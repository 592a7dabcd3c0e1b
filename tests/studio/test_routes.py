import pytest
from hypothesis import given
from hypothesis import strategies as st

from nst_jax.studio import answers, routes

ATTEMPTS = (
    "/..",
    "/../pyproject.toml",
    "/files/..",
    "/files/../../secret",
    "/files/..%2f..%2fsecret",
    "/files/%2e%2e/secret",
    "/files/%2E%2e%2Fsecret",
    "/files/.%2e/secret",
    "/files/%252e%252e%252fsecret",
    "/files/%25252e%25252e",
    "/files/..%5csecret",
    "/files/a\\b",
    "/files/%5cb",
    "/files/a%00.png",
    "/files/a%2500.png",
    "/files//etc/passwd",
    "/files/%2fetc",
    "//about",
    "http://127.0.0.1/about",
)
NOWHERE = (
    "",
    "*",
    "about",
    "/About",
    "/about/",
    "/about%0a",
    "/files",
    "/files/",
    "/files/a/b",
    "/files/a b",
    "/files/%ff",
    "/files/é",
    "/files/a%0d%0aX",
    "/samples/",
    "/uploads/",
    "/runs",
    "/runs/",
    "/runs/1",
    "/runs/-1/small",
    "/runs/1.0/small",
    "/runs/１/small",
    "/runs/9999999999/small",
    "/runs/1/moments",
    "/runs/1/moments/",
    "/runs/1/small/2",
    "/runs/1/configXyaml",
    "/runs/1/dance",
    "/page.html",
    "/favicon.ico",
)


def status(method, path):
    with pytest.raises(routes.RefusedError) as caught:
        routes.find(method, path)
    return caught.value.status


def test_every_route_has_an_answer():
    assert {route.name for route in routes.ROUTES} == answers.ANSWERS.keys()


@pytest.mark.parametrize(
    ("method", "path", "name", "places"),
    [
        ("GET", "/", "page", {}),
        ("GET", "/%61bout", "about", {}),
        ("GET", "/runs/12/picture", "picture", {"run": "12"}),
        ("GET", "/runs/1/small", "shown", {"run": "1", "what": "small"}),
        ("GET", "/runs/1/cells/4", "shown", {"run": "1", "what": "cells", "number": "4"}),
        ("GET", "/runs/1/config.yaml", "config", {"run": "1"}),
        ("GET", "/files/001_a-B.png", "saved", {"name": "001_a-B.png"}),
        ("GET", "/samples/starry", "thumbnail", {"whose": "sample", "name": "starry"}),
        ("GET", "/uploads/1a2b", "thumbnail", {"whose": "upload", "name": "1a2b"}),
        ("POST", "/uploads", "upload", {}),
        ("POST", "/runs/3/go-on", "act", {"run": "3", "verb": "go-on"}),
    ],
)
def test_paths_lead_to_routes(method, path, name, places):
    route, found = routes.find(method, path)
    assert (route.name, found) == (name, places)


@pytest.mark.parametrize("path", ATTEMPTS)
def test_attempts_to_leave_are_refused(path):
    assert status("GET", path) == status("POST", path) == 403


@pytest.mark.parametrize("path", NOWHERE)
def test_other_paths_lead_nowhere(path):
    assert status("GET", path) in (404, 405)
    if path not in ("/runs", "/uploads", "/runs/1/stop"):
        assert status("GET", path) == 404


def test_other_methods_are_refused_with_the_one_that_is_right():
    for method, path, right in (
        ("HEAD", "/", "GET"),
        ("GET", "/runs", "POST"),
        ("DELETE", "/runs/1/stop", "POST"),
    ):
        with pytest.raises(routes.RefusedError) as caught:
            routes.find(method, path)
        assert (caught.value.status, caught.value.headers) == (405, {"Allow": right})


def found_or_refused(method, path):
    """Return what stands in the places of a path, or the status of its refusal."""
    try:
        return routes.find(method, path)[1]
    except routes.RefusedError as refusal:
        return refusal.status


@given(st.text(max_size=30), st.sampled_from(["GET", "POST"]))
def test_what_is_found_has_only_harmless_names(text, method):
    for path in (text, f"/{text}", f"/files/{text}", f"/runs/1/{text}"):
        found = found_or_refused(method, path)
        if isinstance(found, dict):
            assert all(value.isascii() and not set(value) & set("/\\%\0\n\r") for value in found.values())
        else:
            assert found in (403, 404, 405)


PIECES = ["..", ".", "/", "%2e", "%2F", "%5c", "\\", "%00", "a", "%252e", "files"]


@given(st.lists(st.sampled_from(PIECES), max_size=8))
def test_no_path_climbs(pieces):
    found = found_or_refused("GET", f"/files/{''.join(pieces)}")
    if isinstance(found, dict):
        assert set(found["name"]) <= set(".afiles")
        assert ".." not in found["name"]
