import json
import threading
import time

import jax
import numpy as np
import pytest
from makers import run_settings

from nst_jax import images
from nst_jax.errors import ConfigError, NstError, SettingError
from nst_jax.runs import records, single
from nst_jax.runs.steering import LIVE, Change, Steering, recorded
from nst_jax.settings import Settings, every_setting
from nst_jax.transfer import checkpoints, stretch

LONG = {"solver": {"evaluations": 30, "history": 5}, "pyramid": {"levels": 2}, "size": 48, "enlarge": True}


class ByHand(Steering):
    """Steered at every evaluation for which there is something to do; ``None``: there is a look, no more."""

    def __init__(self, acts):
        super().__init__(seen=self._act, say=self.said)
        self.acts, self.lines, self.moments = acts, [], {}

    def said(self, line):
        self.lines.append(line)

    def is_due(self, evaluations):
        return evaluations in self.acts or super().is_due(evaluations)

    def _act(self, look):
        done = look.before + int(look.evaluations[0])
        act = self.acts.pop(done, None)
        self.moments[done] = self.moment(look) if done not in self.moments else self.moments[done]
        if act:
            act(self)


def steered(acts, name="out.png", **changes):
    steering = ByHand(dict(acts))
    output = {"output": {"image": name}}
    outcome = single.run(run_settings(**LONG | output | changes), steering=steering, say=steering.said)
    return outcome, steering


def replayed(name):
    """Run what made a picture once more, and return the new picture's name."""
    settings, record = records.replayed(name)
    again = f"again_{name}"
    settings["output"]["image"] = again
    single.run(run_settings(**settings), earlier=record, say=lambda line: None)
    return again


def pixels(name):
    return images.read(name).rgb


def change(**values):
    return lambda steering: steering.change({key.replace("__", "."): v for key, v in values.items()})


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


STRENGTH = {7: change(style__strength=0.9), 19: change(loss__total_variation=10.0)}


@pytest.mark.parametrize(
    "acts",
    [
        STRENGTH,
        {9: change(style__scale=0.6), 33: change(colour="content"), 34: change(colour="matched")},
        {12: change(solver__evaluations=40), 70: change(content__weight=3.0)},
        {30: change(style__strength=0.2)},  # at the end of a size
        {60: change(solver__evaluations=33)},  # at the very end
        {11: None, 25: lambda steering: steering.restore(steering.moments[11])},
        {11: None, 45: lambda steering: steering.restore(steering.moments[11])},  # of another size
        {11: None} | dict.fromkeys((20, 28, 41), lambda steering: steering.restore(steering.moments[11])),
    ],
)
def test_a_replay_takes_the_same_path(world, acts):
    outcome, steering = steered(acts)
    assert outcome.status == "finished"
    assert [each.evaluations for each in steering.changes] == [n for n in sorted(acts) if acts[n]]
    again = replayed("out.png")
    np.testing.assert_array_equal(pixels(again), pixels("out.png"))
    assert records.read_record(world / again)["changes"] == [each.plain() for each in steering.changes]


@pytest.mark.parametrize("solver", [{"linesearch": "zoom"}, {"kind": "lbfgsb"}, {"kind": "adam"}])
def test_so_it_does_with_other_solvers(world, solver):
    outcome, steering = steered(
        {n: change(style__strength=n / 60) for n in range(9, 60, 9)}
        | {14: lambda steering: steering.restore(steering.moments[min(steering.moments)])},
        solver=LONG["solver"] | solver,
    )
    assert outcome.status == "finished"
    assert len(steering.changes) >= 2
    np.testing.assert_array_equal(pixels(replayed("out.png")), pixels("out.png"))


def test_what_is_changed_acts_on_the_next_step(world):
    outcome, _ = steered({7: change(style__weight=0.0)})
    losses = {line["evaluations"]: line["terms"] for line in lines(outcome.folder)}
    style = {
        n: sum(v for name, v in terms.items() if name.startswith("style/")) for n, terms in losses.items()
    }
    assert style[7] > 0
    assert all(value == 0 for n, value in style.items() if n > 7)


def test_the_picture_differs_from_one_that_was_left_alone(world):
    steered(STRENGTH)
    single.run(run_settings(**LONG, output="plain.png"), say=lambda line: None)
    assert np.abs(pixels("out.png") - pixels("plain.png")).max() > 0.02
    steered({7: None, 19: None}, "watched.png")  # looks alone change nothing
    np.testing.assert_array_equal(pixels("watched.png"), pixels("plain.png"))
    assert "changes" not in records.read_record(world / "watched.png")


@pytest.mark.parametrize("at", [5, 30, 41])
def test_a_run_that_is_stopped_ends_there_and_so_does_its_replay(world, at):
    outcome, _ = steered({3: change(style__strength=0.8), at: lambda steering: steering.stop()})
    assert (outcome.status, outcome.goes_on) == ("interrupted", False)
    assert records.read_record(world / "out.png")["result"]["evaluations"] == at
    np.testing.assert_array_equal(pixels(replayed("out.png")), pixels("out.png"))
    assert not (world / "out.run.partial").exists()


@pytest.mark.parametrize("at", [5, 30, 41])
def test_a_moment_that_is_saved_is_what_its_replay_makes(world, at):
    _, steering = steered({3: change(style__strength=0.8), at: None, 50: change(style__strength=0.1)})
    steering.save(world / "saved.png", steering.moments[at])
    record = records.read_record(world / "saved.png")
    assert record["changes"] == [
        {"evaluations": 3, "settings": {"style.strength": 0.8}},
        {"evaluations": at, "stop": True},
    ]
    assert pixels("saved.png").shape == pixels("out.png").shape
    np.testing.assert_array_equal(pixels(replayed("saved.png")), pixels("saved.png"))


