"""Cells, tables and files of tables that are mutated or made to hurt, each in a child process that is watched.

As a script it is the child: it reads numbers of rounds from its input, and prints a line of JSON for each.
"""

import io
import json
import pathlib
import random
import select
import struct
import subprocess
import sys
import tempfile
import traceback
import warnings
import zlib

SECONDS, MEMORY, HANGS = 5, 1 << 30, 60  # of a processor, bytes, and seconds of a clock until the child is killed
KINDS = ("image", "image", "image", "hurt", "csv", "image", "image", "table")
COUNTS = {"image": 10_000, "hurt": 200, "csv": 1_500, "table": 1_500}
OURS = (ValueError, TypeError, KeyError, OSError, ImportError)
LONGEST = 4_000  # characters of a message
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
HARD = (
    None, "", float("inf"), -float("inf"), 10**400, 1e308, -0.0, "NaN", "\ud800", "\x00", "[" * 5_000, "[" + "-" * 5_000, b"\xff\xfe",
    "=cmd()", "a" * 100_000, {"a": 1}, [1, [2]], "2020-13-45", "9999999-01-01", object(), True, "１２", "1,5", "$x_$",
)  # fmt: skip


def rounds(seed):
    """(name, fault or None) of one round after another, all kinds in turn.

    Args:
        seed: int.
    """
    number = 0
    while True:
        with subprocess.Popen(
            [sys.executable, __file__, str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as child:
            try:
                child.stdout.readline()  # it is warm
                while True:
                    fault = _watched(child, number)
                    yield KINDS[number % len(KINDS)], fault and f"round {number} of seed {seed}: {fault}"
                    number += 1
                    if child.poll() is not None:
                        break
            finally:
                child.kill()


def _watched(child, number):
    """The fault of a round in the child, which is killed when it does not end."""
    child.stdin.write(f"{number}\n")
    child.stdin.flush()
    if not select.select([child.stdout], [], [], HANGS)[0]:
        child.kill()
        child.wait()
        return f"it does not end within {HANGS} s"
    line = child.stdout.readline()
    if line:
        return json.loads(line)
    return f"the process died with {child.wait()}"


def is_ours(error):
    """What is wrong with an error as ours: its kind, where it was raised, or its words; None where it is as it should be."""
    import mmkeras

    home = str(pathlib.Path(mmkeras.__file__).parent)
    place = traceback.extract_tb(error.__traceback__)[-1].filename
    text = " ".join(str(error).split())
    shown = f"{type(error).__name__} in {pathlib.Path(place).name}: {text[:200]}"
    if not isinstance(error, OURS) or not place.startswith(home):
        return f"a foreign error: {shown}"
    if "eceived" not in text and not isinstance(error, OSError | ImportError):
        return f"an error without the received value: {shown}"
    return f"a message of {len(text):,} characters: {shown}" if len(text) > LONGEST else None


# --- pictures


def image(chance):
    """Bytes of a small picture in which some were changed, put in, left out or cut."""
    import numpy as np
    import PIL.Image

    side = chance.choice((1, 7, 16, 40, 130))
    pixels = np.random.default_rng(chance.getrandbits(32)).integers(0, 256, (side, side + 3, 3), "uint8")
    kind, buffer = chance.choice(FORMATS), io.BytesIO()
    settings = {"progressive": chance.random() < 0.5} if kind == "JPEG" else {}
    PIL.Image.fromarray(pixels).convert(chance.choice(("RGB", "L"))).save(buffer, kind, **settings)
    return mutated(bytearray(buffer.getvalue()), chance)


def mutated(data, chance):
    for _ in range(chance.choice((0, 1, 1, 2, 5, 30))):
        at = chance.randrange(max(1, min(len(data), chance.choice((40, 400, 1 << 30)))))
        change = chance.randrange(4)
        if change == 0:
            data[at : at + 1] = bytes([chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))])
        elif change == 1:
            data[at:at] = data[at : at + chance.randrange(1, 50)] * chance.choice((1, 1, 3, 200))
        elif change == 2:
            del data[at : at + chance.randrange(1, 50)]
        else:
            del data[len(data) - chance.randrange(1 + len(data) // 2) :]
    return bytes(data)


def hurting(chance):
    """Bytes of a small file that would take long, or much memory."""
    side = int(10 ** chance.uniform(3, 4.5))
    return chance.choice((_scans, _blocks, _inflating, _text_chunk, _cut))(chance, min(side, 12_000))


def _scans(chance, side):
    import PIL.Image

    buffer = io.BytesIO()
    PIL.Image.new("L", (side, side), 90).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * chance.choice((1, 20, 500)) + b"\xff\xd9"


def _blocks(chance, side):
    head = b"GIF89a" + struct.pack("<HHBBB", side, 1, 0x80, 0, 0) + bytes(6)
    blocks = chance.choice((b"\x21\xfe\x00", b"\x21\xfe\x01a\x00", b"\x21\xff")) * chance.choice((100, 9_000, 10**6))
    end = b"," + struct.pack("<HHHHB", 0, 0, side, 1, 0)
    return head + blocks + end + b"\x02" + chance.choice((b"\x01a", b"\x00")) * chance.choice((1, 10**6)) + b"\x00;"


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width, height, *chunks):
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + b"".join(chunks) + _chunk(b"IEND", b"")


def _inflating(chance, side):
    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(1 + side * 3)) for _ in range(side)) + packer.flush()
    return _png(*chance.choice(((side, side), (1, 1), (side, 1))), _chunk(b"IDAT", rows))


