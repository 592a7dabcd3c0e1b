import io
import threading

import numpy as np
from PIL import Image

from nst_jax.studio.preview import SHOWN, SMALL, Preview


def grey(value, size=(8, 12)):
    return lambda: np.full((*size, 3), value, np.float32)


def opened(data):
    return Image.open(io.BytesIO(data))


def waiting(preview, count=1):
    """Return threads that wait for the first picture, and what they got."""
    found = []
    threads = [threading.Thread(target=lambda: found.append(preview.wait(0, 60))) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, found


def test_a_picture_is_encoded_once_for_all_who_ask():
    made, preview = [], Preview()
    preview.show(lambda: made.append(1) or grey(0.5)())
    found = [preview.wait(0, 0) for _ in range(20)]
    assert {version for _, version in found} == {1}
    assert made == [1]
    assert opened(found[0][0]).size == (12, 8)


def test_nothing_is_wanted_before_someone_asks():
    preview = Preview()
    preview.show(grey(0.1))
    assert preview.wait(0, 0) is not None
    assert not preview.is_wanted  # it was there
    assert preview.wait(1, 0) is None
    assert preview.is_wanted
    preview.show(grey(0.2))
    assert not preview.is_wanted


def test_who_waits_gets_the_next_one():
    preview = Preview()
    threads, found = waiting(preview, 5)
    preview.show(grey(0.7))
    for thread in threads:
        thread.join(60)
    assert [version for _, version in found] == [1] * 5


def test_the_end_lets_go_of_everyone():
    preview = Preview()
    threads, found = waiting(preview, 2)
    preview.end()
    for thread in threads:
        thread.join(60)
    assert found == [None, None]


def test_large_pictures_are_shown_smaller():
    preview = Preview()
    preview.show(grey(0.5, (2 * SHOWN, SHOWN)))
    assert opened(preview.encoded()[0]).size == (SHOWN // 2, SHOWN)
    assert opened(preview.small()).size == (SMALL // 2, SMALL)
