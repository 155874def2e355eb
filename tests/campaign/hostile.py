"""Model folders that are made to hurt: each is loaded, and gives a Pipeline or one of the library's errors, and does nothing else.

As a script it prints a line for each folder: one process loads all of a seed, and is watched.
"""

import http.server
import io
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
import threading
import time
import zipfile

COUNTS = {"manifest": 20, "archive": 12, "configuration": 12, "weights": 4, "damage": 8, "program": 4}
SECONDS, BYTES = 20, 2**30
VALUES = [
    None, True, -1, 10**400, 1e308, "", "x" * 10**6, "../..", "/etc/passwd", "\x00", [], {}, [[]], [None], {"class": "os.system"},
    {"class": "MultiLabel"}, {"class": []}, "files-00000000", float("nan"), {"a": {"a": {"a": 1}}},
]  # fmt: skip
CLASSES = [
    ("subprocess", "Popen", {"args": ["touch", "MARK"]}), ("os", "system", {}), ("builtins", "eval", {}),
    ("keras.utils", "get_file", {"origin": "ADDRESS"}), ("keras.layers", "TFSMLayer", {"filepath": "SECRET"}),
    ("keras.layers", "StringLookup", {"vocabulary": "SECRET"}), ("keras.layers", "TextVectorization", {"vocabulary": "SECRET"}),
    ("keras.layers", "Lambda", {"function": {"class_name": "__lambda__", "config": {"value": "4wAAAA=="}}}),
    ("keras_hub.tokenizers", "WordPieceTokenizer", {"vocabulary": "SECRET"}),
    ("keras_hub.tokenizers", "SentencePieceTokenizer", {"proto": "SECRET"}), ("mmkeras.hub", "HubPreprocessor", {"handle": "ADDRESS", "stored": None}),
    ("mmkeras.hub", "HubEncoder", {"handle": "SECRET", "stored": {"digest": "x", "weights": [], "outputs": {}}}),
]  # fmt: skip


def rounds(seed):
    """(kind, fault or None) of one folder after another.

    Args:
        seed: int.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        arguments = [sys.executable, __file__, str(seed), home]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            try:
                for line in process.stdout:
                    yield tuple(json.loads(line))
                if process.wait():
                    yield "damage", f"the process that loads ended with {process.returncode}"
            finally:
                process.kill()


# --- folders


def repacked(file, change):
    """Pack a `.keras` file anew; `change(members)` may change {name: bytes}, and give settings of the archive."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    settings = change(members) or {}
    with zipfile.ZipFile(file, "w", **settings) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def manifests(chance):
    """Functions that put another value somewhere into a manifest."""

    def change(manifest):
        place = manifest
        while True:
            key = chance.choice(sorted(place) if isinstance(place, dict) else range(len(place)))
            if not isinstance(place[key], dict | list) or not place[key] or chance.random() < 0.4:
                break
            place = place[key]
        place[key] = chance.choice(VALUES)
        return f"{key}={place[key]!r:.40}"

    return [change] * COUNTS["manifest"]


def archives():
    """Functions that change the members of a `.keras` file."""
    deflated = {"compression": zipfile.ZIP_DEFLATED}
    return [
        lambda m: m.update({"../../MARK": b"x"}),
        lambda m: m.update({"/tmp/MARK": b"x"}),
        lambda m: m.update({"assets/../../../MARK": b"x"}),
        lambda m: m.update({"config.json": b"[" * 10**6}),
        lambda m: m.update({"config.json": b" " * 3 * 10**8}) or deflated,
        lambda m: m.update({"assets/x": bytes(3 * 10**8)}) or deflated,
        lambda m: m.update({"model.weights.h5": bytes(3 * 10**8)}) or deflated,
        lambda m: m.update({"model.weights.h5": b""}),
        lambda m: m.update({"config.json": b"null"}),
        lambda m: m.update({"model.weights.npz": m.pop("model.weights.h5")}),
        lambda m: m.clear(),
        lambda m: m.update({f"assets/{n}": b"" for n in range(20_000)}),
    ]


def configurations(places):
    """Functions that put another layer into a `.keras` file."""

    def put(module, name, config):
        def change(members):
            model = json.loads(members["config.json"])
            text = json.dumps(config)
            for word, place in places.items():
                text = text.replace(word, place)
            layer = {"module": module, "class_name": name, "config": json.loads(text), "registered_name": None}
            if module.startswith("mmkeras"):
                layer.update(module=None, registered_name=f"mmkeras>{name}")
            model["config"]["layers"].insert(1, {**layer, "name": "put", "inbound_nodes": []})
            members["config.json"] = json.dumps(model).encode()

        return change

    return [put(*values) for values in CLASSES]


def weights(places):
    """Functions that change the weights of a `.keras` file."""
    import h5py

    def put(write):
        def change(members):
            held = io.BytesIO(members["model.weights.h5"])
            with h5py.File(held, "r+") as file:
                write(file)
            members["model.weights.h5"] = held.getvalue()

        return change

    def swap(file, **settings):
        """In place of the first values that there are."""
        names = []
        file.visititems(lambda name, thing: names.append(name) if isinstance(thing, h5py.Dataset) else None)
        del file[names[0]]
        file.create_dataset(names[0], **settings)

    return [
        put(lambda file: swap(file, shape=(10**6, 10**6), dtype="f4", chunks=(1, 10**6))),
        put(lambda file: swap(file, shape=(8,), dtype="u1", external=[(places["SECRET"], 0, 8)])),
        put(lambda file: file.__setitem__("x", h5py.ExternalLink(places["SECRET"], "/"))),
        put(lambda file: file.__setitem__("x", h5py.SoftLink("/"))),
    ]