def _text_chunk(chance, side):
    packed = zlib.compress(bytes(side * 10_000), 1)
    return _png(
        1, 1, _chunk(b"zTXt", b"a\0\0" + packed) * chance.choice((1, 50)), _chunk(b"IDAT", zlib.compress(b"\0" * 4))
    )


def _cut(chance, side):
    import PIL.Image

    buffer = io.BytesIO()
    PIL.Image.effect_noise((side // 4, side // 4), 90).save(buffer, "JPEG", progressive=chance.random() < 0.5)
    return buffer.getvalue()[: chance.randrange(1, 1 + buffer.tell())] + b"\xff\xd9"


def _picture_fault(data):
    """What is wrong with how one picture is read and drawn."""
    import time

    import numpy as np
    import pandas as pd

    import mmkeras as mm
    from mmkeras.evaluation.pages import read_pixels

    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak of memory begins anew
    before, times = _memory("VmRSS"), [time.process_time()]
    df = pd.DataFrame({"x": pd.Series([data], dtype=object)})
    files = mm.Image("x", "scratch", on_error="missing").raw_values(df)["x"]
    files.examine()
    times.append(time.process_time())
    pixels = mm.layers.DecodeImage((32, 32))(np.asarray(files)).numpy()
    if pixels.shape != (1, 32, 32, 3):
        return f"pixels of shape {pixels.shape}"
    times.append(time.process_time())
    read_pixels(data, 96)
    times.append(time.process_time())
    seconds, memory = max(np.diff(times)), _memory("VmHWM") - before
    if seconds > SECONDS or memory > MEMORY:
        return f"a picture of {len(data):,} bytes took {seconds:.1f} s and {memory >> 20:,} MB"
    return None


def _memory(name):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


# --- tables


def sample():
    import mmkeras as mm

    return mm.samples.movies(30, seed=0)[["title", "overview", "genres", "budget", "runtime", "release_date"]]


def pipeline():
    import mmkeras as mm

    numbers = mm.Tabular(numeric=["budget", "runtime"], categorical=["title"], datetime=["release_date"])
    return mm.Pipeline([mm.Text("overview", encoder="lexical"), numbers], mm.MultiLabel("genres"))


def table(chance):
    """A table in which cells, columns or names were changed."""
    import pandas as pd

    df = sample().astype(object)
    for _ in range(chance.choice((1, 1, 2, 4))):
        change, column = chance.randrange(6), chance.choice(list(df.columns))
        if change < 3:
            for _ in range(chance.choice((1, 3, 30))):
                df.iat[chance.randrange(len(df)), df.columns.get_loc(column)] = chance.choice(HARD)
        elif change == 3:
            df[column] = pd.Series([chance.choice(HARD)] * len(df), df.index, dtype=object)
        elif change == 4:
            df = df.rename(columns={column: chance.choice(("", "a$b", "x" * 1_000, 3, ("a", "b")))})
            break
        else:
            df = df.iloc[: chance.choice((0, 1, 2, 5))] if chance.random() < 0.5 else df.iloc[[0] * 5]
            break
    return df


def _predicted(pipe, df):
    import numpy as np

    values = pipe.predict(df).to_numpy("float64")
    return None if np.isfinite(values).all() and len(values) == len(df) else "a prediction that is not finite"


def _table_fault(chance, pipe):
    import mmkeras as mm

    df, use = table(chance), chance.choice(("predict", "predict", "fit", "suggest", "split"))
    if use == "predict":
        return _predicted(pipe, df)
    if use == "suggest":
        return None if mm.suggest(df, chance.choice(list(df.columns))).modalities else "it suggests nothing"
    if use == "split":
        return None if sum(map(len, mm.split_frame(df, 0.3, seed=0, by=chance.choice(list(df.columns))))) else "no rows"
    fresh = pipeline()
    fresh.fit(df, epochs=1, verbose=0)
    return _predicted(fresh, df)


def _csv_fault(chance, pipe):
    import mmkeras as mm

    text = sample().to_csv(index=False)
    data = text.encode(chance.choice(("utf-8", "utf-16", "latin-1", "utf-8-sig")), "replace")
    with tempfile.TemporaryDirectory() as home:
        path = pathlib.Path(home, "table.csv")
        path.write_bytes(mutated(bytearray(data), chance))
        return _predicted(pipe, mm.data.tables.read_table(path))


def _child(seed):
    warnings.simplefilter("ignore")
    pipe = pipeline()
    pipe.fit(sample(), epochs=1, verbose=0)
    for kind in FORMATS:
        _picture_fault(image(random.Random(kind)))  # graphs are traced
    print(json.dumps("warm"), flush=True)
    for line in sys.stdin:
        number = int(line)
        chance, kind = random.Random(f"{seed} {number}"), KINDS[number % len(KINDS)]
        try:
            if kind in ("image", "hurt"):
                fault = _picture_fault(image(chance) if kind == "image" else hurting(chance))
            else:
                fault = (_table_fault if kind == "table" else _csv_fault)(chance, pipe)
        except Exception as error:
            fault = is_ours(error)
        print(json.dumps(fault), flush=True)


if __name__ == "__main__":
    _child(int(sys.argv[1]))
