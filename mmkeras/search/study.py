"""What a search is, where it is kept, and what each of its trials did."""

import json
import pathlib

import numpy as np

from mmkeras.data.columns import digest, raw_values, row_keys
from mmkeras.persistence import write_text

ABOUT = "search.json"
RECORDS = "trials"


class Study:
    """The facts of a search that its trials share.

    Args:
        directory: pathlib.Path for everything that must survive an interruption.
        modalities, task, space: see `search`; the task is adapted.
        tuner: str. objective: str. direction: "max" or "min".
        max_trials, seed, verbose: int.
        run: function of (plan, epochs[, model]) → {"score", "low", "high"}.
    """

    def __init__(self, directory, modalities, task, space, tuner, objective, direction, max_trials, seed, verbose, run):
        self.directory, self.modalities, self.task, self.space = pathlib.Path(directory), modalities, task, space
        self.tuner, self.objective, self.direction = tuner, objective, direction
        self.max_trials, self.seed, self.verbose, self.run = max_trials, seed, verbose, run

    @property
    def most_epochs(self):
        """The most epochs that a trial may train, which "hyperband" shares out."""
        values = self.space.get("epochs", [8])
        return int(values["high"] if isinstance(values, dict) else max(values))

    def begin(self, trial_id, choices):
        """Note that a trial starts. Returns its record."""
        earlier = read_record(self.directory, trial_id) or {}
        record = {"trial": trial_id, "choices": choices, "starts": earlier.get("starts", 0) + 1}
        self._write(record)
        return record

    def end(self, record, found):
        """Note what a trial found, and tell it."""
        record = {**record, **found}
        self._write(record)
        if self.verbose:
            print(self._line(record), flush=True)

    def end_final(self, record, score, number, rounds):
        """Note the score of a finalist in a further round, and tell it."""
        record["finals"] = [*record.get("finals", ()), score]
        self._write(record)
        if self.verbose:
            print(
                f"Final {number} of {rounds}, trial {int(record['trial']) + 1}: {self.objective} {score:.3f}",
                flush=True,
            )

    def _write(self, record):
        write_text(self.directory / RECORDS / f"{record['trial']}.json", json.dumps(record))

    def _line(self, record):
        chosen = ", ".join(
            f"{value}"
            if isinstance(value, str)
            else f"{name} {value:.3g}"
            if isinstance(value, float)
            else f"{name} {value}"
            for name, value in record["choices"].items()
        )
        if "failure" in record:
            what = f"failed: {record['failure']}"
        else:
            scores = [r["score"] for r in read_records(self.directory) if "score" in r]
            best = max(scores) if self.direction == "max" else min(scores)
            what = (
                f"{self.objective} {record['score']:.3f} [{record['low']:.3f}, {record['high']:.3f}] (best {best:.3f})"
            )
        return f"Trial {int(record['trial']) + 1} of {self.max_trials}, {record['seconds']:.0f} s: {what}; {chosen}"


def read_record(directory, trial_id):
    path = pathlib.Path(directory) / RECORDS / f"{trial_id}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def read_records(directory):
    """Records of all trials that ended, in order."""
    found = [
        json.loads(path.read_text(encoding="utf-8")) for path in (pathlib.Path(directory) / RECORDS).glob("*.json")
    ]
    return sorted((r for r in found if "score" in r or "failure" in r), key=lambda r: int(r["trial"]))


def describe(modalities, task, space, train, validation, **settings):
    """What makes a search this one, as plain values: another would read its trials wrongly."""

    def plain(modality):
        if isinstance(modality, list | tuple):
            return [plain(m) for m in modality]
        return {"class": type(modality).__name__, **modality.get_config()}

    every = [m for entry in modalities for m in (entry if isinstance(entry, list | tuple) else [entry])]
    rows = [key for df in (train, validation) for m in every for key in row_keys(m, raw_values(df, [m]))]
    targets = [np.ascontiguousarray(task.encode(df)).tobytes() for df in (train, validation)]
    about = {
        "modalities": plain(modalities),
        "task": {"class": type(task).__name__, **task.get_config()},
        "space": space,
        "rows": digest([*rows, *targets]).hex(),
        **settings,
    }
    return json.loads(json.dumps(about, default=str))


def claim(directory, about):
    """Make `directory` the place of this search, or find it there.

    Raises:
        ValueError: it holds another search, or something else.
        OSError: it cannot be written.
    """
    directory = pathlib.Path(directory).expanduser()
    path = directory / ABOUT
    if path.is_file():
        earlier = json.loads(path.read_text(encoding="utf-8"))
        differing = sorted(name for name in {*about, *earlier} if about.get(name) != earlier.get(name))
        if differing:
            raise ValueError(
                f"`directory` must be new, or hold this very search, which then goes on. Received: {str(directory)!r}, which "
                f"holds one with other {', '.join(differing)}. Choose another folder, or delete this one."
            )
    elif directory.is_file() or (directory.is_dir() and any(directory.iterdir())):
        raise ValueError(
            f"`directory` must be new, or hold this very search. Received: {str(directory)!r}, which holds something else. "
            "Choose another folder."
        )
    else:
        write_text(path, json.dumps(about, indent=1))
    return directory
