"""Rows that stream from files: each is read once, split by what stands in it, mixed anew in each epoch, and bad files are told."""

import dataclasses
import re
import shutil

import keras
import numpy as np
import pandas as pd
import pytest

pytest.importorskip("pyarrow")

import mmkeras as mm
from mmkeras.__main__ import main
from mmkeras.data.batches import Order
from mmkeras.data.columns import NumberColumn
from mmkeras.data.hashes import held_out, row_hashes
from mmkeras.data.ragged import Ragged
from mmkeras.data.targets import Values
from mmkeras.fitting.row_files import RowFiles, Sides, look
from mmkeras.modalities.base import PRESENT, Modality
from mmkeras.tasks.decisions import Decisions
from mmkeras.trunk import arranged
from mmkeras.trunk.arranged import ANSWERS, Arranged
from mmkeras.trunk.parquet import ParquetStore


@dataclasses.dataclass(frozen=True)
class Waves(Modality):
    """A number through a small frozen tower."""

    column: str
    speed: float = 3.0
    name: str = "waves"

    pretrained = normalise = True

    @property
    def columns_read(self):
        return {self.column: NumberColumn()}

    def prepare(self, raw):
        number = keras.ops.cast(raw[self.column][:, None], "float32")
        return {"waves.number": number, f"waves{PRESENT}": keras.ops.ones_like(number)}

    def encode(self, tensors):
        start = keras.initializers.RandomNormal(stddev=self.speed, seed=1)
        return keras.layers.Dense(5, "tanh", kernel_initializer=start, trainable=False, name="waves_tower")(
            tensors["waves.number"]
        )

    def tower_layers(self, fine_tune):
        return {"waves_tower": False}


def made(rows, seed=0):
    rng = np.random.default_rng(seed)
    words = np.array(["lamp", "chair", "old", "blue"])
    texts = [" ".join(rng.choice(words, rng.integers(1, 6))) for _ in range(rows)]
    df = pd.DataFrame(
        {"id": rng.permutation(rows), "x": rng.normal(size=rows), "z": rng.normal(size=rows), "text": texts}
    )
    df["y"] = np.where(df["x"] + 0.3 * rng.normal(size=rows) > 0, "yes", "no")
    return df