def damages(chance):
    """Functions that turn some bytes of a `.keras` file, whose digest then tells the turned ones."""

    def change(file):
        data = bytearray(file.read_bytes())
        for _ in range(chance.choice([1, 4, 40])):
            data[chance.randrange(len(data))] = chance.randrange(256)
        file.write_bytes(data[: len(data) if chance.random() < 0.7 else chance.randrange(len(data))])

    return [change] * COUNTS["damage"]


def program(home, mark):
    """A `.keras` file with a SavedModel that writes a file when it is loaded."""
    sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
    import keras
    import tensorflow as tf
    from test_loading import Writing

    from mmkeras.hub import HubPreprocessor

    module = Writing(mark)
    assert module.resource.resource_handle is not None
    tf.saved_model.save(module, str(home / "saved"))
    text = keras.Input((), dtype="string", name="overview")
    keras.Model({"overview": text}, HubPreprocessor(str(home / "saved"), 8)(text)).save(home / "program.keras")
    mark.unlink(missing_ok=True)
    return home / "program.keras"


# --- watching


class Watch:
    """What a load did: opened files, started programs, asked addresses, took memory and time."""

    def __init__(self, places):
        self.places, self.seen, self.on = places, [], False
        sys.addaudithook(self.hear)

    def hear(self, event, arguments):
        if self.on and (
            event in ("socket.connect", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn")
            or (event == "open" and str(arguments[0]) == self.places["SECRET"])
        ):
            self.seen.append(f"{event} {arguments[0]!r:.80}")

    def fault(self, load):
        """What is wrong with a load; None where nothing is."""
        before, start, self.seen, self.on, wrong = peak(), time.monotonic(), [], True, None
        signal.alarm(3 * SECONDS)
        try:
            load()
        except (ValueError, OSError) as error:
            fixes = (
                "rom whom you trust",
                "save again",
                "classes=",
                "safe_mode=False",
                "Give ",
                "it again",
                "Use ",
                "Check ",
                "Choose ",
            )
            if "eceived" not in str(error) or not any(fix in str(error) for fix in fixes) or len(str(error)) > 2000:
                wrong = f"{type(error).__name__} without rule, value and fix: {error!s:.200}"
        except BaseException as error:
            wrong = f"{type(error).__name__}: {error!s:.200}"
        self.on = False
        signal.alarm(0)
        seconds, grown, mark = time.monotonic() - start, peak() - before, pathlib.Path(self.places["MARK"])
        if mark.exists():
            self.seen.append("code ran")
            mark.unlink()
        if seconds > SECONDS or grown > BYTES:
            self.seen.append(f"{seconds:.0f} s, {grown / 2**20:.0f} MiB")
        return "; ".join(self.seen) or wrong


def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def play(seed, home):
    """Make and load every folder of a seed."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
    import mmkeras as mm
    from mmkeras.persistence.manifest import MANIFEST, size_and_digest

    chance, asked = random.Random(seed), []
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.RequestHandlerClass.do_GET = lambda self: asked.append(self.path)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    places = {
        "MARK": str(home / "mark"),
        "SECRET": str(home / "secret"),
        "ADDRESS": f"http://127.0.0.1:{server.server_port}/x",
    }
    (home / "secret").write_text("secret\n")
    df = mm.samples.movies(40, seed=0)
    pipe = mm.Pipeline(
        [mm.Text("overview", encoder="lexical"), mm.Tabular(numeric=["runtime"])], mm.MultiLabel("genres")
    )
    pipe.fit(df, epochs=1, verbose=0)
    pipe.evaluate(df, verbose=0)
    pipe.save(home / "whole")
    hostile, watch = program(home, home / "mark"), Watch(places)

    def copy():
        shutil.rmtree(home / "model", ignore_errors=True)
        shutil.copytree(home / "whole", home / "model")
        text = (home / "model" / MANIFEST).read_text(encoding="utf-8")
        return home / "model" / json.loads(text)["folder"], json.loads(text)

    def tell(kind, number, files, manifest, what=""):
        text = json.dumps(manifest)
        (home / "model" / MANIFEST).write_text(text, encoding="utf-8")
        fault = watch.fault(lambda: mm.load(home / "model"))
        if asked:
            fault = f"an address was asked: {asked}"
            asked.clear()
        print(json.dumps([kind, fault and f"{kind} {number} {what}: {fault}"]), flush=True)

    def seal(files, manifest):
        stamps = {p.relative_to(files).as_posix(): size_and_digest(p) for p in sorted(files.rglob("*")) if p.is_file()}
        return {**manifest, "files": stamps}

    for number, change in enumerate(manifests(chance)):
        files, manifest = copy()
        tell("manifest", number, files, manifest, change(manifest))
    stages = ["prepare.keras", "encode.keras", "head.keras"]
    groups = {"archive": archives(), "configuration": configurations(places), "weights": weights(places)}
    for kind, changes in groups.items():
        for number, change in enumerate(changes):
            files, manifest = copy()
            repacked(files / ("head.keras" if kind == "weights" else chance.choice(stages)), change)
            tell(kind, number, files, seal(files, manifest))
    for number, change in enumerate(damages(chance)):
        files, manifest = copy()
        change(files / chance.choice(stages))
        tell("damage", number, files, seal(files, manifest))
    for number, name in enumerate([*stages, next(p.name for p in (copy()[0]).glob("baseline_*.keras"))]):
        files, manifest = copy()
        shutil.copyfile(hostile, files / name)
        tell("program", number, files, seal(files, manifest))


if __name__ == "__main__":
    play(int(sys.argv[1]), pathlib.Path(sys.argv[2]))
