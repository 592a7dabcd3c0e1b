"""YAML files, flags and ``key=value`` pairs become one validated, frozen config.

The models below hold the only defaults and the meaning of every key; ``nst-jax --print-config`` prints them.
Mistakes are reported all at once, each with where it was written: file:line:column, or the flag.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from nst_jax.errors import ConfigError, did_you_mean
from nst_jax.layers import canonical_layers

INIT_SOURCES = ("content", "style", "noise")


def _check_layers(value: Any) -> Any:
    if isinstance(value, Mapping):
        bad = [w for w in value.values() if not _is_number(w) or w < 0]
        if bad:
            raise ValueError(f"a layer's weight should be a number of at least 0, got {bad[0]!r}")
        return dict(zip(_canonical(map(str, value)), map(float, value.values()), strict=True))
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise ValueError(
            f"should be a list of layers, or layers with weights, such as {{conv4_2: 1.0}}, got {value!r}"
        )
    return _canonical(value)


def _canonical(names: Iterable[str]) -> tuple[str, ...]:
    try:
        layers = canonical_layers(names)
    except ConfigError as error:  # pydantic gathers ValueErrors
        raise ValueError(str(error)) from None
    if len(set(layers)) < len(layers):
        raise ValueError(f"names a layer twice: {', '.join(layers)}")
    return layers


def _check_init(value: Any) -> Any:
    if isinstance(value, Mapping):
        total = 0.0
        for name, share in value.items():
            if name not in INIT_SOURCES:
                raise ValueError(f"a blend is of {', '.join(INIT_SOURCES)}, got '{name}'")
            if not _is_number(share) or share < 0:
                raise ValueError(f"the share of '{name}' should be a number of at least 0, got {share!r}")
            total += share
        if total <= 0:
            raise ValueError("shares of a blend should add up to more than 0")
        return {str(name): share / total for name, share in value.items()}
    if not isinstance(value, str) or not value:
        raise ValueError(f"should be content, style, noise, a file or a blend of these, got {value!r}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


Layers = Annotated[tuple[str, ...] | dict[str, float], BeforeValidator(_check_layers)]
Init = Annotated[str | dict[str, float], BeforeValidator(_check_init)]
Weight = Annotated[float | None, Field(ge=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)


class _ImageSection(_Section):
    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"image": value} if isinstance(value, str) else value


class Content(_ImageSection):
    """The photograph."""

    image: str | None = Field(None, description="a file, or sample:NAME (nst-jax samples lists them)")
    weight: Weight = Field(None, description="alpha of equation 7; null: the convention's own")
    layers: Layers = Field(("conv4_2",), description="a list, or layers with weights: {conv4_2: 1.0}")


class Style(_ImageSection):
    """The painting."""

    image: str | None = Field(None, description="a file, or sample:NAME")
    weight: Weight = Field(None, description="beta of equation 7; null: the convention's own")
    layers: Layers = Field(
        ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"),
        description="a list, or layers with weights w_l (equation 5)",
    )
    scale: float = Field(1.0, gt=0, le=16, description="size of the style image relative to the content's")
    fit: Literal["content", "aspect"] = Field(
        "content",
        description="content: resize the style to the content's height and width, as in the paper; "
        "aspect: to the content's area with the style's own aspect ratio",
    )


class Loss(_Section):
    """How differences become one number."""

    convention: Literal["gatys2016", "literal", "notebook", "johnson"] = Field(
        "gatys2016",
        description="whose formula the weights are meant for: gatys2016, literal, notebook, johnson",
    )
    total_variation: Weight = Field(
        None, description="weight of the smoothness term; null: the convention's own"
    )


class Network(_Section):
    """VGG-19."""

    pool: Literal["avg", "max"] = Field("avg", description="avg as in the paper, or max")
    padding: Literal["zero", "replicate"] = Field("zero", description="beyond the border: zero, or replicate")
    normalised: bool | None = Field(
        None,
        description="scale every filter to mean activation one, as in the paper (section 2); "
        "null: as the convention expects (gatys2016 and literal)",
    )


class Solver(_Section):
    """How the image is optimised."""

    kind: Literal["lbfgs", "adam"] = Field("lbfgs", description="lbfgs (jaxopt) or adam (optax)")
    evaluations: int = Field(300, ge=1, description="how often the loss and its gradient are computed")
    linesearch: Literal["none", "zoom"] = Field(
        "none", description="of L-BFGS: none is one evaluation a step"
    )
    history: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None,
        description="pairs that L-BFGS remembers; null: 100, or what fits in 1 GiB",
    )
    learning_rate: float = Field(2.0, gt=0, description="of Adam, in grey levels (0 to 255)")


class Output(_ImageSection):
    """What is written. Beside out.png, the folder out.run holds config, metrics and loss plot too."""

    image: str = Field("out.png", description="the picture: .png, .jpg, .webp or .tif")
    bits: Literal[8, 16] = Field(8, description="per channel; 16 for .png and .tif")
    quality: int = Field(95, ge=1, le=100, description="of .jpg and .webp")
    save_every: int = Field(0, ge=0, description="also keep a picture every so many evaluations; 0: none")


class Config(_Section):
    """One run."""

    content: Content = Content()
    style: Style = Style()
    init: Init = Field(
        "content",
        description="first image: content, style, noise, a file, or a blend {content: 0.7, noise: 0.3}",
    )
    seed: int = Field(0, ge=0, lt=2**32, description="of the noise")
    size: int = Field(
        512, ge=1, description="bound of the longer side, in pixels; smaller images stay as they are"
    )
    max_pixels: int = Field(200_000_000, ge=1, description="larger input images are refused")
    weights: str = Field(
        "auto",
        min_length=1,
        description="auto: $NST_JAX_WEIGHTS, the cache, a download, else the built-in encoder; "
        "vgg19: the same without the built-in encoder; dictionary: the built-in encoder; or a file",
    )
    network: Network = Network()
    loss: Loss = Loss()
    solver: Solver = Solver()
    output: Output = Output()


Key = tuple[str | int, ...]


def load(
    path: str | Path | None = None,
    *,
    base: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
    flags: Mapping[str, tuple[str, Any]] | None = None,
) -> Config:
    """Return a validated config.

    Args:
        path: a YAML file, or the name of a packaged config such as ``starry``; None: the defaults.
        base: settings to start from instead of a file.
        assignments: texts ``key=value``, the key dotted (``style.weight=1e4``), the value in YAML.
        flags: for a dotted key, the flag's name (for messages) and its value. Flags are applied before
            assignments, both over the file.

    Raises:
        ConfigError: one line for each mistake.
    """
    data: dict[str, Any] = dict(base or {})
    places: dict[Key, str] = {}
    problems: list[str] = []
    name = ""
    if path is not None:
        found = find(path)
        name = str(found)
        data, places, problems = parse(_read(found), name=name)
    for key, (flag, value) in (flags or {}).items():
        _assign(data, places, key, value, flag)
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key:
            problems.append(f"--set {text}: should be key=value, such as style.weight=1e4")
            continue
        parsed, _, wrong = parse(
            value, name=f"--set {text}", top=dict | list | str | int | float | bool | None
        )
        problems += wrong
        if not wrong:
            _assign(data, places, key.strip(), parsed, f"--set {text}")
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        problems += [_sentence(e, places, name) for e in error.errors()]
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def find(path: str | Path) -> Path:
    """Return a config file: as given, or among the configs that come with the program, by name."""
    given = Path(path)
    if given.is_file():
        return given
    names = packaged()
    if not given.exists() and given.stem in names and given.suffix in ("", ".yaml"):
        return names[given.stem]
    near = did_you_mean(given.stem, names)
    raise ConfigError(
        f"{path}: no such config file{near}; configs that come with the program: {', '.join(names)}"
    )


def packaged() -> dict[str, Path]:
    """Return the configs that come with the program, by name."""
    package = Path(str(files("nst_jax")))
    folders = (package / "configs", package.parent / "configs")  # installed, and in a checkout
    return {file.stem: file for folder in folders for file in sorted(folder.glob("*.yaml"))}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not a text file in UTF-8") from None


# --- YAML -----------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """YAML with the scalars of version 1.2: 1e3 is a number, ``no`` and ``12:30`` are text."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("int", r"[-+]?[0-9](_?[0-9])*", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("^$"), [""])
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value.replace("_", "")))


