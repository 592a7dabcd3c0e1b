"""Downloads from a server that runs here, and where weights are found."""

import contextlib
import gc
import hashlib
import http.server
import socket
import subprocess
import sys
import threading
import warnings
from dataclasses import replace

import numpy as np
import pytest
from weight_files import BLOCKS, DIGEST, LAYERS, assert_params, keras_bytes, model_bytes

from nst_jax.architecture import VGG16, VGG19
from nst_jax.errors import WeightsError
from nst_jax.pretrained import downloads
from nst_jax.pretrained import files as weights

NETWORK = replace(VGG19, blocks=BLOCKS)
PATIENCE = downloads.PATIENCE  # before a fixture shortens it


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    monkeypatch.delenv("NST_JAX_WEIGHTS", raising=False)
    monkeypatch.setenv("NST_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


# Downloading


class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.reply(body=False)

    def do_GET(self):
        self.server.requests.append(self.path)
        self.reply(body=True)

    def reply(self, *, body):
        found = self.server.files.get(self.path.rpartition("/")[2])
        if found is None:
            self.send_error(404)
            return
        data, promised = found
        self.send_response(200)
        self.send_header("Content-Length", str(promised))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.requests = {}, []
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def published(data, url, *, algorithm="md5"):
    return downloads.Source(
        url, f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}", "a licence", NETWORK
    )


def serve(server, name, data, *, promised=None, **options):
    server.files[name] = data, len(data) if promised is None else promised
    return published(data, f"{server.url}/some/where/{name}", **options)


def test_fetch_keeps_a_whole_file_and_trusts_it(server, tmp_path):
    sources = {"keras": serve(server, "vgg.h5", keras_bytes())}
    reports = []
    path = downloads.fetch(
        "keras", folder=tmp_path / "w", sources=sources, progress=lambda *r: reports.append(r)
    )
    assert path == tmp_path / "w" / "vgg.h5"
    assert path.read_bytes() == keras_bytes()
    assert reports[-1] == (len(keras_bytes()), len(keras_bytes()))
    assert downloads.fetch("keras", folder=tmp_path / "w", sources=sources) == path
    assert len(server.requests) == 1


def test_fetch_goes_to_the_cache(server, tmp_path):
    sources = {"keras": serve(server, "vgg.h5", keras_bytes())}
    assert downloads.fetch("keras", sources=sources) == tmp_path / "cache" / "weights" / "vgg.h5"


def test_fetch_replaces_a_damaged_file(server, tmp_path):
    sources = {"keras": serve(server, "vgg.h5", keras_bytes())}
    (tmp_path / "vgg.h5").write_bytes(keras_bytes()[:-1])
    downloads.fetch("keras", folder=tmp_path, sources=sources)
    assert (tmp_path / "vgg.h5").read_bytes() == keras_bytes()


def test_fetch_converts_a_caffe_model(server, tmp_path):
    sources = {"caffe": serve(server, "vgg.caffemodel", model_bytes(LAYERS), algorithm="sha384")}
    for _ in range(2):
        path = downloads.fetch("caffe", folder=tmp_path / "w", sources=sources)
    assert [p.name for p in (tmp_path / "w").iterdir()] == ["vgg.h5"]
    params, provenance = weights.read(path, blocks=BLOCKS)
    assert_params(params)
    assert (provenance.source, provenance.licence) == ("vgg.caffemodel", "a licence")
    assert len(server.requests) == 1
    path.write_bytes(path.read_bytes()[:-1])
    downloads.fetch("caffe", folder=tmp_path / "w", sources=sources)
    assert len(server.requests) == 2


