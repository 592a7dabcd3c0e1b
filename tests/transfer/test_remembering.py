import threading

from nst_jax.transfer.remembering import always, remembering


def test_the_latest_are_remembered():
    made, remember = [], remembering(2)
    for key in "abac":
        assert remember(lambda key=key: made.append(key) or key.upper(), lambda key=key: key) == key.upper()
    assert made == ["a", "b", "c"]
    remember(lambda: made.append("a again"), lambda: "a")  # asked for after b
    assert made[-1] == "c"
    remember(lambda: made.append("b again"), lambda: "b")
    assert made[-1] == "b again"


def test_what_is_made_may_remember_its_parts():
    made, remember = [], remembering(3)

    def whole(key):
        return remember(
            lambda: made.append(key) or remember(lambda: made.append("part"), lambda: "part"), key
        )

    for number in range(5):
        whole(lambda number=number: number)
    assert [each for each in made if each == "part"] == ["part"]


def test_threads_make_nothing_twice():
    made, remember, gate = [], remembering(2), threading.Barrier(4)

    def work():
        gate.wait()
        remember(lambda: made.append(1), lambda: "key")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


def test_nothing_is_remembered_where_that_is_wanted():
    made = []
    for _ in range(2):
        always(lambda: made.append(1), lambda: 1 / 0)
    assert made == [1, 1]
