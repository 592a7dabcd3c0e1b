"""Convert the VGG-19 or VGG-16 of Simonyan & Zisserman from Caffe to HDF5, without Caffe.

    python weights/convert_caffe_vgg.py VGG_ILSVRC_19_layers.caffemodel vgg19.h5

The 16 or 13 convolutions are checked layer by layer and written as float32 (80 or 59 MB); the fully
connected layers are left out. The weights are licensed CC BY 4.0 by the Visual Geometry Group, University of
Oxford, and the file says so. If it cannot be done, one line says why, and the exit code is 2.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nst_jax.errors import NstError, OutputError
from nst_jax.pretrained import files as weights


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the conversion and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        print(_convert(options.source, options.target, force=options.force))
    except NstError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Convert VGG-19 or VGG-16 from Caffe to HDF5.")
    parser.add_argument("source", type=Path, metavar="IN.caffemodel")
    parser.add_argument("target", type=Path, metavar="OUT.h5")
    parser.add_argument("--force", action="store_true", help="replace OUT.h5 if it exists")
    return parser


def _convert(source: Path, target: Path, *, force: bool) -> str:
    weights.check_other(source, target)
    if target.exists() and not force:
        raise OutputError(f"{target}: exists already; --force replaces it")
    converted = weights.convert(source, target)
    origin = "the published file" if weights.published(source) else "NOT the published file"
    return (
        f"read {source}: {converted.architecture.title}, {origin}, sha256 {converted.source_sha256}\n"
        f"wrote {target}: {target.stat().st_size:,} bytes, digest {converted.digest}\n"
        f"licence: {converted.licence}"
    )


if __name__ == "__main__":
    sys.exit(main())