@contextlib.contextmanager
def failed_connections():
    """Requests leaves a failed connection to the garbage collector, which then warns of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


def fetch_fails(sources, folder, message):
    with failed_connections():
        with pytest.raises(WeightsError, match=message) as caught:
            downloads.fetch("keras", folder=folder, sources=sources)
        text = str(caught.value)
        del caught
    assert len(text.splitlines()) == 1
    assert not folder.exists() or not list(folder.iterdir())


def test_fetch_refuses_another_file(server, tmp_path):
    source = serve(server, "vgg.h5", keras_bytes())
    server.files["vgg.h5"] = b"<html>come back later</html>", 28
    fetch_fails({"keras": source}, tmp_path / "w", "is not the published vgg.h5: its md5 checksum differs")


def test_fetch_of_a_file_that_is_gone(server, tmp_path):
    source = serve(server, "vgg.h5", keras_bytes())
    server.files.clear()
    fetch_fails(
        {"keras": source}, tmp_path / "w", "vgg.h5 from 127.0.0.1:.* failed: it answered with status 404"
    )


def test_fetch_that_breaks_off_leaves_nothing(server, tmp_path):
    source = serve(server, "vgg.h5", keras_bytes())
    server.files["vgg.h5"] = keras_bytes()[:5000], len(keras_bytes())
    fetch_fails({"keras": source}, tmp_path / "w", "vgg.h5 from 127.0.0.1:.* failed: broken off")


def test_fetch_without_a_server(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/vgg.h5"
    fetch_fails({"keras": published(b"", url)}, tmp_path / "w", "no connection to 127.0.0.1")


@pytest.mark.timeout(60)
def test_fetch_gives_up_on_a_server_that_is_silent(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "PATIENCE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/vgg.h5"
        fetch_fails({"keras": published(b"", url)}, tmp_path / "w", "127.0.0.1")


@pytest.mark.timeout(60)
def test_fetch_gives_up_on_a_name_that_is_not_resolved(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "PATIENCE", 0.2)
    released = threading.Event()

    def getaddrinfo(*_, **__):
        released.wait()
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    source = published(b"", "http://weights.invalid/vgg.h5")
    with contextlib.ExitStack() as stack:
        stack.callback(released.set)
        fetch_fails({"keras": source}, tmp_path / "w", "no answer from weights.invalid within 0.2 seconds")


def test_an_offline_machine_knows_within_five_seconds():
    assert PATIENCE < 5


def test_fetch_to_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    sources = {"keras": serve(server, "vgg.h5", keras_bytes())}
    with pytest.raises(WeightsError, match=r"vgg.h5 from .* failed"):
        downloads.fetch("keras", folder=tmp_path / "file" / "w", sources=sources)


def test_fetch_of_an_unknown_source():
    with pytest.raises(
        WeightsError, match=r"unknown source 'kears' \(did you mean 'keras'\?\); known: keras, caffe"
    ):
        downloads.fetch("kears")


@pytest.mark.parametrize("name", ["keras", "vgg19"])
def test_a_network_stands_for_its_first_source(server, tmp_path, name):
    sources = {
        "keras": serve(server, "vgg.h5", keras_bytes()),
        "caffe": serve(server, "vgg.caffemodel", model_bytes(LAYERS)),
    }
    assert downloads.fetch(name, folder=tmp_path, sources=sources) == tmp_path / "vgg.h5"


def test_published_sources_are_complete():
    for source in downloads.SOURCES.values():
        algorithm, _, checksum = source.checksum.partition(":")
        assert len(checksum) == hashlib.new(algorithm).digest_size * 2
    assert downloads.SOURCES["caffe"].target == "VGG_ILSVRC_19_layers.h5"
    assert next(iter(downloads.SOURCES)) == "keras"
    networks = [source.architecture for source in downloads.SOURCES.values()]
    assert networks == [VGG19, VGG19, VGG16, VGG16]
    assert all(
        str(n) in source.file for n, source in zip((19, 19, 16, 16), downloads.SOURCES.values(), strict=True)
    )


# Finding


def test_find_a_path(tmp_path):
    path = tmp_path / "mine.h5"
    path.write_bytes(b"")
    assert downloads.find(str(path)) == path
    with pytest.raises(WeightsError, match=r"none\.h5: no such file"):
        downloads.find(str(tmp_path / "none.h5"))
    with pytest.raises(WeightsError, match=r"vgg91 \(did you mean 'vgg19'\?\): no such file"):
        downloads.find("vgg91")


@pytest.mark.parametrize("spec", ["", "\0", "~nobody-here/x", "x" * 5000])
def test_find_an_odd_path(spec):
    with pytest.raises(WeightsError, match="no such file"):
        downloads.find(spec)


def zeros(names):
    return {
        name: {"kernel": np.zeros((3, 3, 1, 1), np.float32), "bias": np.zeros(1, np.float32)}
        for name in names
    }


@pytest.mark.parametrize(
    ("spec", "counts"),
    [("auto", {"vgg19", "vgg16", "other"}), ("vgg19", {"vgg19", "other"}), ("vgg16", {"vgg16", "other"})],
)
def test_find_looks_at_the_environment_first_if_it_is_of_the_network(tmp_path, monkeypatch, spec, counts):
    files = {"vgg19": VGG19.layers, "vgg16": VGG16.layers, "other": VGG16.layers[:-1]}
    for name, layers in files.items():
        path = tmp_path / f"{name}.h5"
        path.write_bytes(keras_bytes(zeros(layers)))
        monkeypatch.setenv("NST_JAX_WEIGHTS", str(path))
        if name in counts:  # what is no known network is refused by whoever reads it
            assert downloads.find(spec, download=False) == path
        else:
            title = {"vgg19": "VGG-19", "vgg16": "VGG-16"}[spec]
            with pytest.raises(downloads.NoWeightsError, match=f"no {title} weights: none in"):
                downloads.find(spec, download=False)


def test_find_keeps_networks_apart(server, tmp_path):
    sources = {
        "keras": serve(server, "vgg19.h5", keras_bytes()),
        "vgg16-caffe": replace(
            serve(server, "vgg16.caffemodel", model_bytes(LAYERS)), architecture=replace(VGG16, blocks=BLOCKS)
        ),
    }
    options = {"folder": tmp_path, "sources": sources}
    downloads.find("vgg19", **options)
    with pytest.raises(downloads.NoWeightsError, match=r"no VGG-16 weights.*'nst-jax weights fetch vgg16'"):
        downloads.find("vgg16", **options, download=False)
    assert downloads.find("vgg16", **options) == tmp_path / "vgg16.h5"
    assert downloads.find("auto", **options) == tmp_path / "vgg19.h5"


def test_a_bad_environment_variable_is_an_error_and_no_fall_back(monkeypatch):
    monkeypatch.setenv("NST_JAX_WEIGHTS", "/none.h5")
    with pytest.raises(WeightsError, match=r"\$NST_JAX_WEIGHTS: /none.h5: no such file") as caught:
        downloads.find("auto")
    assert not isinstance(caught.value, downloads.NoWeightsError)


def test_find_in_the_cache_without_a_connection(server, tmp_path):
    sources = {
        "keras": serve(server, "keras.h5", keras_bytes()),
        "caffe": serve(server, "caffe.caffemodel", model_bytes(LAYERS)),
    }
    expected = downloads.fetch("caffe", folder=tmp_path, sources=sources)
    server.files.clear()
    assert downloads.find("auto", folder=tmp_path, sources=sources) == expected


def test_find_downloads_the_first_source(server, tmp_path):
    sources = {"keras": serve(server, "keras.h5", keras_bytes())}
    assert downloads.find("auto", folder=tmp_path, sources=sources) == tmp_path / "keras.h5"


def test_find_says_why_there_is_nothing(server, tmp_path):
    sources = {"keras": serve(server, "keras.h5", keras_bytes())}
    (tmp_path / "keras.h5").write_bytes(b"half")
    with pytest.raises(downloads.NoWeightsError, match=r"none in .*nst-jax weights fetch"):
        downloads.find("vgg19", folder=tmp_path, sources=sources, download=False)
    assert not server.requests
    server.files.clear()
    with (
        failed_connections(),
        pytest.raises(downloads.NoWeightsError, match="status 404; run 'nst-jax weights fetch'"),
    ):
        downloads.find("auto", folder=tmp_path, sources=sources)


# Telling people


def test_verify(tmp_path, monkeypatch):
    path = tmp_path / "weights.h5"
    path.write_bytes(keras_bytes())
    report = downloads.verify(path, blocks=BLOCKS)
    assert "not one of the published files" in report
    assert DIGEST in report
    monkeypatch.setattr(downloads, "SOURCES", {"keras": published(path.read_bytes(), "http://host/a/vgg.h5")})
    assert "byte for byte the published file vgg.h5" in downloads.verify(path, blocks=BLOCKS)


def test_importing_does_not_load_what_only_downloads_need():
    program = "import sys, nst_jax.pretrained.downloads; print({'pooch', 'requests'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_compact_network_is_no_file_to_look_for():
    with pytest.raises(WeightsError, match="compact: comes with the package and is checked when read"):
        downloads.find("compact")
