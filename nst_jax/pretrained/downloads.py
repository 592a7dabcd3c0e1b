"""Published weights of known architectures: found in the cache, or on the network.

What is in a file is the business of `files`; this is about where the file comes from.
"""

import os
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from nst_jax.architecture import ARCHITECTURES, VGG16, VGG19, Architecture, Blocks
from nst_jax.errors import NstError, WeightsError, did_you_mean
from nst_jax.files import cache_folder
from nst_jax.pretrained.files import CHECKSUMS, LICENCE, convert, examine, has_checksum, identify, published

Progress = Callable[[int, int], None]
"""Called during a download with the bytes received and the bytes expected (0 if that is not known)."""

PATIENCE = 4.0
"""Seconds within which a server must have answered before the machine counts as offline."""

SEARCHES = ("auto", *ARCHITECTURES)
"""Settings that stand for published weights, wherever they are; any other is a path."""


class NoWeightsError(WeightsError):
    """No trained weights can be had here, for the reason given; a caller may use the compact network."""


@dataclass(frozen=True)
class Source:
    """A published file of weights.

    Attributes:
        url: where it is downloaded from; the last part is its name in the cache.
        checksum: algorithm and checksum, such as ``md5:253f…``.
        licence: its terms.
        architecture: of the network in it.
    """

    url: str
    checksum: str
    licence: str = LICENCE
    architecture: Architecture = VGG19

    @property
    def file(self) -> str:
        """The name of the published file."""
        return Path(urlsplit(self.url).path).name

    @property
    def target(self) -> str:
        """The name of the file to use: the published one, or the HDF5 that it is converted to."""
        return self.file if self.file.endswith(".h5") else f"{Path(self.file).stem}.h5"


_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"
_OXFORD = "http://www.robots.ox.ac.uk/~vgg/software/very_deep/caffe"

SOURCES: Mapping[str, Source] = {
    "keras": Source(f"{_KERAS}/vgg19/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5", CHECKSUMS["keras"]),
    "caffe": Source(f"{_OXFORD}/VGG_ILSVRC_19_layers.caffemodel", CHECKSUMS["caffe"]),
    "vgg16-keras": Source(
        f"{_KERAS}/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        CHECKSUMS["vgg16-keras"],
        architecture=VGG16,
    ),
    "vgg16-caffe": Source(
        f"{_OXFORD}/VGG_ILSVRC_16_layers.caffemodel", CHECKSUMS["vgg16-caffe"], architecture=VGG16
    ),
}
"""The published files: of each network the HDF5 (VGG-19 80 MB, VGG-16 59 MB), then the Caffe original.

The originals hold fully connected layers too: 575 and 553 MB.
"""


# Finding and downloading


def find(
    spec: str,
    *,
    folder: Path | None = None,
    download: bool = True,
    progress: Progress | None = None,
    sources: Mapping[str, Source] = SOURCES,
) -> Path:
    """Return the weights file that a setting stands for.

    Args:
        spec: a path, or an architecture's name, which stands for ``$NST_JAX_WEIGHTS`` if that file is of the
            architecture, else a published file in the cache, else a download. ``auto`` is ``vgg19``, but
            takes whatever architecture the file in ``$NST_JAX_WEIGHTS`` has.
        folder: where downloads are kept; by default a folder in the cache.
        download: whether the network may be used.
        progress: called while downloading.
        sources: the published files, by name; the first of an architecture is the one to download.

    Returns:
        The path of a file. `files.read` checks what is in it.

    Raises:
        NoWeightsError: neither the cache nor a download has any; for ``auto`` the caller falls back.
        WeightsError: the path given, or in ``$NST_JAX_WEIGHTS``, is not a file.
    """
    if spec == "compact":
        raise WeightsError("compact: comes with the package and is checked when read; name another network")
    if spec not in SEARCHES:
        return _existing(spec, f"{spec}{did_you_mean(spec, (*SEARCHES, 'compact'))}")
    if given := os.environ.get("NST_JAX_WEIGHTS"):
        path = _existing(given, f"$NST_JAX_WEIGHTS: {given}")
        # A file of no known architecture counts too: whoever reads it says what is wrong with it.
        if spec == "auto" or (known := identify(path)) is None or known.name == spec:
            return path
    name = VGG19.name if spec == "auto" else spec
    sources = {key: source for key, source in sources.items() if source.architecture.name == name}
    folder = cache_folder() / "weights" if folder is None else folder
    for source in sources.values():
        if _is_ready(source, folder):
            return folder / source.target
    missing = f"no {ARCHITECTURES[name].title} weights"
    remedy = (
        f"run '{' '.join(['nst-jax weights fetch', *([name] if name != VGG19.name else [])])}' on a machine "
        "with a connection, or name a file in $NST_JAX_WEIGHTS"
    )
    if not download:
        raise NoWeightsError(f"{missing}: none in {folder}; {remedy}")
    try:
        return fetch(next(iter(sources)), folder=folder, progress=progress, sources=sources)
    except NstError as error:
        raise NoWeightsError(f"{missing}: {error}; {remedy}") from None


