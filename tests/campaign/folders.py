"""Model folders, exports and searches under kill -9, several savers and loaders, and full disks.

As a script it prints a line for each round. It imports TensorFlow and runs nothing of it, so that it can fork a process for each.
"""

import contextlib
import itertools
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings

COUNTS = {"save": 100, "export": 100, "full": 30, "beside": 10, "search": 20}
TRIALS, SAVES = 3, 6
LONGEST = 400  # seconds of one step on a slow machine


def rounds(seed):
    """(name, fault or None) of one round after another, all kinds in turn.

    Args:
        seed: int.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}  # no threads to fork
        arguments = [sys.executable, __file__, str(seed), home]
        settings = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "env": {**os.environ, **one}}
        with subprocess.Popen(arguments, text=True, process_group=0, **settings) as process:
            try:
                for line in process.stdout:
                    yield tuple(json.loads(line))
                if process.wait():
                    yield "save", f"the campaign itself ended with {process.returncode}"
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                disk = pathlib.Path(home) / "disk"
                if disk.is_mount():
                    subprocess.run(["umount", "-l", disk], check=False)


class Child:
    """A forked process that runs a function of `tell`, which takes a value that JSON has, and of what the parent says."""

    def __init__(self, function):
        told, tell = os.pipe()
        heard, say = os.pipe()
        self.process = os.fork()
        if not self.process:
            os.close(told)
            os.close(say)
            self._run(function, os.fdopen(tell, "w", buffering=1), os.fdopen(heard))
        os.close(tell)
        os.close(heard)
        self.told, self.say = os.fdopen(told), os.fdopen(say, "w", buffering=1)

    def _run(self, function, out, said):
        signal.alarm(0)
        warnings.simplefilter("ignore")
        code = 1
        try:
            function(lambda value: out.write(f"{json.dumps(value)}\n"), map(json.loads, said))
            code = 0
        except BaseException as error:
            out.write(json.dumps({"fault": f"{type(error).__name__}: {' '.join(str(error).split())[:1000]}"}) + "\n")
        finally:
            os._exit(code)

    def ask(self, value):
        """What the process answers to a value."""
        self.say.write(f"{json.dumps(value)}\n")
        return self.hear()

    def hear(self):
        """What it tells next."""
        line = self.told.readline()
        return json.loads(line) if line.endswith("\n") else {"fault": "the process died"}

    def end(self, kill=False):
        """All that it told until its end, which it may be brought to."""
        if kill:
            os.kill(self.process, signal.SIGKILL)
        lines = [json.loads(line) for line in self.told if line.endswith("\n")]
        os.waitpid(self.process, 0)
        self.told.close()
        self.say.close()
        return lines


def fault_of(lines):
    return next((line["fault"] for line in lines if isinstance(line, dict)), None)


# --- what the children do


def table():
    import mmkeras as mm

    return mm.samples.movies(40, seed=0)[["budget", "runtime", "genres"]].fillna(0)


def train(home):
    """Two models that predict otherwise, and what they predict."""
    import mmkeras as mm

    df, predictions = table(), []
    for number in range(2):
        pipe = mm.Pipeline([mm.Tabular(numeric=["budget", "runtime"])], mm.MultiLabel("genres"))
        pipe.fit(df, epochs=1, seed=number, verbose=0)
        pipe.save(home / str(number))
        predictions.append(pipe.predict(df.head(5)).to_numpy("float64").tolist())
    (home / "expected.json").write_text(json.dumps(predictions), encoding="utf-8")


def both(home):
    import mmkeras as mm

    return [mm.load(home / str(number)) for number in range(2)]


def which(home, values):
    """The number of the model that gave these predictions."""
    import numpy as np

    expected = json.loads((home / "expected.json").read_text(encoding="utf-8"))
    for number in range(2):
        if np.allclose(values, expected[number], atol=1e-5):
            return number
    raise AssertionError("the predictions are of neither model")


def saved(home, folder):
    """The number of the model that a folder holds."""
    import mmkeras as mm

    return which(home, mm.load(folder / "model").predict(table().head(5)).to_numpy("float64"))


def exported(home, folder):
    import tensorflow as tf

    df = table().head(5)
    model = tf.saved_model.load(str(folder / "served"))
    return which(
        home, model.serve({name: tf.constant(df[name], "float32") for name in ("budget", "runtime")})["genres"]
    )


WRITES = {"save": ("model", saved), "export": ("served", exported)}


def write(home, folder, kind, tell):
    """Save or export one model after the other, until the end; tell of each begin."""
    pipes, name = both(home), WRITES[kind][0]
    for number in itertools.count():
        tell(number)
        getattr(pipes[number % 2], kind)(folder / name)


def check(home, pipes, folder, kind, there):
    """Raise unless one whole model is there, if any must be, and the next one replaces all of it."""
    name, number_of = WRITES[kind]
    if there or any((folder / name / file).is_file() for file in ("pipeline.json", "saved_model.pb")):
        number_of(home, folder)
    getattr(pipes[1], kind)(folder / name)
    if number_of(home, folder) != 1:
        raise AssertionError("the earlier model is there after a later one was written")
    if os.listdir(folder) != [name] or (kind == "save" and len(os.listdir(folder / name)) != 2):
        raise AssertionError(f"left behind: {sorted(os.listdir(folder))}, {sorted(os.listdir(folder / name))}")


def on_full_disk(home, pipes, folder, kind, room, mounted):
    """Write the second model where the first is, with so much room; the error is ours, and one of them is there."""
    name, number_of = WRITES[kind]
    getattr(pipes[0], kind)(folder / name)
    with full(folder, room, mounted):
        try:
            getattr(pipes[1], kind)(folder / name)
            expected = 1
        except OSError as error:
            expected = 0
            if not all(words in str(error) for words in ("must be writable", "Choose another folder", str(folder))):
                raise AssertionError(f"an error without place and fix: {error}") from error
    if number_of(home, folder) != expected:
        raise AssertionError("another model than the one that should be in force")
    check(home, pipes, folder, kind, there=True)


@contextlib.contextmanager
def full(folder, room, mounted):
    """A disk with so many bytes left, or files of no more bytes."""
    if mounted:
        state, filler = os.statvfs(folder), folder.parent / "filler"
        filler.write_bytes(bytes(max(0, state.f_bavail * state.f_frsize - room)))
        try:
            yield
        finally:
            filler.unlink()
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def answer(home, tell, said):
    """Checks that the parent asks for, in one process that is warm."""
    pipes = both(home)
    for what, folder, *how in said:
        try:
            globals()[what](home, pipes, pathlib.Path(folder), *how)
            tell(None)
        except Exception as error:
            tell({"fault": f"{type(error).__name__}: {' '.join(str(error).split())[:1000]}"})


def search(folder):
    import mmkeras as mm

    modalities = [mm.Tabular(numeric=[name], name=name) for name in ("budget", "runtime")]
    settings = {"max_trials": TRIALS, "space": {"epochs": 1, "units": [8, 16, 32]}, "verbose": 0}
    places = {"directory": folder / "study", "cache_dir": folder / "cache"}
    mm.search(table(), modalities, mm.MultiLabel("genres"), **settings, **places)


def records(folder):
    """{trial: record} of a search's folder, of those that ended."""
    files = (folder / "study" / "trials").glob("*.json")
    texts = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}
    return {name: record for name, record in texts.items() if "score" in record or "failure" in record}


