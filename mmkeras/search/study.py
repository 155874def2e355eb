"""What a search is, where it is kept, and what each of its trials did."""

import dataclasses
import io
import json
import pathlib

import numpy as np

from mmkeras.persistence import write_bytes, write_text
from mmkeras.registry import describe
from mmkeras.search.space import FIXED

ABOUT = "search.json"
RECORDS = "trials"


@dataclasses.dataclass
class Study:
    """The facts of a search that its trials share.

    Attributes:
        directory: folder for everything that must survive an interruption.
        modalities, task, space: see `search`; the space is that of `make_space`.
        engine, tuner, objective: str.
        max_trials, seed, verbose: int.
        keeps: bool, whether what trials say of the validation rows is kept beside their records.
    """

    directory: pathlib.Path
    modalities: list
    task: object
    space: dict
    engine: str
    tuner: str
    objective: str
    max_trials: int
    seed: int = 0
    verbose: int = 0
    keeps: bool = False

    @property
    def direction(self):
        """Whether the best score is the highest, "max", or the lowest, "min"."""
        return "min" if self.objective in self.task.smaller_is_better else "max"

    @property
    def most_epochs(self):
        """The most epochs that a trial may train, which "hyperband" shares out."""
        values = self.space.get("epochs", [FIXED["epochs"]])
        return int(values["high"] if isinstance(values, dict) else max(values))

    def begin(self, trial_id, choices):
        """Note that a trial starts. Returns its record."""
        earlier = read_record(self.directory, trial_id) or {}
        record = {"trial": trial_id, "choices": choices, "starts": earlier.get("starts", 0) + 1}
        self._write(record)
        return record

    def end(self, record, outcome):
        """Note the outcome of a trial, and tell it; what it predicted lies in a file of its own, if anywhere."""
        outcome = dict(outcome)
        predictions = outcome.pop("predictions", None)
        if self.keeps and predictions is not None:
            data = io.BytesIO()
            np.save(data, predictions, allow_pickle=False)
            write_bytes(self.directory / RECORDS / f"{record['trial']}.npy", data.getvalue())
        record = {**record, **outcome}
        self._write(record)
        if self.verbose:
            print(self.line(record), flush=True)

    def end_final(self, record, score, number, rounds):
        """Note the score of a finalist in a further round, and tell it."""
        record["finals"] = [*record.get("finals", ()), score]
        self._write(record)
        if self.verbose:
            print(
                f"Final {number} of {rounds}, trial {int(record['trial']) + 1}: {self.objective} {score:.3f}",
                flush=True,
            )

    def predictions(self, record):
        """(R, C) what a trial said of the validation rows; None where it was not kept."""
        path = self.directory / RECORDS / f"{record['trial']}.npy"
        return np.load(path, allow_pickle=False) if path.is_file() else None

    def _write(self, record):
        write_text(self.directory / RECORDS / f"{record['trial']}.json", json.dumps(record))

    def line(self, record):
        """What a trial did, in a line."""
        chosen = ", ".join(_told(name, value) for name, value in record["choices"].items())
        if "failure" in record:
            outcome = f"failed: {record['failure']}"
        else:
            scores = [r["score"] for r in read_records(self.directory) if "score" in r]
            best = max(scores) if self.direction == "max" else min(scores)
            interval = f"[{record['low']:.3f}, {record['high']:.3f}]"
            outcome = f"{self.objective} {record['score']:.3f} {interval} (best {best:.3f})"
        return f"Trial {int(record['trial']) + 1} of {self.max_trials}, {record['seconds']:.0f} s: {outcome}; {chosen}"

    def claim(self, rows):
        """Make the directory the place of this search, or find it there.

        Args:
            rows: str that tells the rows from others.

        Raises:
            ValueError: it holds another search, or something else.
            OSError: it cannot be written.
        """
        about = {
            "modalities": _plain(self.modalities),
            "task": describe(self.task),
            "space": self.space,
            "rows": rows,
            **{name: getattr(self, name) for name in ("engine", "tuner", "objective", "seed")},
        }
        about, path, place = json.loads(json.dumps(about, default=str)), self.directory / ABOUT, str(self.directory)
        if path.is_file():
            earlier = json.loads(path.read_text(encoding="utf-8"))
            differing = sorted(name for name in {*about, *earlier} if about.get(name) != earlier.get(name))
            if differing:
                raise ValueError(
                    f"`directory` must be new, or hold this very search, which then goes on. Received: {place!r}, which "
                    f"holds one with other {', '.join(differing)}. Choose another folder, or delete this one."
                )
        elif self.directory.is_file() or (self.directory.is_dir() and any(map(_is_foreign, self.directory.iterdir()))):
            raise ValueError(
                f"`directory` must be new, or hold this very search. Received: {place!r}, which holds something else. "
                "Choose another folder."
            )
        else:
            write_text(path, json.dumps(about, indent=1))


def _is_foreign(path):
    """Whether this is no file that a search was about to begin with when it was killed."""
    return not path.name.startswith(f".{ABOUT}.")


def _told(name, value):
    if isinstance(value, str):
        return value
    return f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"


def _plain(modality):
    if isinstance(modality, list | tuple):
        return [_plain(alternative) for alternative in modality]
    return describe(modality)


def read_record(directory, trial_id):
    path = pathlib.Path(directory) / RECORDS / f"{trial_id}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def read_records(directory):
    """Records of all trials that ended, in order."""
    files = (pathlib.Path(directory) / RECORDS).glob("*.json")
    records = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    return sorted((r for r in records if "score" in r or "failure" in r), key=lambda r: int(r["trial"]))
