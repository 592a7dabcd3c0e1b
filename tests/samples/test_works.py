import pytest

from nst_jax import config, samples
from nst_jax.errors import ConfigError
from nst_jax.samples import works


@pytest.fixture
def folder(tmp_path):
    for name in ("Tubingen.JPG", "the_scream.png", "Renoir.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_every_stand_in_is_a_sample_and_every_need_a_work():
    for name, work in works.WORKS.items():
        assert work.stand_in in samples.CREDITS
        assert set(work.needs) <= set(works.WORKS) - {name}
        assert work.link.startswith("https://")
        kind = samples.CREDITS[work.stand_in].kind
        assert (kind == "map") == name.endswith("_sem")


def test_files_take_the_place_of_names_wherever_they_are_there(folder):
    settings = {"content": "work:neckarfront", "sweep": [{"style": ["work:the_scream", "work:shipwreck", 3]}]}
    assert works.located(settings, folder) == {
        "content": str(folder / "Tubingen.JPG"),
        "sweep": [{"style": [str(folder / "the_scream.png"), "work:shipwreck", 3]}],
    }
    assert works.located(settings, None) == settings


def test_a_painting_is_taken_only_with_its_map(folder):
    assert works.located("work:renoir", folder) == "work:renoir"
    for name in ("renoir_sem.png", "Landscape_sem.png"):
        (folder / name).write_bytes(b"")
    assert works.located("work:renoir", folder) == str(folder / "Renoir.jpg")
    assert works.located("work:landscape_sem", folder) == str(folder / "Landscape_sem.png")


def test_mistakes(folder):
    with pytest.raises(ConfigError, match=r"work:scream: is not a work of the papers .did you mean"):
        works.located("work:scream", folder)
    with pytest.raises(ConfigError, match=r"images: .*nowhere: is not a folder"):
        works.located({}, folder / "nowhere")


def test_a_config_names_works_and_a_folder(folder, monkeypatch):
    base = {"content": "work:neckarfront", "style": "work:starry_night"}
    found = config.load(base=base | {"images": str(folder)})
    assert found.content.image == str(folder / "Tubingen.JPG")
    assert found.style.image == "work:starry_night"
    monkeypatch.setenv("NST_JAX_IMAGES", str(folder))
    assert config.load(base=base).content.image == str(folder / "Tubingen.JPG")
    with pytest.raises(ConfigError, match="is not a folder"):
        config.load(base=base | {"images": "nowhere"})
    with pytest.raises(ConfigError, match="work:nothing"):
        config.load(base=base | {"content": "work:nothing"})


def test_what_stands_in_is_said_with_its_credit():
    text = works.note("work:the_scream")
    assert "sample:burning_sky stands in" in text
    assert "Munch" in text
    assert "\n" not in text
    assert config.picture_name("work:the_scream") == "the_scream (stand-in)"
