"""The feature cache under kill -9, several writers, clear, damage and full disks.

As a script it prints a line for each round; it has the store without TensorFlow, so that it can fork a process for each.
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
import types
import warnings

ROWS, LAYOUT = 40, {"x": {"dtype": "uint8", "shape": [None]}}
COUNTS = {"kill": 200, "damage": 500, "disk": 30, "writers": 20, "clear": 20}
FIXES = ("mmkeras cache clear", "ive another `cache_dir`", "Fit again", "Call again")


def rounds(seed):
    """(kind, fault or None) of one round after another, all kinds in turn.

    Args:
        seed: int.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        arguments = [sys.executable, __file__, str(seed), home]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
            try:
                for line in process.stdout:
                    yield tuple(json.loads(line))
                if process.wait():
                    yield "kill", f"the campaign itself ended with {process.returncode}"
            finally:
                process.kill()
                disk = pathlib.Path(home) / "disk"
                if disk.is_mount():
                    subprocess.run(["umount", "-l", disk], check=False)


def store_alone():
    """`mmkeras.trunk.store` without the packages that it does not need here."""
    import numpy as np

    root = pathlib.Path(__file__).parents[2] / "mmkeras"
    for name in ("keras", "tensorflow", "mmkeras"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["mmkeras"].__path__ = [str(root)]
    sys.modules["tensorflow"].as_dtype = lambda dtype: types.SimpleNamespace(as_numpy_dtype=np.dtype(dtype).type)
    from mmkeras.trunk import store

    store._FIRST_SIZE = 1 << 20
    return store


def batch_of(number, writer=0):
    """(key, packed row) of each row of a batch; a row is as long as its number says, and of one value."""
    for row in range(ROWS):
        length = (number * 7919 + row * 104_729) % (60 if row % 4 else 9000)
        value = bytes([(number + row + writer) % 251]) * length
        yield b"%06d-%010d-%014d" % (writer, number, row), len(value).to_bytes(4, "little") + value


def check(store, numbers, writer=0, whole=True):
    """Raise unless rows of batches are there, all of them if `whole`, and as they were written. Returns how many."""
    found = 0
    for number in numbers:
        rows = dict(batch_of(number, writer))
        gone = set(store.missing(list(rows), LAYOUT))
        there = [key for place, key in enumerate(rows) if place not in gone]
        for key in there:
            value = store.read([key], LAYOUT)["x"][0].tobytes()
            if value != rows[key][4:]:
                raise AssertionError(f"a wrong row: {key!r}")
        if whole and gone:
            raise AssertionError(f"{len(gone)} rows of batch {number} are gone")
        found += len(there)
    return found


def forked(function, seconds=300, kill_after=None):
    """(lines that a function printed to its argument, how its process ended: "", what it raised, or a signal)."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        signal.alarm(seconds)  # a process that hangs ends by a signal, too
        with os.fdopen(write, "w", buffering=1) as out, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                function(lambda text: out.write(f"{text}\n"))
                code = 0
            except BaseException as error:
                out.write(f"!{type(error).__name__}: {' '.join(str(error).split())}\n")
                code = 1
        os._exit(code)
    os.close(write)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(read) as lines:
        told = lines.read().splitlines()
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return told, signal.Signals(os.WTERMSIG(status)).name
    return [line for line in told if line[:1] != "!"], next((line[1:] for line in told if line[:1] == "!"), "")


def ours(end):
    """Whether a process ended without an error, or with one of the library's, which says what to do."""
    return not end or (
        end.split(":")[0] in ("OSError", "KeyError", "PermissionError") and any(fix in end for fix in FIXES)
    )


class Rounds:
    """A round of each kind, in a folder of its own. Each returns a fault, or None."""

    def __init__(self, store, seed, home):
        self.store, self.random, self.home, self.number = store, random.Random(seed), home, itertools.count()
        self.disk = home / "disk"
        self.disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(self.disk)]
        self.mounted = shutil.which("mount") and not subprocess.run(mount, capture_output=True, check=False).returncode
        self.template = home / "template"
        _, end = forked(lambda told: self.write(self.template, range(30)))
        if end:
            raise RuntimeError(end)

    def folder(self):
        return self.home / f"round-{next(self.number)}"

    def write(self, folder, numbers, told=None, writer=0):
        """Write batches, and tell of each when `write` has returned."""
        store = self.store.open_store(folder)
        for number in numbers:
            store.write(batch_of(number, writer))
            if told:
                told(number)
        return store

    def kill(self):
        folder = self.folder()
        wait = self.random.random() ** 2 / 3
        told, _ = forked(lambda told: self.write(folder, range(3000), told), kill_after=wait)
        last = max((int(line) for line in told if line.isdigit()), default=-1)

        def look(told):
            store = self.store.open_store(folder)
            check(store, range(last + 1))
            if check(store, [last + 1], whole=False) not in (0, ROWS) or check(store, [last + 2], whole=False):
                raise AssertionError("a part of a batch is there")
            check(self.write(folder, [last + 1]), range(last + 2))

        return forked(look)[1] or None

    def writers(self):
        folder = self.folder()

        def beside(told, writer=0):
            if writer == 3:
                return
            pid = os.fork()
            if not pid:
                beside(told, writer + 1)
                os._exit(0)
            check(self.write(folder, range(30), writer=writer), range(30), writer)
            if os.waitpid(pid, 0)[1]:
                raise AssertionError("a writer beside ended")

        end = forked(beside)[1]
        look = lambda told: [check(self.store.open_store(folder), range(30), writer) for writer in range(3)]  # noqa: E731
        return end or forked(look)[1] or None

    def clear(self):
        folder, waits = self.folder(), [self.random.random() / 50 for _ in range(8)]

        def beside(told):
            pid = os.fork()
            if not pid:
                for wait in waits:
                    time.sleep(wait)
                    self.store.clear(folder)
                os._exit(0)
            for number in range(60):
                store = self.write(folder, [number])
                with contextlib.suppress(KeyError):  # a row was cleared between the two calls
                    check(store, range(number), whole=False)
            if os.waitpid(pid, 0)[1]:
                raise AssertionError("clear ended")
            check(self.write(folder, [100]), [100])

        end = forked(beside)[1]
        return end or forked(lambda told: check(self.store.open_store(folder), [100]))[1] or None

    def damage(self):
        folder = shutil.copytree(self.template, self.folder())
        data = bytearray((folder / "data.mdb").read_bytes())
        what = self.random.choice([self.cut, self.flip, self.overwrite, self.swap, self.heads])
        (folder / "data.mdb").write_bytes(what(data))

        def look(told):
            store = self.store.open_store(folder)
            check(store, range(30), whole=False)
            check(self.write(folder, range(31)), range(31))

        end = forked(look)[1]
        if not ours(end):
            return f"{what.__name__}: {end}"
        if end:
            again = forked(lambda told: (self.store.clear(folder), check(self.write(folder, [1]), [1])))[1]
            return again and f"{what.__name__}, after `clear`: {again}"
        return None

    def cut(self, data):
        return data[: self.random.randrange(len(data))]

    def flip(self, data):
        for _ in range(self.random.choice([1, 1, 8, 64])):
            data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
        return data

    def overwrite(self, data):
        start, size = self.random.randrange(len(data)), self.random.choice([16, 512, 4096, 20_000])
        if size >= 4096:
            start -= start % 4096
        size = min(size, len(data) - start)
        data[start : start + size] = self.random.choice([bytes(size), self.random.randbytes(size), b"\xff" * size])
        return data

    def swap(self, data):
        one, two = (self.random.randrange(len(data) // 4096) * 4096 for _ in range(2))
        data[one : one + 4096], data[two : two + 4096] = data[two : two + 4096], data[one : one + 4096]
        return data

    def heads(self, data):
        """What the first two pages say, and what any page says of itself."""
        for _ in range(self.random.choice([1, 4])):
            page = self.random.choice([0, 1, self.random.randrange(len(data) // 4096)])
            data[page * 4096 + self.random.randrange(160)] = self.random.randrange(256)
        return data

    def full(self):
        """The disk is full at some point, and has space again afterwards."""
        folder = self.disk / "cache" if self.mounted else self.folder()
        filler, room = self.disk / "filler", self.random.randrange(600_000)
        shutil.rmtree(self.disk / "cache", ignore_errors=True)
        if self.mounted:
            state = os.statvfs(self.disk)
            filler.write_bytes(bytes(max(0, state.f_bavail * state.f_frsize - room)))

        def fill(told):
            if not self.mounted:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
            self.write(folder, range(400), told)

        told, end = forked(fill)
        filler.unlink(missing_ok=True)
        if not end or not ours(end):
            return end or "a full disk was not told"
        written = [int(line) for line in told]
        return forked(lambda told: check(self.write(folder, [500]), [*written, 500]))[1] or None


def main(seed, home):
    do = Rounds(store_alone(), int(seed), pathlib.Path(home))
    kinds = {"kill": do.kill, "damage": do.damage, "disk": do.full, "writers": do.writers, "clear": do.clear}
    turns = [(at / count, kind) for kind, count in COUNTS.items() for at in range(count)]
    for _, kind in sorted(turns):
        print(json.dumps([kind, kinds[kind]()]), flush=True)
        for folder in do.home.glob("round-*"):
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