def modalities():
    return [Waves("x"), mm.Tabular(numeric="z"), mm.Text("text", encoder="lexical")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """600 rows in three files, and the features of a tower."""
    folder = tmp_path_factory.mktemp("stream")
    (folder / "rows").mkdir()
    for number in range(3):
        made(600).iloc[200 * number : 200 * number + 200].to_parquet(
            folder / f"rows/{number}.parquet", row_group_size=64
        )
    mm.encode_table(str(folder / "rows/*.parquet"), [Waves("x")], folder / "features", verbose=0)
    return folder


def fit(folder, rows=None, task=None, some=None, **settings):
    pipe = mm.Pipeline(some or modalities(), task or mm.MultiClass("y"), units=16)
    settings = {
        "features": folder and folder / "features",
        "key": "id",
        "epochs": 2,
        "batch_size": 64,
        "verbose": 0,
        **settings,
    }
    pipe.fit(rows or str(folder / "rows/*.parquet"), **settings)
    return pipe


@pytest.fixture(scope="module")
def fitted(folder):
    return fit(folder)


@pytest.fixture
def rows(folder, tmp_path):
    """A copy of the files, to be spoilt."""
    shutil.copytree(folder / "rows", tmp_path / "rows")
    return tmp_path / "rows"


# === As in memory ===


def test_a_streamed_fit_learns_what_rows_in_memory_teach(folder, fitted):
    df = made(600)
    inside = mm.Pipeline(modalities(), mm.MultiClass("y"), units=16)
    inside.fit(df, epochs=2, batch_size=64, verbose=0)
    test = made(300, seed=1)
    accuracy = [(pipe.predict_labels(test) == test["y"]).mean() for pipe in (fitted, inside)]
    assert accuracy[0] > 0.85
    assert abs(accuracy[0] - accuracy[1]) < 0.06
    assert "600" not in fitted.notes[0]  # some were held out
    assert fitted.modalities[1].state["numeric"]["mean"][0] == pytest.approx(df["z"].mean(), abs=0.05)


def test_predictions_are_those_in_memory_in_the_order_of_the_rows(folder, fitted, tmp_path):
    for features in (None, folder / "features"):
        out = fitted.predict(
            str(folder / "rows/*.parquet"), features=features, key="id", out=tmp_path / f"out-{features is None}"
        )
        assert [path.name for path in sorted(out.iterdir())] == ["0.parquet", "1.parquet", "2.parquet"]
        table = pd.concat(pd.read_parquet(path) for path in sorted(out.iterdir()))
        df = made(600)
        assert table["id"].tolist() == df["id"].tolist()
        np.testing.assert_allclose(table[["no", "yes"]], fitted.predict(df), atol=1e-6)


def test_an_evaluation_is_that_of_rows_in_memory(folder, fitted, monkeypatch):
    monkeypatch.setattr(mm.MultiClass, "rivals", Decisions.rivals[:2])  # the quick ones
    streamed = fitted.evaluate(str(folder / "rows/*.parquet"), features=folder / "features", by="y", verbose=0)
    inside = fitted.evaluate(made(600), by="y", verbose=0)
    assert streamed.metrics == pytest.approx(inside.metrics, abs=1e-6)
    pd.testing.assert_frame_equal(streamed.baselines, inside.baselines, atol=1e-6)
    pd.testing.assert_frame_equal(streamed.groups, inside.groups, atol=1e-6)
    for name, interval in inside.intervals.items():
        assert streamed.intervals[name] == pytest.approx(interval)
    assert streamed.rows == 600


def test_numbers_stream_too_and_the_same_seed_gives_the_same_model(rows):
    for path in rows.iterdir():
        df = pd.read_parquet(path)
        df.assign(price=2.0 * df["x"] + 1000).to_parquet(path)
    some = [mm.Tabular(numeric="x")]
    pipes = [
        fit(None, f"{rows}/*.parquet", mm.Regression("price", transform="none"), some, features=None, batch_size=16)
        for _ in range(2)
    ]
    numbers, again = (pipe.predict(made(100, seed=3))["price"] for pipe in pipes)
    assert numbers.between(980, 1020).all()
    assert numbers.tolist() == again.tolist()


def test_labels_are_those_of_all_rows(rows):
    df = pd.read_parquet(rows / "1.parquet")
    df["labels"] = [["odd"] if number % 2 else ["even", "all"] for number in df["id"]]
    df.to_parquet(rows / "labels.parquet")
    files = RowFiles(str(rows / "labels.parquet"), [mm.Tabular(numeric="x")], mm.MultiLabel("labels"))
    assert look(Sides(files), mm.MultiLabel("labels"), None, 0).task.classes == ("all", "even", "odd")


def test_classes_are_those_of_all_rows_and_strange_ones_that_are_held_out_are_told(folder, rows, monkeypatch):
    monkeypatch.setattr("mmkeras.fitting.row_files.SAMPLE", 40)
    cell(rows, "y", "perhaps")
    cell(rows, "y", "rare", 2)
    files = [str(rows / f"{number}.parquet") for number in (0, 2)]
    with pytest.warns(UserWarning, match="answers that training rows have. Received: 1 that have not"):
        pipe = fit(folder, files, validation_data=str(rows / "1.parquet"), epochs=1)
    assert pipe.task.classes == ("no", "rare", "yes")
    assert re.match(r"Learnt from 400 rows.*rivals from [345]\d of them, drawn", pipe.notes[0])


# === Sides ===


def test_a_row_is_on_the_same_side_in_whatever_file_and_at_any_share():
    df = made(2000)
    hashes = row_hashes(df, ["id"])
    sides = {share: held_out(hashes, share) for share in (0.05, 0.1, 0.5)}
    for share, held in sides.items():
        assert held.mean() == pytest.approx(share, abs=0.03)
    assert (sides[0.05] <= sides[0.1]).all() and (sides[0.1] <= sides[0.5]).all()
    mixed = df.sample(frac=1, random_state=0)
    np.testing.assert_array_equal(row_hashes(mixed, ["id"]), hashes[mixed.index])
    assert len(np.unique(row_hashes(df, ["x", "text"]))) == 2000
    np.testing.assert_array_equal(row_hashes(df, ["x", "text"]), row_hashes(df[["text", "x"]], ["text", "x"]))


def test_cells_of_any_kind_have_hashes():
    cells = [[1.0, 2.0], np.array([1.0, 2.0]), np.array(["a", None], object), b"bytes", "text", None]
    assert len(set(row_hashes(pd.DataFrame({"a": pd.Series(cells, dtype=object)}), ["a"]))) == len(cells)


# === Arranged rows ===


@pytest.fixture
def ten(tmp_path):
    rows = Arranged(tmp_path)
    for start in (0, 6):
        numbers = np.arange(start, min(start + 6, 10))
        words = Ragged(np.repeat(numbers, numbers % 3 + 1), numbers % 3 + 1, -1)
        rows.add({"x": numbers[:, None] / 2, "words": words, ANSWERS: numbers})
    return rows


def order(batch, seed):
    return Order(batch, seed, target=Values(np.zeros(1)), outputs=("y",))


def test_rows_are_read_as_they_were_arranged(ten, monkeypatch):
    monkeypatch.setattr(arranged, "AT_ONCE", 5)
    assert len(ten) == 10
    part = ten.read(["x", "words"], 5, 3)
    assert part["x"].tolist() == [[2.5], [3.0], [3.5]]
    assert part["words"][:].tolist() == [[5, 5, 5], [6, -1, -1], [7, 7, -1]]
    (numbers, tensors), (last, _) = ten.batches(Order(7), ["x"])
    assert numbers.tolist() == list(range(7)) and last.tolist() == [7, 8, 9]
    assert tensors["x"][:, 0].tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3]