def test_other_weights_compile_nothing(world):
    compiled, counts = [], {}

    def count(event, seconds, **about):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(count)

    def note(act):
        def noted(steering):
            counts[len(counts)] = len(compiled)
            if act:
                act(steering)

        return noted

    acts = {5: change(style__strength=0.6), 9: note(change(style__strength=0.9)), 29: note(None)}
    steered(acts, pyramid={"levels": 1})
    assert counts[0] == counts[1]


def test_work_that_was_cut_off_goes_on_with_what_was_changed(world, monkeypatch):
    steered(STRENGTH, "whole.png")
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "SAVE_SHARE", 1e9)
    monkeypatch.setattr(stretch, "CHUNK_SECONDS", 1e-9)
    steering, seen = ByHand(dict(STRENGTH)), []

    def cut_off(progress):
        return progress.evaluations >= 25

    settings = run_settings(**LONG)
    assert single.run(settings, steering=steering, callback=cut_off, say=steering.said).goes_on
    steering = ByHand({})
    single.run(settings, steering=steering, callback=lambda p: seen.append(p.evaluations), say=steering.said)
    assert seen[0] > 20
    np.testing.assert_array_equal(pixels("out.png"), pixels("whole.png"))
    np.testing.assert_array_equal(pixels(replayed("out.png")), pixels("out.png"))


def test_a_replay_that_was_cut_off_goes_on_with_what_is_left(world, monkeypatch):
    steered(STRENGTH | {44: change(style__strength=0.3)})
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "SAVE_SHARE", 1e9)
    monkeypatch.setattr(stretch, "CHUNK_SECONDS", 1e-9)
    settings, record = records.replayed("out.png")
    settings = run_settings(**settings | {"output": "again.png"})
    quiet = {"earlier": record, "say": lambda line: None}
    assert single.run(settings, callback=lambda progress: progress.evaluations >= 22, **quiet).goes_on
    seen = []
    single.run(settings, callback=lambda progress: seen.append(progress.evaluations), **quiet)
    assert seen[0] == 23
    np.testing.assert_array_equal(pixels("again.png"), pixels("out.png"))


def test_a_pause_waits_and_lets_one_look(world):
    steering = ByHand({8: lambda steering: steering.pause()})
    ended = threading.Thread(
        target=lambda: single.run(run_settings(**LONG), steering=steering, say=steering.said)
    )
    ended.start()
    looked = steering.at_look(lambda look: look.before + int(look.evaluations[0]))
    while 8 not in steering.moments:
        time.sleep(0.01)
    assert looked.result(60) <= 8
    assert steering.at_look(lambda look: look.before + int(look.evaluations[0])).result(60) == 8
    steering.change({"style.strength": 0.3})
    with pytest.raises(ZeroDivisionError):
        steering.at_look(lambda look: 1 / 0).result(60)
    assert ended.is_alive()
    steering.pause(False)
    ended.join(60)
    assert not ended.is_alive()
    assert [each.plain() for each in steering.changes] == [
        {"evaluations": 8, "settings": {"style.strength": 0.3}}
    ]
    with pytest.raises(NstError, match="the run has ended"):
        steering.at_look(lambda look: 1).result(60)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"size": 64}, "size: cannot be changed while a run goes on; these can: style.strength"),
        ({"style.strength": 2}, "style.strength: should be"),
        ({"style.kind": "w2"}, "style.kind: cannot be changed"),
        ({"style.strength": float("nan")}, "style.strength: should be"),
    ],
)
def test_what_may_not_be_changed_is_refused(values, words):
    steering = Steering()
    with pytest.raises(SettingError, match=words):
        steering.change(values)
    assert not steering.is_due(3)


def test_a_change_that_cannot_be_made_leaves_the_run_as_it_was(world):
    outcome, steering = steered({7: change(style__scale=0.01)})
    assert outcome.status == "finished"
    assert not steering.changes
    (line,) = (line for line in steering.lines if line.startswith("nothing was changed: "))
    assert "pixels at the size used" in line


@pytest.mark.parametrize(
    "changes",
    [
        [{"evaluations": 0}],
        [{"evaluations": 5, "settings": {"size": 10}}],
        [{"evaluations": 5, "settings": []}],
        [{"evaluations": "x"}],
        [{"at": 5}],
        [7],
        7,
        [{"evaluations": 5}, {"evaluations": 4}],
        [{"evaluations": 5, "picture": -1}],
        [{"evaluations": 5, "picture": 6}],
    ],
)
def test_a_record_of_changes_that_this_program_does_not_write_is_refused(world, changes):
    with pytest.raises(ConfigError, match=r"changes: the record's are not in the form"):
        recorded({"changes": changes})


def test_a_record_with_a_value_that_may_not_be_is_refused_before_any_work(world):
    record = {"changes": [{"evaluations": 5, "settings": {"style.strength": 7}}]}
    with pytest.raises(NstError, match=r"style\.strength: should be"):
        single.run(run_settings(), earlier=record, say=lambda line: None)
    assert not (world / "out.png").exists()


def test_changes_are_written_and_read_back():
    changes = (Change(3, {"style.strength": 0.5}), Change(5, {}, 3), Change(9, stop=True))
    assert recorded({"changes": [each.plain() for each in changes]}) == changes
    assert recorded({}) == ()


def test_all_that_may_be_changed_is_a_setting():
    assert set(LIVE) <= {key for key, _ in every_setting(Settings())}