def parse(text: str, *, name: str, top: Any = dict) -> tuple[Any, dict[Key, str], list[str]]:
    """Parse YAML text.

    Args:
        text: the YAML.
        name: where it is from, for messages.
        top: the type that the whole must have.

    Returns:
        The value, the place ``name:line:column`` of every key in it, and a list of problems found.
    """
    places: dict[Key, str] = {}
    problems: list[str] = []
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return ({} if top is dict else None), places, problems
        _walk(node, (), name, places, problems)
        value = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        return {}, places, [*problems, f"{where}: is not YAML: {error.problem or error.context}"]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return {}, places, [*problems, f"{name}: is not YAML: {str(error).splitlines()[0]}"]
    if not isinstance(value, top):
        return {}, places, [*problems, f"{name}:1:1: should be keys with values, got {type(value).__name__}"]
    return value, places, problems


def _walk(node: yaml.Node, key: Key, name: str, places: dict[Key, str], problems: list[str]) -> None:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            places[(*key, index)] = _place(item, name)
            _walk(item, (*key, index), name, places, problems)
    if not isinstance(node, yaml.MappingNode):
        return
    for label, item in node.value:
        inner = (*key, str(label.value))
        if inner in places:
            dotted = ".".join(map(str, inner))
            problems.append(
                f"{_place(label, name)}: {dotted}: stands here a second time, first at {places[inner]}"
            )
        places[inner] = _place(label, name)
        _walk(item, inner, name, places, problems)


