import pytest

from nst_jax.errors import SettingError
from nst_jax.runs.steering import LIVE
from nst_jax.settings import Settings, every_setting
from nst_jax.studio import controls


def test_every_control_is_of_a_setting_and_says_what_the_command_line_says():
    settings = dict(every_setting(Settings()))
    for control in controls.described():
        setting = settings[control["key"]]
        assert control["help"] == setting.metadata["meaning"]
        assert control["flag"] == setting.metadata["flag"]


@pytest.mark.parametrize("control", controls.described(), ids=lambda control: control["key"])
def test_every_value_that_a_control_has_is_allowed(control):
    ends = [control["least"], control["most"]] if control["kind"] in ("range", "number") else []
    for value in (*control["choices"], *ends, control["default"]):
        if value is not None:
            Settings().with_values({control["key"]: value})
    assert control["choices"] or control["kind"] != "choice"


def test_settings_beyond_the_ends_of_a_control_are_within_them():
    beyond = Settings().with_values({"size": 4096, "solver.evaluations": 5, "style.scale": 9.0})
    ends = {each["key"]: (each["least"], each["most"]) for each in controls.described(beyond)}
    assert ends["size"] == (64, 4096)
    assert ends["solver.evaluations"] == (5, 2000)
    assert ends["style.scale"] == (0.25, 9.0)


def test_what_acts_at_once_may_be_changed_while_a_run_goes_on():
    live = {control["key"] for control in controls.described() if control["live"]}
    assert live == set(controls.AT_ONCE)
    assert live <= set(LIVE)
    assert {"style.strength", "style.scale", "colour", "loss.total_variation"} <= live


def test_other_keys_are_refused():
    with pytest.raises(SettingError, match=r"output\.image: cannot be set here; these can: content\.image"):
        controls.checked({"output.image": "/etc/passwd"})
    assert controls.checked({"size": 64}) == {"size": 64}


def test_values_are_those_of_the_settings():
    found = controls.values_of(Settings().with_values({"size": 99, "style.strength": 0.3}))
    assert (found["size"], found["style.strength"], found["colour"]) == (99, 0.3, "style")
    assert list(found) == list(controls.KEYS)
