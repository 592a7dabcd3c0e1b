"""What it costs to be watched: the same run with a page open on it and without, in turn.

python benchmarks/watching.py [--weights compact] [--size 256] [--evaluations 100] [--clients 1 20]

A client is a process that does what a page does: it listens to events, and asks for the next picture as soon
as it has one. The table has the seconds of the whole run, compiled before, the median of the rounds, and the
ratio to the run that nobody serves. Clients take their own time of the same cores. Before that, how soon
there is a picture in a studio after start: from the second call on with programs from the cache.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from nst_jax import config
from nst_jax.cli import process
from nst_jax.runs import single
from nst_jax.studio.canvas import Canvas
from nst_jax.studio.desk import Desk

IDLE = 8.0
"""Seconds in which a studio imports what it needs, while its user looks at the page."""

CLIENT = """
import sys, threading, urllib.request
url, count = sys.argv[1], int(sys.argv[2])

def events():
    for line in urllib.request.urlopen(url + "events"):
        pass

def pictures():
    version = 0
    while True:
        with urllib.request.urlopen(f"{url}runs/1/picture?after={version}") as answer:
            answer.read()
            version = int(answer.headers.get("X-Version", version))

def client():
    threading.Thread(target=events, daemon=True).start()
    try:
        pictures()
    except OSError:  # the run has ended
        pass

for _ in range(count):
    threading.Thread(target=client, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""


def arguments():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", default="compact")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--evaluations", type=int, default=100, help="at each size")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 20])
    parser.add_argument("--rounds", type=int, default=5)
    return parser


def painted(settings, clients):
    """Return the seconds of a run that so many clients watch; None: it is not even served."""
    if clients is None:
        begun = time.perf_counter()
        single.run(settings, say=lambda line: None)
        return time.perf_counter() - begun

    from nst_jax.studio.server import serve

    desk = Desk(settings, Path(), "run")
    canvas = Canvas(1, "", settings, desk.board)
    desk.adopt(canvas)
    with serve(desk) as place, watched(place.url, clients):
        begun = time.perf_counter()
        single.run(settings, say=lambda line: None, steering=canvas.steering)
        seconds = time.perf_counter() - begun
        desk.leave()
    return seconds


@contextlib.contextmanager
def watched(url, clients):
    """Let so many clients watch."""
    command = [sys.executable, "-c", CLIENT, url, str(clients)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        client.stdout.readline()
        try:
            yield
        finally:
            client.kill()


def first_picture(settings, folder):
    """Return the seconds from start to the first picture of a studio that has been open for a while."""
    desk = Desk(settings, Path(folder))
    worker = threading.Thread(target=desk.work)
    worker.start()
    time.sleep(IDLE)
    begun = time.perf_counter()
    run = desk.start({})["run"]
    desk.picture(run, 0, 600.0)
    seconds = time.perf_counter() - begun
    desk.close()
    worker.join()
    return seconds


def main():
    """Paint in turn, and print the table."""
    process.prepare_process()
    given = arguments().parse_args()
    with tempfile.TemporaryDirectory() as folder:
        values = {
            "content.image": "sample:chelsea",
            "style.image": "sample:starry_swirls",
            "weights": given.weights,
            "size": given.size,
            "solver.evaluations": given.evaluations,
            "output.image": f"{folder}/out.png",
        }
        settings = config.load().with_values(values)
        print(f"from start to the first picture: {first_picture(settings, folder):.1f} s")
        painted(settings, None)
        cases = (None, *given.clients)
        times = {case: [] for case in cases}
        for _ in range(given.rounds):
            for case in cases:
                times[case].append(painted(settings, case))
    alone = statistics.median(times[None])
    print("| watched by | seconds | ratio |\n|---|---|---|")
    for case in cases:
        seconds = statistics.median(times[case])
        print(f"| {'nobody' if case is None else case} | {seconds:.2f} | {seconds / alone:.3f} |")


if __name__ == "__main__":
    main()
