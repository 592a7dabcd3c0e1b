import math
import xml.etree.ElementTree as ElementTree

from nst_jax import report

SVG = "{http://www.w3.org/2000/svg}"


def metrics(*losses):
    return [
        {"evaluations": i + 1, "loss": v, "terms": {"a": v / 2, "b": v / 2}} for i, v in enumerate(losses)
    ]


def lines(svg):
    root = ElementTree.fromstring(svg)
    return [
        [tuple(map(float, p.split(","))) for p in e.get("points").split()]
        for e in root.iter(f"{SVG}polyline")
    ]


def test_a_falling_loss_is_a_falling_line_of_equal_steps_on_a_log_scale():
    curves = lines(report.loss_curve(metrics(100.0, 10.0, 1.0)))
    assert len(curves) == 3
    (x1, y1), (x2, y2), (x3, y3) = curves[0]
    assert x1 < x2 < x3
    assert y1 < y2 < y3  # downwards on the page
    assert math.isclose(y2 - y1, y3 - y2, abs_tol=0.2)


def test_names_and_title_are_escaped():
    record = [{"evaluations": 1, "loss": 2.0, "terms": {"<a&b>": 1.0}}]
    texts = [
        e.text for e in ElementTree.fromstring(report.loss_curve(record, title="<&>")).iter(f"{SVG}text")
    ]
    assert "<a&b>" in texts
    assert "<&>" in texts


def test_odd_records_still_make_a_document():
    nan = float("nan")
    for record in (
        [],
        metrics(5.0),
        metrics(0.0, 0.0),
        metrics(nan, nan),
        metrics(1e-30, 1e30),
        metrics(3.0, nan, 2.0),
    ):
        ElementTree.fromstring(report.loss_curve(record))
