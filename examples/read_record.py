"""What a picture knows of its run: the record in its PNG. Writes read_record.png and read_record.run."""

from pathlib import Path

from nst_jax import Settings
from nst_jax.runs import records, single
from nst_jax.settings import from_dict

SIZE, EVALUATIONS = 128, 30
PICTURE = Path("read_record.png")


def main() -> None:
    """Paint a picture as the command line does, then read what it carries."""
    values = {"content": "sample:coffee", "style": "sample:starry_swirls", "size": SIZE}
    values |= {"weights": "compact", "solver.evaluations": EVALUATIONS, "output": str(PICTURE)}
    single.run(Settings().with_values(values))

    record = records.read_record(PICTURE)
    print("network", record["encoder"]["name"], record["encoder"]["digest"][:12])
    print("result", record["result"])
    print("versions", record["versions"])
    settings = from_dict(record["config"])  # all that `nst-jax --replay read_record.png` needs
    print("settings", settings.style, settings.solver)


if __name__ == "__main__":
    main()