# --- rounds


class Rounds:
    """A round of each kind, in a folder of its own. Each returns a fault, or None."""

    def __init__(self, seed, home):
        self.random, self.home, self.number = random.Random(seed), home, itertools.count()
        fault = fault_of(Child(lambda tell, said: train(home)).end())
        if fault:
            raise RuntimeError(fault)
        self.checker = self.reference = None
        self.disk = home / "disk"
        self.disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(self.disk)]
        self.mounted = bool(shutil.which("mount")) and not subprocess.run(mount, stderr=-3, check=False).returncode

    def folder(self, home=None):
        folder = (home or self.home) / f"round-{next(self.number)}"
        folder.mkdir()
        return folder

    def check(self, what, folder, *how):
        """What the checker says, which is begun anew where it died."""
        if self.checker is None:
            self.checker = Child(lambda tell, said: answer(self.home, tell, said))
        told = self.checker.ask([what, str(folder), *how])
        if told and told["fault"] == "the process died":
            self.checker.end()
            self.checker = None
        return told and told["fault"]

    def killed(self, kind):
        folder = self.folder()
        there = self.random.random() < 0.75
        if there and self.check("check", folder, kind, False):
            return "the first model could not be written"
        child = Child(lambda tell, said: write(self.home, folder, kind, tell))
        if child.hear() != 0:
            child.end()
            return "the process that writes did not begin"
        time.sleep(self.random.random() ** 2 * 2)
        told = child.end(kill=True)
        return fault_of(told) or self.check("check", folder, kind, there or bool(told))

    def save(self):
        return self.killed("save")

    def export(self):
        return self.killed("export")

    def full(self):
        folder = self.folder(self.disk if self.mounted else None)
        kind, room = self.random.choice(["save", "export"]), int(self.random.random() ** 2 * 3e6)
        fault = self.check("on_full_disk", folder, kind, room, self.mounted)
        shutil.rmtree(folder, ignore_errors=True)
        return fault and f"{kind} with {room} bytes {'left' if self.mounted else 'in a file'}: {fault}"

    def beside(self):
        folder = self.folder()
        fault = self.check("check", folder, "save", False)

        def save(first):
            def run(tell, said):
                for number, pipe in zip(range(SAVES), itertools.cycle(both(self.home)[:: 1 - 2 * first]), strict=False):
                    pipe.save(folder / "model")
                    tell(number)

            return run

        def load(tell, said):
            while not (self.home / "stop").exists():
                tell(saved(self.home, folder))

        loaders, savers = [Child(load) for _ in range(2)], [Child(save(first)) for first in range(2)]
        told = [line for child in savers for line in child.end()]
        (self.home / "stop").touch()
        told += [line for child in loaders for line in child.end()]
        (self.home / "stop").unlink()
        return fault or fault_of(told) or self.check("check", folder, "save", True)

    def search(self):
        if self.reference is None:
            folder, began = self.folder(), time.monotonic()
            fault = fault_of(Child(lambda tell, said: search(folder)).end())
            self.reference, self.seconds = records(folder), time.monotonic() - began
            if fault or len(self.reference) != TRIALS:
                return fault or "a search without trials"
        folder = self.folder()
        child = Child(lambda tell, said: search(folder))
        time.sleep(self.random.random() * self.seconds)
        fault, before = fault_of(child.end(kill=True)), records(folder)
        fault = fault or fault_of(Child(lambda tell, said: search(folder)).end())
        after = records(folder)
        if any(after.get(trial) != record for trial, record in before.items()):
            return "a trial that had ended is another one"
        choices = [{trial: record["choices"] for trial, record in trials.items()} for trials in (after, self.reference)]
        return fault or (None if choices[0] == choices[1] else f"other trials: {choices}")


def main(seed, home):
    import mmkeras as mm

    for name in mm.__all__:  # what is imported when it is first used
        getattr(mm, name)
    do = Rounds(int(seed), pathlib.Path(home))
    turns = sorted(
        ((at / count, kind) for kind, count in COUNTS.items() for at in range(count)), key=lambda turn: turn[0]
    )
    for _, kind in turns:
        print(json.dumps([kind, getattr(do, kind)()]), flush=True)
        for folder in do.home.glob("round-*"):
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