def test_epochs_mix_groups_and_hold_each_row_once(ten, monkeypatch):
    monkeypatch.setattr(arranged, "GROUP", 3)
    monkeypatch.setattr(arranged, "HELD", 2)

    def epochs(seed, batch=4):
        dataset = ten.batches(order(batch, seed), ["x", "words"])
        assert int(dataset.cardinality()) == -(-10 // batch)
        return [[(inputs["x"].numpy(), answers["y"].numpy()) for inputs, answers in dataset] for _ in range(2)]

    first, second = epochs(seed=1)
    for batches in (first, second):
        assert [len(answers) for _, answers in batches] == [4, 4, 2]
        assert sorted(np.concatenate([answers for _, answers in batches])) == list(range(10))
        assert all((x[:, 0] * 2 == answers).all() for x, answers in batches)
    answers = [np.concatenate([own for _, own in batches]).tolist() for batches in (first, second, *epochs(seed=1))]
    assert answers[0] != answers[1] and answers[:2] == answers[2:] and answers[0] != list(range(10))
    assert len({number // 3 for number in answers[0][:4]}) == 2  # of two groups that are held


def test_features_are_joined_by_keys(tmp_path):
    rng = np.random.default_rng(0)
    layout, prefix = {"f": {"dtype": "float16", "shape": [2]}}, b"p" * 16
    digests = [rng.bytes(16) for _ in range(9)]
    digests[1] = digests[0][:8] + digests[1][8:]  # alike in their first half
    store = ParquetStore(tmp_path / "store")
    store.describe(prefix, "a tower", layout)
    for part in (range(5, 8), range(5)):
        store.write([(prefix + digests[n], np.array([n, -n], "float16").tobytes()) for n in part])
    wanted = [3, 4, 0, 8, 1, 7, 3, 0]  # some twice, and one that is not there
    (tmp_path / "rows").mkdir()
    rows = Arranged(tmp_path / "rows")
    rows.add({"key": np.frombuffer(b"".join(digests[n] for n in wanted), "uint8").reshape(-1, 16)})
    assert rows.join(store, prefix, layout, "key") == 1
    features = rows.read(["f"], 0, 8)["f"]
    assert features.dtype == "float16"
    assert features[:, 0].tolist() == [3, 4, 0, 0, 1, 7, 3, 0]
    assert features[:, 1].tolist() == [-3, -4, 0, 0, -1, -7, -3, 0]


# === What cannot be ===


def spoil(rows, number=1, **columns):
    path = rows / f"{number}.parquet"
    pd.read_parquet(path).assign(**columns).to_parquet(path)


def cell(rows, column, value, number=1):
    df = pd.read_parquet(rows / f"{number}.parquet")
    values = df[column].astype(object)
    values.iloc[7] = value
    df[column] = values
    df.to_parquet(rows / f"{number}.parquet")


@pytest.mark.parametrize(
    ("spoilt", "error", "message"),
    [
        (lambda rows: [path.unlink() for path in rows.iterdir()], FileNotFoundError, "There is no file .*rows"),
        (
            lambda rows: spoil(rows, z="a"),
            ValueError,
            "All files must have the same columns.*'z', which is double .*1.parquet",
        ),
        (lambda rows: spoil(rows, 0, id=None), ValueError, "All files must have the same columns.*'id'"),
        (lambda rows: cell(rows, "y", None), ValueError, "must be known in every row.*1 missing.*1.parquet, row 7"),
        (lambda rows: (rows / "1.parquet").write_bytes(b""), OSError, "must be readable. Received: .*1.parquet"),
        (
            lambda rows: [spoil(rows, 0, x=np.arange(200.0)), spoil(rows, 2, x=0.5)],
            ValueError,
            r"Each row must have its features in .*features.*Received: \d{3} rows of 5\d\d without those of 'waves'. Call mm.encode_table",
        ),
    ],
)
def test_bad_files_are_told(folder, rows, spoilt, error, message):
    spoilt(rows)
    with pytest.raises(error, match=message):
        fit(folder, f"{rows}/*.parquet")


def test_few_rows_and_wrong_settings_are_told(folder, rows, tmp_path, fitted):
    pattern = f"{rows}/*.parquet"
    made(600).iloc[:1].to_parquet(tmp_path / "one.parquet")
    made(600).iloc[:0].to_parquet(tmp_path / "none.parquet")
    made(9).to_csv(tmp_path / "rows.csv")
    with (
        pytest.warns(UserWarning, match="1 rows are too few to hold any out"),
        pytest.raises(ValueError, match="at least two rows to learn from. Received: 1"),
    ):
        fit(folder, str(tmp_path / "one.parquet"))
    with pytest.raises(ValueError, match="at least two rows to learn from. Received: 0"):
        fit(folder, str(tmp_path / "none.parquet"), validation_data=False)
    with pytest.raises(KeyError, match="fit needs the column 'name'"):
        fit(folder, pattern, key="name")
    with pytest.raises(ValueError, match="must be files of Parquet. Received: .*rows.csv"):
        fit(folder, str(tmp_path / "rows.csv"))
    with pytest.raises(ValueError, match="between 0 and 1. Received: 2"):
        fit(folder, pattern, validation_data=2)
    with pytest.raises(ValueError, match="`features` must be a folder that `mm.encode_table` wrote. Received: .*rows"):
        fit(folder, pattern, features=rows)
    with pytest.raises(ValueError, match="must be those of the tower of 'waves'.*Received: no `features`"):
        fit(folder, pattern, features=None)
    with pytest.raises(ValueError, match="`key` goes with rows in files.*'id' with a DataFrame"):
        mm.Pipeline(modalities(), mm.MultiClass("y")).fit(made(40), key="id")
    for wrong in ({"fine_tune_epochs": 1}, {"class_weight": "balanced"}, {"sample_weight": "x"}):
        with pytest.raises(ValueError, match="Rows in files train heads on features that stay as they are.*Received: "):
            fit(folder, pattern, **wrong)
    with pytest.raises(ValueError, match="Retrieval, whose rows are looked at together"):
        fit(folder, pattern, mm.Retrieval("waves", "text"), modalities()[::2])
    with pytest.raises(ValueError, match="no `out`"):
        fitted.predict(pattern)
    with pytest.raises(ValueError, match="`out` must be a new folder, or an empty one. Received: .*rows"):
        fitted.predict(pattern, out=rows)
    with pytest.raises(ValueError, match="`missing` or `explain`"):
        fitted.evaluate(pattern, missing=True)


def test_values_of_a_key_in_several_rows_are_told(folder, rows):
    df = pd.read_parquet(rows / "0.parquet")
    df["id"] = df["id"].where(df.index % 50 > 1, 7)
    df.to_parquet(rows / "0.parquet")
    with (
        pytest.warns(UserWarning, match="should name each row once. Received: 'id', of which 1 values stand in . rows"),
        pytest.raises(ValueError, match="no `features`"),
    ):
        fit(folder, f"{rows}/*.parquet", features=None)


def test_a_file_that_goes_or_breaks_meanwhile_is_named(rows, folder, fitted, tmp_path):
    files = iter(RowFiles(f"{rows}/*.parquet", [Waves("x")]))
    next(files)
    (rows / "1.parquet").unlink()
    with pytest.raises(OSError, match="must stay as they are while they are read. Received: .*1.parquet"):
        list(files)
    data = bytearray((rows / "2.parquet").read_bytes())
    data[100 : len(data) // 2] = bytes(len(data) // 2 - 100)
    (rows / "2.parquet").write_bytes(data)
    with pytest.raises(OSError, match="Received: .*2.parquet"):
        fitted.predict([str(rows / "0.parquet"), str(rows / "2.parquet")], out=tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))


def test_rows_without_features_are_encoded_when_predicted_and_told(rows, folder, fitted, tmp_path):
    spoil(rows, 0, x=0.25)
    with pytest.warns(UserWarning, match="without 1 different ones, which were encoded now"):
        out = fitted.predict(str(rows / "0.parquet"), features=folder / "features", out=tmp_path / "out")
    right = fitted.predict(pd.read_parquet(rows / "0.parquet").head(60))
    np.testing.assert_allclose(pd.read_parquet(out / "0.parquet").head(60), right, atol=1e-6)


def test_commands_read_files_of_rows(folder, tmp_path, capsys):
    rows, out = str(folder / "rows/*.parquet"), tmp_path / "out"
    settings = ["--numeric", "x,z", "--label", "y", "--out", str(out), "--cache-dir", str(tmp_path / "cache")]
    assert main(["train", "--rows", rows, *settings, "--key", "id", "--epochs", "1"]) == 0
    assert main(["predict", str(out), "--rows", rows, "--key", "id", "--out", str(tmp_path / "said")]) == 0
    assert pd.read_parquet(tmp_path / "said/0.parquet").columns.tolist() == ["id", "no", "yes"]
    assert main(["train", "--csv", "a.csv", *settings, "--key", "id"]) == 2
    assert "--key goes with --rows" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", "--csv", "a.csv", "--rows", rows, *settings])
    assert "not allowed with argument" in capsys.readouterr().err
    assert main(["cache", "info", "--cache-dir", str(folder / "features")]) == 0
    assert "600 rows" in capsys.readouterr().out
    assert main(["cache", "clear", "--cache-dir", str(folder / "features")]) == 2
    assert "Delete the folder itself" in capsys.readouterr().err
