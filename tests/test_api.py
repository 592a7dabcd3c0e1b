import inspect
import re
from pathlib import Path

import pytest

import nst_jax
from nst_jax.pretrained import downloads

README = Path(__file__).parent.parent / "README.md"


def test_everything_public_is_there_and_documented():
    for name in nst_jax.__all__:
        assert getattr(nst_jax, name) is not None
    with pytest.raises(AttributeError, match="frobnicate"):
        _ = nst_jax.frobnicate


def test_options_are_keyword_only_and_documented():
    for function in (nst_jax.stylize, nst_jax.stylize_grid, nst_jax.load_network):
        text = inspect.getdoc(function)
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind is not parameter.VAR_KEYWORD:
                given = parameter.default is parameter.empty or isinstance(
                    parameter.default, nst_jax.Settings
                )
                assert given or parameter.kind is parameter.KEYWORD_ONLY, name
            assert f"{name}:" in text, name


def test_defaults_are_those_of_the_settings():
    """Options that stand for a setting change nothing unless given."""
    parameters = inspect.signature(nst_jax.stylize).parameters
    assert parameters["settings"].default == nst_jax.Settings()
    assert [
        name for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY and p.default is not None
    ] == []


@pytest.mark.usefixtures("direct")
def test_the_example_of_the_readme_runs(tmp_path, monkeypatch):
    """As it stands, but on small pictures and for two evaluations; nothing is downloaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NST_JAX_WEIGHTS", raising=False)
    monkeypatch.setattr(downloads, "fetch", lambda *args, **options: pytest.fail("downloads"))
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.S)
    assert len(code.strip().splitlines()) <= 15
    code, changed = re.subn(r"evaluations=\d+", "evaluations=2", code)
    code, shrunk = re.subn(r"(samples\.load\(\"\w+\"\))", r"\1[::8, ::8]", code)
    assert (changed, shrunk) == (1, 2)
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "out.png").exists()