def _place(node: yaml.Node, name: str) -> str:
    return f"{name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"


# --- Putting together -----------------------------------------------------------------------------


def _assign(data: dict[str, Any], places: dict[Key, str], dotted: str, value: Any, place: str) -> None:
    *outer, last = dotted.split(".")
    section = data
    for name in outer:
        inside = section.get(name)
        if isinstance(inside, str):  # a picture's short form, `content: photo.jpg`
            inside = {"image": inside}
        section[name] = dict(inside) if isinstance(inside, Mapping) else {}
        section = section[name]
    if (
        isinstance(section.get(last), Mapping)
        and isinstance(value, str)
        and not outer
        and last in _IMAGE_SECTIONS
    ):
        section, last, dotted = section[last], "image", f"{dotted}.image"
    section[last] = value
    places[tuple(dotted.split("."))] = place


_IMAGE_SECTIONS = {
    name
    for name, field in Config.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, _ImageSection)
}


def _sentence(error: Any, places: dict[Key, str], name: str) -> str:
    keys = tuple(k for k in error["loc"] if not (isinstance(k, str) and ("[" in k or "(" in k)))
    model, known = _known_keys(keys)
    dotted = ".".join(map(str, known))
    outer = (places[known[:n]] for n in range(len(known), 0, -1) if known[:n] in places)
    inner = (place for key, place in places.items() if key[: len(known)] == known)
    place = next(outer, None) or next(inner, name)
    where = f"{place}: " if place else ""
    if error["type"] == "extra_forbidden":
        near = did_you_mean(str(keys[-1]), model)
        return f"{where}{dotted}: unknown key{near}; allowed: {', '.join(model)}"
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    given = "" if "got " in message or error["type"] == "value_error" else f", got {_short(error['input'])}"
    return f"{where}{dotted}: {message}{given}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _known_keys(keys: Key) -> tuple[list[str], Key]:
    """Return the allowed names where a key stands, and the key without pydantic's tags of union members."""
    model: Any = Config
    fields: list[str] = list(Config.model_fields)
    kept: list[str | int] = []
    for key in keys:
        if model is None:
            break
        fields = list(model.model_fields)
        kept.append(key)
        field = model.model_fields.get(key)
        kind = field.annotation if field else None
        model = kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
    return fields, tuple(kept)


# --- Printing -------------------------------------------------------------------------------------


def to_yaml(config: Config) -> str:
    """Return a config as YAML, each key with its meaning as a comment. `load` reads it back."""
    return "\n".join(_lines(config, "")) + "\n"


def _lines(section: BaseModel, indent: str) -> list[str]:
    lines: list[str] = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            lines += [f"{indent}{name}:  # {type(value).__doc__}", *_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}{name}: {_scalar(value)}  # {field.description}")
    return lines


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z_./][\w./-]*(:[\w.-]+)?", value)
        same = plain and parse(value, name="", top=object)[0] == value
        quoted = yaml.safe_dump(value, default_style='"', allow_unicode=True, width=float("inf"))
        return value if same else quoted.rstrip("\n")
    if isinstance(value, tuple):
        return f"[{', '.join(map(_scalar, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_scalar(k)}: {_scalar(v)}' for k, v in value.items())}}}"
    return json.dumps(value)