def _existing(given: str, label: str) -> Path:
    path = os.path.expanduser(given)
    if not os.path.isfile(path):  # unlike pathlib's, never an error, whatever was given
        raise WeightsError(f"{label}: no such file")
    return Path(path)


def _is_ready(source: Source, folder: Path) -> bool:
    path = folder / source.target
    if not os.path.isfile(path):
        return False
    try:
        if source.target == source.file:
            return has_checksum(path, source.checksum)
        examine(path, blocks=source.architecture.blocks)  # a converted file carries its digest
    except WeightsError:
        return False
    return True


def fetch(
    name: str,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
    sources: Mapping[str, Source] = SOURCES,
) -> Path:
    """Download published weights unless they are there already, and return the file to use.

    The file appears under its name only once it is whole and has the published checksum. A Caffe model is
    then converted and removed.

    Args:
        name: of a source, such as ``keras``; or of an architecture, for its first source.
        folder: where to put it; by default a folder in the cache.
        progress: called while downloading.
        sources: the published files, by name.

    Raises:
        WeightsError: no such source, no connection (after at most `PATIENCE` seconds), a download that broke
            off, another file than the published one, or a folder that cannot be written.
        OutputError: the converted file cannot be written.
    """
    firsts = {source.architecture.name: source for source in reversed(list(sources.values()))}
    known = {**sources, **firsts}
    if name not in known:
        raise WeightsError(f"unknown source '{name}'{did_you_mean(name, known)}; known: {', '.join(known)}")
    source = known[name]
    folder = cache_folder() / "weights" if folder is None else folder
    target = folder / source.target
    if _is_ready(source, folder):
        return target
    path = _download(source, folder, progress)
    if path != target:
        convert(path, target, licence=source.licence, blocks=source.architecture.blocks)
        path.unlink()
    return target


def _download(source: Source, folder: Path, progress: Progress | None) -> Path:
    import pooch  # only here: few runs download, and every run would wait for it

    host = urlsplit(source.url).netloc
    _await_answer(source.url, host)
    pooch.get_logger().setLevel("WARNING")  # else it announces each download on standard error
    bar = _Bar(progress) if progress else False
    downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 18, timeout=(PATIENCE, 30))
    try:
        pooch.retrieve(source.url, source.checksum, source.file, folder, downloader=downloader)
    except OSError as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        reason = f"it answered with status {status}" if status else f"broken off ({_reason(error)})"
        raise WeightsError(f"download of {source.file} from {host} failed: {reason}") from None
    except ValueError:
        raise WeightsError(
            f"what {host} sent is not the published {source.file}: its {source.checksum.partition(':')[0]} "
            "checksum differs"
        ) from None
    return folder / source.file


def _await_answer(url: str, host: str) -> None:
    import pooch

    # Each address of a host gets the whole timeout, and looking up its name has none: only a clock outside of
    # it all keeps the promise.
    answer: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            pooch.HTTPDownloader(timeout=PATIENCE)(url, None, None, check_only=True)
        except Exception as error:  # whatever it is, it belongs to the thread that waits
            answer.put(error)
        else:
            answer.put(None)

    threading.Thread(target=ask, daemon=True).start()
    try:
        error = answer.get(timeout=PATIENCE)
    except queue.Empty:
        raise WeightsError(f"no answer from {host} within {PATIENCE:g} seconds") from None
    if error is not None:
        raise WeightsError(f"no connection to {host} ({_reason(error)})")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


class _Bar:
    """What pooch expects of a progress bar, on top of a function."""

    def __init__(self, progress: Progress) -> None:
        self.total = 0
        self._progress = progress
        self._done = 0

    def update(self, size: int) -> None:
        self._done += size
        self._progress(min(self._done, self.total or self._done), self.total)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        pass


# Telling people


def verify(path: Path, *, blocks: Blocks | None = None) -> str:
    """Check a weights file in full, and against the published checksums, and return a report for people.

    Raises:
        WeightsError: the file cannot be used (see `files.read`).
    """
    report = examine(path, blocks=blocks)
    name = published(path, checksums={name: source.checksum for name, source in SOURCES.items()})
    identity = (
        f"byte for byte the published file {SOURCES[name].file}"
        if name
        else "not one of the published files; the digest tells whether it holds the same numbers as another"
    )
    return f"{report}\n{identity}"
