"""Tables as people hold them: other kinds of DataFrame, labels that are no strings, files in any form."""

import bz2
import collections
import datetime
import decimal
import gzip
import io
import lzma
import sys
import types
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest

import mmkeras as mm
from mmkeras.cli import commands
from mmkeras.data.encodings import guess
from mmkeras.data.frames import as_frame, column_label, column_labels, frame_if_rows, is_table, like
from mmkeras.data.tables import read_lines, read_parts, read_table

INTEGER = 2**62 + 1  # that no float holds
MOMENT = datetime.datetime(2020, 1, 2, 3, 4, 5, 6)
BERLIN = "Europe/Berlin"

# === Other kinds of tables ===


def cells():
    """{column: values}, the second of which is missing."""
    return {
        "whole": [1, None, INTEGER],
        "real": [1.5, None, -2.0],
        "truth": [True, None, False],
        "text": ["a", None, "é"],
        "day": [datetime.date(2020, 1, 2), None, datetime.date(9999, 12, 31)],
        "moment": [MOMENT, None, datetime.datetime(1, 1, 1)],
        "span": [datetime.timedelta(seconds=1.5), None, datetime.timedelta(days=3)],
        "labels": [["a", "b"], None, []],
        "money": [decimal.Decimal("1.25"), None, decimal.Decimal("3.50")],
        "bytes": [b"x", None, b""],
        "nothing": [None, None, None],
    }


def polars_table():
    pl = pytest.importorskip("polars", reason="polars is not installed")
    table = pl.DataFrame(cells())
    zoned = pl.col("moment").dt.replace_time_zone("UTC").dt.convert_time_zone(BERLIN)
    size = pl.Series("size", ["S", None, "L"], dtype=pl.Enum(["S", "M", "L"]))
    return table.with_columns(zoned.alias("zoned"), pl.col("text").cast(pl.Categorical).alias("category"), size)


def arrow_table():
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    table = pa.table(cells())
    zoned = pa.array([MOMENT, None, MOMENT], pa.timestamp("us", BERLIN))
    return table.append_column("zoned", zoned).append_column("category", table["text"].dictionary_encode())


@pytest.mark.parametrize("make", [polars_table, arrow_table, lambda: polars_table().lazy()])
def test_tables_of_other_kinds_lose_nothing(make):
    df = as_frame(make())
    assert df.index.tolist() == [0, 1, 2] and is_table(make())
    assert df.iloc[1].isna().all()
    for name in ("whole", "real", "truth", "text", "labels", "money", "bytes"):
        assert [df[name].iloc[0], df[name].iloc[2]] == [cells()[name][0], cells()[name][2]]
    assert df["day"].tolist()[::2] == [pd.Timestamp("2020-01-02"), pd.Timestamp("9999-12-31")]
    assert df["moment"].tolist()[::2] == [pd.Timestamp(MOMENT), pd.Timestamp(datetime.datetime(1, 1, 1))]
    assert df["span"].tolist()[::2] == [pd.Timedelta("1.5s"), pd.Timedelta("3D")]
    assert str(df["zoned"].dt.tz) == BERLIN and df["zoned"][0] == pd.Timestamp(MOMENT, tz="UTC")
    assert df["category"].dtype == "category" and df["category"].tolist()[::2] == ["a", "é"]
    if "size" in df:
        assert df["size"].cat.categories.tolist() == ["S", "M", "L"]


def test_pandas_tables_are_taken_as_they_are():
    df = pd.DataFrame({"a": [1], "b": [2]}, index=["row"])
    assert as_frame(df) is df and like(df, df) is df


def test_rows_of_no_columns_and_columns_of_no_rows():
    pl = pytest.importorskip("polars", reason="polars is not installed")
    assert as_frame(pl.DataFrame()).shape == (0, 0)
    empty = as_frame(pl.DataFrame(cells()).clear())
    assert empty.shape == (0, len(cells())) and list(empty) == list(cells())


def of_modin(table):
    """What stands in for modin, which lags behind pandas: a class that narwhals takes for its DataFrame."""
    kind = types.SimpleNamespace(is_pandas_like=lambda: True, to_native_namespace=lambda: modin)
    modin = types.SimpleNamespace(DataFrame=lambda df: ("modin", df), Series=lambda series: ("modin", series))
    return types.SimpleNamespace(implementation=kind, to_pandas=lambda: table)


def test_tables_that_are_like_pandas_keep_their_index(monkeypatch):
    import narwhals.stable.v2 as nw

    df, there = pd.DataFrame({0: [1.0]}, index=["row"]), nw.from_native
    monkeypatch.setattr(nw, "from_native", lambda table: of_modin(df) if table == "frame" else there(table))
    assert as_frame("frame").index.tolist() == ["row"] and list(as_frame("frame")) == ["0"]
    assert like(df, "frame") == ("modin", df) and like(df[0], "frame")[0] == "modin"


def tensors():
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices({"a": [1, 2]}).batch(2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (tensors, r"a tf.data.Dataset \(.*\). Batches are made from rows, so give the DataFrame"),
        (
            lambda: np.zeros((3, 2)),
            r"a NumPy array of shape \(3, 2\). Name its columns: pandas.DataFrame\(array, columns",
        ),
        (lambda: {"a": [1]}, r"Received: dict. Use pandas.DataFrame\(...\)"),
        (lambda: [{"a": 1}], r"Received: list. Use pandas.DataFrame\(...\)"),
        (lambda: "rows.csv", r"the path 'rows.csv'. Read the file first, for example by pandas.read_csv"),
        (lambda: pd.Series([1]), r"a Series, one column. Use series.to_frame\(\)"),
        (lambda: None, r"Received: NoneType"),
        (lambda: arrow_table().to_batches()[0], r"Received: RecordBatch. Use its to_pandas\(\)"),
        (lambda: polars_table()["text"], r"Received: Series. Use its to_pandas\(\)"),
    ],
)
def test_what_is_no_table_is_told_what_to_do(make, message):
    with pytest.raises(TypeError, match=message):
        as_frame(make())
    assert not is_table(make())


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    df = pd.DataFrame(
        {
            "x": rng.normal(size=60),
            "count": rng.integers(0, 5, 60),
            "colour": rng.choice(["red", "blue", None], 60),
            "text": rng.choice(["good film", "bad film"], 60),
            "day": pd.date_range("2020-01-01", periods=60),
            "tags": [["a"] if x else ["a", "b"] for x in rng.integers(0, 2, 60)],
        }
    )
    df["y"] = np.where(df["text"] == "good film", 3, 7)
    return df


@pytest.fixture(scope="module")
def fitted(rows):
    table = mm.Tabular(numeric=["x", "count"], categorical="colour", datetime="day")
    pipe = mm.Pipeline([table, mm.Text("text", encoder="lexical")], mm.MultiClass("y"))
    pipe.fit(rows, epochs=1, verbose=0, validation_data=False)
    return pipe


def other_kinds(rows):
    pl = pytest.importorskip("polars", reason="polars is not installed")
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    return {
        "polars": (pl.from_pandas(rows), pl.DataFrame, pl.Series),
        "arrow": (pa.table(rows), pa.Table, pa.ChunkedArray),
    }


@pytest.mark.parametrize("kind", ["polars", "arrow"])
def test_predictions_come_back_in_kind(rows, fitted, kind):
    table, frame, series = other_kinds(rows)[kind]
    expected, predicted = fitted.predict(rows), fitted.predict(table)
    assert isinstance(predicted, frame)
    got = as_frame(predicted)
    assert list(got) == ["3", "7"]
    np.testing.assert_allclose(got, expected, atol=1e-6)
    decided = fitted.predict_labels(table)
    assert isinstance(decided, series) and decided.to_numpy().tolist() == fitted.predict_labels(rows).tolist()
    np.testing.assert_allclose(mm.embed(fitted, table), mm.embed(fitted, rows), atol=1e-6)
    assert fitted.check(table).equals(fitted.check(rows))


@pytest.mark.parametrize("kind", ["polars", "arrow"])
def test_tables_of_other_kinds_teach_and_judge(rows, kind):
    table = other_kinds(rows)[kind][0]
    pipe = mm.Pipeline([mm.Text("text", encoder="lexical")], mm.MultiLabel("tags"))
    pipe.fit(table, validation_data=table, epochs=1, verbose=0)
    assert pipe.task.classes == ("a", "b")
    if kind == "arrow":  # one will do
        report = pipe.evaluate(table, train_data=table, by="colour", verbose=0)
        assert report.metrics == pipe.evaluate(rows, verbose=0).metrics
    assert len(pipe.predict_labels(table)) == 60
    batch = next(iter(mm.make_dataset(table, pipe.modalities, batch_size=60)))
    assert batch["text"].numpy().astype(str).tolist() == rows["text"].tolist()


@pytest.mark.parametrize("kind", ["polars", "arrow"])
def test_splits_come_back_in_kind(rows, kind):
    table, frame, _ = other_kinds(rows)[kind]
    for settings in ({}, {"by": "colour"}, {"time": "day"}):
        parts = mm.split_frame(table, 0.3, **settings)
        for part, expected in zip(parts, mm.split_frame(rows, 0.3, **settings), strict=True):
            assert isinstance(part, frame)
            assert as_frame(part)["x"].tolist() == expected["x"].tolist()


def test_class_cells_of_every_dtype_come_back_in_kind():
    pl = pytest.importorskip("polars", reason="polars is not installed")
    table = pl.DataFrame({"a": [1, 2]})
    answers = {
        "whole": pd.array([1, None], dtype="Int64"),
        "real": [0.5, np.nan],
        "text": pd.array(["a", None], dtype="string"),
        "truth": [True, False],
        "category": pd.Categorical(["a", "b"]),
        "day": pd.to_datetime(["2020-01-01", None]),
        "labels": [["a"], []],
        ("f", 1): [1, 2],
    }
    got = like(pd.DataFrame(answers), table)
    assert got.columns == ["whole", "real", "text", "truth", "category", "day", "labels", "f.1"]
    assert got["whole"].to_list() == [1, None] and got["text"].to_list() == ["a", None]
    assert got["labels"].to_list() == [["a"], []] and got["day"].to_list() == [datetime.datetime(2020, 1, 1), None]
    assert like(pd.Series([1, 2], name=3), table.lazy()).name == "3"


def test_what_is_given_in_place_of_rows():
    for value in (None, False, 0.2, np.float64(0.1), 3):
        assert frame_if_rows(value, "validation_data") is value
    with pytest.raises(TypeError, match="validation_data reads a pandas DataFrame. Received: list"):
        frame_if_rows([1], "validation_data")


# === Labels that are no strings ===


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("a", "a"), (0, "0"), (np.int64(3), "3"), (1.5, "1.5"), (b"a", "a"), (("f", "0"), "f.0"), (("f", ""), "f"),
        (("f", None, 2), "f.2"), (pd.Timestamp("2020-01-02"), "2020-01-02 00:00:00"), (None, ""), (np.nan, ""), (pd.NA, ""),
        (np.datetime64("2020-01-02"), "2020-01-02 00:00:00"), (datetime.datetime(2020, 1, 2), "2020-01-02 00:00:00"),
        (True, "True"),
    ],
)  # fmt: skip
def test_labels_have_one_name(label, name):
    assert column_label(label) == name and type(column_label(label)) is str
    assert list(as_frame(pd.DataFrame([[1]], columns=pd.Index([label], dtype=object)))) == [name]


def test_a_tuple_is_several_names_but_one_inside_a_list():
    assert column_labels(("f", "0")) == ["f", "0"] and column_labels([("f", "0")]) == ["f.0"]
    assert column_labels("ab") == ["ab"] and column_labels(3) == ["3"] and column_labels(np.array([1, 2])) == ["1", "2"]


@pytest.mark.parametrize(
    "labels",
    [
        list(np.arange(5, 8)),
        pd.MultiIndex.from_tuples([("in", "size"), ("in", 1), ("out", "")]),
        list(pd.date_range("2020-01-01", periods=3)),
        ["size", ("f", "colour"), 2],
    ],
)
def test_settings_and_tables_name_columns_alike(labels):
    rng = np.random.default_rng(0)
    df = pd.DataFrame({0: rng.normal(size=30), 1: rng.choice(["a", "b"], 30), 2: rng.choice([4, 9], 30)})
    df.columns = labels if isinstance(labels, pd.MultiIndex) else pd.Index(labels, dtype=object, tupleize_cols=False)
    before = df.copy()
    size, colour, target = list(df.columns)
    pipe = mm.Pipeline([mm.Tabular(numeric=[size], categorical=[colour])], mm.MultiClass(target))
    pipe.fit(df, epochs=1, verbose=0, validation_data=df, sample_weight=target)
    assert set(pipe.predict_labels(df)) <= {4, 9}
    if isinstance(labels, pd.MultiIndex):
        assert len(pipe.evaluate(df, by=target, verbose=0).groups) == 2
    pd.testing.assert_frame_equal(df, before)
    assert [len(part) for part in mm.split_frame(df, 0.5, time=size)] == [15, 15]
    part = mm.split_frame(df, 0.5, by=[colour])[1]
    assert part.columns.equals(df.columns) and part[colour].nunique() == 1


def test_two_labels_of_one_name_are_an_error_only_where_they_are_read():
    df = pd.DataFrame(np.arange(60.0).reshape(20, 3), columns=[1, "1", "a"])
    df["y"] = ["b", "c"] * 10
    pipe = mm.Pipeline([mm.Tabular(numeric="a")], mm.MultiClass("y"))
    pipe.fit(df, epochs=1, verbose=0, validation_data=False)
    assert len(pipe.predict(df)) == 20
    with pytest.raises(ValueError, match="Column names must be unique. Received '1' twice"):
        mm.Pipeline([mm.Tabular(numeric=[1])], mm.MultiClass("y")).fit(df, epochs=1, verbose=0)
    with pytest.raises(ValueError, match="Column names must be unique. Received '1' twice"):
        mm.split_frame(df, 0.5, by="1")


@pytest.mark.parametrize(
    "index",
    [
        [7] * 60,
        pd.MultiIndex.from_product([range(6), range(10)]),
        pd.date_range("2020-01-01", periods=60),
        list("ab") * 30,
    ],
)
def test_any_index_of_rows_comes_back(rows, fitted, index):
    df = rows.set_axis(index)
    before = df.copy()
    for answer in (fitted.predict(df), fitted.predict_labels(df)):
        assert answer.index.equals(df.index)
    pd.testing.assert_frame_equal(df, before)
    np.testing.assert_array_equal(fitted.predict(df), fitted.predict(rows))


# === Files of tables ===

FRENCH = 'texte,prix,avis\n« très bon »,"1,50",élogieux\nmauvais,"2,00",négatif\n'
TEXT = 'a,b\nx,"1,5"\n"two\nlines","say ""no"""\nNA,\n'
READ = {"a": ["x", "two\nlines", "NA"], "b": ["1,5", 'say "no"', None]}


def quiet(path, *settings):
    """What `read_table` gives when it has nothing to tell."""

    def tell(sentence):
        raise AssertionError(sentence)

    return read_table(path, *settings, tell=tell)


def plain(df):
    return df.astype(object).where(df.notna(), None).to_dict("list")


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def test_cells_are_read_as_they_are_written(tmp_path):
    path = write(tmp_path / "a.csv", "id,c, d\n007,NA,null\n1.0,None, x \n-, nan,n/a\n,,\n")
    assert plain(quiet(path)) == {
        "id": ["007", "1.0", "-", None], "c": ["NA", "None", " nan", None], " d": ["null", " x ", "n/a", None],
    }  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_marked_and_unicode_files_are_read_without_a_word(tmp_path, encoding):
    assert plain(quiet(write(tmp_path / "a.csv", "é" * (encoding == "utf-8") + TEXT, encoding)))["b"] == READ["b"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_end_of_lines_and_blank_lines(tmp_path, end):
    path = write(tmp_path / "a.csv", end.join(["a,b", "1,2", "", "3,4", "", ""]))
    assert plain(quiet(path)) == {"a": ["1", "3"], "b": ["2", "4"]}


def zipped(data):
    path = io.BytesIO()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("folder/", b"")
        archive.writestr("folder/a.csv", data)
        archive.writestr("__MACOSX/folder/._a.csv", b"\0")
    return path.getvalue()


@pytest.mark.parametrize(
    ("ending", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress), ("ZIP", zipped)]
)
def test_compressed_files(tmp_path, ending, pack):
    path = tmp_path / f"a.csv.{ending}"
    path.write_bytes(pack(TEXT.encode()))
    assert plain(quiet(path)) == READ
    path.write_bytes(pack(TEXT.encode() * 5000)[:-40])
    with pytest.raises(ValueError, match=r"A compressed table must be whole. Received: '.*a.csv"):
        quiet(path)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (FRENCH, "cp1252"), ("nom\nété\n", "cp1252"), ("text\nschöne Grüße\n", "cp1252"), ("x\n¿Qué? mañana\n", "cp1252"),
        ("price\n£5\n€3\n20°C\n", "cp1252"), ("t\nl’œuvre – “bonne”\n", "cp1252"), ("t\nzażółć gęślą jaźń\n", "cp1250"),
        ("t\npříliš žluťoučký kůň\n", "cp1250"), ("t\nçok güzel bir şey ığdır\n", "cp1254"), ("t\nąžuolas ėjo į mišką\n", "cp1257"),
        ("текст\nочень хороший фильм\nМосква\n", "cp1251"), ("текст\nочень хороший фильм\n", "koi8_r"), ("πολύ καλή ταινία\n", "cp1253"),
        ("סרט טוב מאוד\n", "cp1255"), ("فيلم جيد جدا\n", "cp1256"), ("とても良い映画でした\n", "cp932"), ("とても良い映画でした\n", "euc_jp"),
        ("아주 좋은 영화\n", "cp949"), ("非常好的电影\n很差\n", "gb18030"), ("非常好的電影\n很差\n", "big5"),
    ],
)  # fmt: skip
def test_other_encodings_are_guessed_and_told(tmp_path, text, encoding):
    data = text.encode(encoding)
    assert data.decode(guess(data)) == text
    told = []
    df = read_table(write(tmp_path / "a.csv", text, encoding), ",", tell=told.append)
    assert list(df) == text.split("\n")[0].split(",")
    assert len(told) == 1 and f"as {guess(data)}, for it is not in UTF-8. Give `encoding`" in told[0]
    assert plain(quiet(tmp_path / "a.csv", ",", encoding)) == plain(df)


def test_a_letter_late_in_a_long_file_counts(tmp_path):
    path = write(tmp_path / "a.csv", "a,b\n" + "the quick brown fox,1\n" * 200_000 + "café,2\n", "latin-1")
    with pytest.warns(UserWarning, match="as cp1252, for it is not in UTF-8") as told:
        df = read_table(path)
    assert df["a"].iloc[-1] == "café" and len(df) == 200_001 and told[0].filename == __file__


@pytest.mark.parametrize("sep", [";", "\t", "|"])
def test_separators_are_found_and_told(tmp_path, sep):
    text = sep.join(["name", "note", "price"]) + "\n" + sep.join(["a, b", '"x, y"', "1,50"]) + "\n"
    told = []
    df = read_table(write(tmp_path / "a.csv", text), tell=told.append)
    assert plain(df) == {"name": ["a, b"], "note": ["x, y"], "price": ["1,50"]}
    assert len(told) == 1 and f"with {sep!r} between cells. Give `sep`" in told[0]
    assert plain(quiet(tmp_path / "a.csv", sep)) == plain(df)


def test_commas_win_where_they_fit_and_tabs_where_the_name_says_so(tmp_path):
    assert list(quiet(write(tmp_path / "a.csv", 'a,b;c\n1,"2;3"\n2,x\n'))) == ["a", "b;c"]
    assert list(quiet(write(tmp_path / "b.csv", "text\none; two\n"))) == ["text"]
    assert list(quiet(write(tmp_path / "c.tsv", "a, b\tc, d\n1\t2\n"))) == ["a, b", "c, d"]
    told = []
    assert list(read_table(write(tmp_path / "d.csv", "a,b;c,d\n1,5;2,5\n"), tell=told.append)) == ["a", "b;c", "d"]
    with pytest.raises(ValueError, match=r"`sep` must be one character"):
        quiet(tmp_path / "a.csv", "; ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            't,y\n"one, two",a\nb\n',
            r"as many cells as the header, 2. Received: 1 in line 3 of '.*a.csv': \['b'\]. Put quotes",
        ),
        ('t,y\n"one\ntwo",a\n1,2,3\n', r"as many cells as the header, 2. Received: 3 in line 4 of"),
        (
            't,y\nx,a\n"broken,a\nx y,b\nz,c\n',
            r"Every quote must be closed. .*begins in line 3 .* still open in line 5, the last",
        ),
        ('t,y\n"a" b,c\n', r"A quoted cell ends with its quote. .*a.csv', line 2, in the row that begins in line 2"),
        ("", r"A table must begin with a row of names. Received: '.*a.csv', which is empty"),
        ("\n\n", r"A table must begin with a row of names"),
        ("a,b\n\x00\x01\x02,\x00\n", r"A table must be text. Received: '.*a.csv', whose bytes are not"),
    ],
)
def test_damaged_files_are_told_by_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        quiet(write(tmp_path / "a.csv", text))


def test_bytes_of_no_encoding_are_told_by_line(tmp_path):
    (tmp_path / "a.csv").write_bytes("a\ndéjà vu, très été\n".encode() + b"x\xff\x81\x8d\x90y\n")
    with pytest.raises(ValueError, match=r"not in the encoding 'utf-8', as line 3 shows: .*Give its `encoding`"):
        quiet(tmp_path / "a.csv")
    with pytest.raises(ValueError, match=r"not in the encoding 'charmap'|cp1252|'utf-8'"):
        quiet(tmp_path / "a.csv", ",", "cp1252")
    with pytest.raises(ValueError, match=r"`encoding` must be one that Python knows. Received: 'klingon'"):
        quiet(tmp_path / "a.csv", ",", "klingon")


def test_places_that_hold_no_table(tmp_path):
    with pytest.raises(IsADirectoryError, match=r"Received: the folder '.*'. Give a file in it"):
        quiet(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"There is no file '.*gone.csv'"):
        quiet(tmp_path / "gone.csv")
    with pytest.raises(ValueError, match=r"the spreadsheet '.*a.xlsx'. Save it as CSV in UTF-8"):
        quiet(write(tmp_path / "a.xlsx", "PK"))
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", "a\n")
        archive.writestr("b.csv", "a\n")
    with pytest.raises(ValueError, match=r"A zip must hold one file. .*\['a.csv', 'b.csv'\]"):
        quiet(tmp_path / "two.zip")


def test_headers_without_names_twice_the_same_and_cells_of_any_length(tmp_path):
    df = quiet(write(tmp_path / "a.csv", ",a,a\n0,1,2\n1,3,4,,\n"))
    assert list(df) == ["Unnamed: 0", "a", "a"] and df.iloc[1].tolist() == [
        "1",
        "3",
        "4",
    ]  # nothing stands right of the header
    assert len(quiet(write(tmp_path / "b.csv", f"a,b\n{'x' * 10**6},1\n"))["a"][0]) == 10**6
    assert quiet(write(tmp_path / "c.csv", "a,b\n")).shape == (0, 2)
    assert plain(quiet(write(tmp_path / "d.csv", 'a\n""\nx\n'))) == {"a": [None, "x"]}


def test_mended_rows_are_told(tmp_path):
    told = []
    df, lines = read_lines(write(tmp_path / "a.csv", "a,b\n1,2\n3\n4,5,6\n\n7,8\n"), mend=True, tell=told.append)
    assert plain(df) == {"a": ["1", "3", "7"], "b": ["2", None, "8"]} and lines == [2, 3, 6]
    assert (
        "1 short rows are filled with missing cells and 1 long rows are left out" in told[0]
        and "line 3: ['3']" in told[0]
    )


@pytest.mark.parametrize("ending", ["parquet", "feather"])
def test_files_of_arrow_keep_their_dtypes(tmp_path, ending, monkeypatch):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    df = pd.DataFrame({"a": pd.array([1, None, INTEGER], dtype="Int64"), "b": ["NA", None, ""]})
    getattr(df, f"to_{ending}")(tmp_path / f"a.{ending}")
    got = quiet(tmp_path / f"a.{ending}")
    assert got["a"].tolist()[::2] == [1, INTEGER] and got["b"].tolist()[::2] == ["NA", ""]
    assert got.isna().sum().tolist() == [1, 1]
    (tmp_path / f"b.{ending}").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=rf"'.*b.{ending}' must be a whole .{ending} file"):
        quiet(tmp_path / f"b.{ending}")

    def lacks(*args, **settings):
        raise ImportError("pyarrow")

    monkeypatch.setattr(pd, f"read_{ending}", lacks)
    with pytest.raises(ImportError, match="needs the package pyarrow.*pip install pyarrow"):
        quiet(tmp_path / f"a.{ending}")


# === Times as text ===


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "csv.zip", "parquet", "feather"])
@pytest.mark.parametrize("rows", [1, 7, 10, 100])
def test_parts_hold_the_cells_of_the_whole(tmp_path, ending, rows):
    path, df = (
        tmp_path / f"a.{ending}",
        pd.DataFrame({"code": ["007", "1", "12"], "size": [1, 2, 3], "full": [1, 2, 3]}),
    )
    df = pd.concat([df] * 10, ignore_index=True).astype({"size": "Int64"})
    df.loc[20:, "code"], df.loc[:9, "size"] = ["NA", "a;b", 'x"\ny', None, "é"] * 2, None
    if ending.startswith("csv"):
        df.to_csv(path, index=False, encoding="utf-16-le" if rows == 7 else "utf-8")
    else:
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        getattr(df, f"to_{ending}")(path)
    settings = {"encoding": "utf-16-le"} if rows == 7 and ending.startswith("csv") else {}
    parts, shares = zip(*read_parts(path, rows, **settings), strict=True)
    assert max(map(len, parts)) <= rows and len(parts) == -(-30 // rows)
    assert 0 <= shares[0] <= shares[-1] and (shares[-1] == 1 or ending == "csv.zip")
    joined, whole = pd.concat(parts), read_table(path, **settings)
    assert joined.index.equals(whole.index)
    pd.testing.assert_frame_equal(joined.astype(object), whole.astype(object))


@pytest.mark.parametrize("ending", ["csv", "parquet", "feather"])
def test_parts_of_a_file_without_rows_and_of_a_damaged_one(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    if ending == "csv":
        path.write_text("a,b\n")
    else:
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        getattr(pd.DataFrame({"a": [], "b": []}), f"to_{ending}")(path)
    ((df, share),) = read_parts(path, 5)
    assert (list(df), len(df), share) == (["a", "b"], 0, 1)
    path.write_bytes(path.read_bytes()[:-4] + b'"x' if ending == "csv" else b"PAR1PAR1")
    with pytest.raises(ValueError, match="a.csv|must be a whole"):
        list(read_parts(path, 5))


def test_parts_are_read_when_they_are_asked_for(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n" + "1,2\n" * 200_000 + "3\n")
    parts = read_parts(tmp_path / "a.csv", 1000)
    df, share = next(parts)
    assert len(df) == 1000 and share < 0.1
    with pytest.raises(ValueError, match="in line 200002"):
        collections.deque(parts, 0)


@pytest.mark.parametrize(
    "times",
    [
        [str(number) for number in range(8, 18)],
        ["2019", "2020", "2021", "2022", "2023", "2024", "2025", "2026", "2027", "2028"],
        [f"2020-01-{day:02}" for day in range(5, 15)],
        [f"1577{day:06}.5" for day in range(10)],
        [datetime.date(2020, 1, day) for day in range(5, 15)],
        pd.Series(range(10), dtype="Int64"),
        ["NA", "n/a", " ", None, "1", "2", "3", "14", "15", "16"],
        ["null", "-", " ", None, *(f"{day}/06/2021" for day in (9, 10, 13, 14, 15, 16))],
    ],
)
def test_rows_are_split_by_times_as_text(times):
    df = pd.DataFrame({"t": times, "row": range(10)}).sample(frac=1, random_state=0)
    assert sorted(mm.split_frame(df, 0.3, time="t")[1]["row"]) == [7, 8, 9]


def test_times_that_are_none_are_refused():
    df = pd.DataFrame({"t": ["1", "2", "soon", "", None]})
    with (
        warnings.catch_warnings(),
        pytest.raises(ValueError, match="`time` must name a column of dates or numbers. Received: 't' with 'soon'"),
    ):
        warnings.simplefilter("ignore")
        mm.split_frame(df, 0.5, time="t")


# === The command line ===


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A model that was trained on a file in Latin-1 with semicolons, of a category "NA" and a label "None"; its rows; what was told."""
    folder = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(0)
    country = rng.choice(["NA", "DE"], 80)
    df = pd.DataFrame({"country": country, "préis": [f"{x:.2f}".replace(".", ",") for x in rng.uniform(1, 9, 80)]})
    df["day"] = [f"2020-{1 + row // 28:02}-{1 + row % 28:02}" for row in range(80)]
    df["offer"] = np.where(country == "NA", "None", "Gift")
    df.to_csv(folder / "rows.csv", index=False, sep=";", encoding="latin-1")
    arguments = (
        f"train --csv {folder}/rows.csv --categorical country --numeric préis --label offer --epochs 8 --batch-size 8"
    )
    arguments += f" --learning-rate 0.01 --split-time day --out {folder}/out --cache-dir {folder}/cache"
    errors, before = [], sys.stderr
    sys.stderr = types.SimpleNamespace(write=errors.append, flush=lambda: None)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".* holds labels that look like gaps")
            assert commands.main(arguments.split()) == 0
    finally:
        sys.stderr = before
    return folder, df, "".join(errors)


def test_training_reads_cells_as_they_are_written(shop):
    folder, _, told = shop
    assert "as cp1252, for it is not in UTF-8" in told and "with ';' between cells" in told
    pipe = mm.load(folder / "out" / "model")
    assert pipe.task.classes == ("Gift", "None")
    df = read_table(folder / "rows.csv", ";", "latin-1")
    assert not fitted_gaps(pipe, df).any()


def fitted_gaps(pipe, df):
    """(columns,) how many cells of each are unread."""
    return pipe.check(df)[["missing", "unread"]].to_numpy()


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_predictions_of_a_file(shop, tmp_path, ending, capsys):
    folder, df, _ = shop
    if ending == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    df[["offer", "préis", "country"]].assign(more="x").to_csv(tmp_path / "rows.tsv", index=False, sep="\t")
    out = tmp_path / f"p.{ending}"
    assert commands.main(["predict", f"{folder}/out", "--csv", f"{tmp_path}/rows.tsv", "--out", str(out)]) == 0
    table = read_table(out) if ending == "csv" else pd.read_parquet(out)
    assert list(table)[-3:] == ["predicted", "Gift", "None"] and (table["predicted"] == df["offer"]).all()
    assert capsys.readouterr().err == ""


def test_a_file_without_rows_gives_a_table_without_rows(shop, tmp_path, capsys):
    folder, df, _ = shop
    df.head(0).to_csv(tmp_path / "none.csv", index=False)
    predict = ["predict", f"{folder}/out", "--csv", f"{tmp_path}/none.csv"]
    assert commands.main([*predict, "--out", f"{tmp_path}/p.csv"]) == 0
    assert (tmp_path / "p.csv").read_text().strip() == ",predicted,Gift,None"
    assert commands.main(predict) == 0
    assert "holds no rows to predict" in capsys.readouterr().out


def test_options_say_how_a_file_is_written(shop, tmp_path, capsys):
    folder, df, _ = shop
    df.to_csv(tmp_path / "rows.txt", index=False, sep="\t", encoding="utf-16-le")
    given = ["evaluate", f"{folder}/out", "--csv", f"{tmp_path}/rows.txt", "--sep", "\\t", "--encoding", "utf-16-le"]
    assert commands.main(given) == 0
    captured = capsys.readouterr()
    assert "accuracy" in captured.out and "between cells" not in captured.err
    predict = ["predict", f"{folder}/out", "--csv", f"{tmp_path}/rows.txt"]
    assert commands.main([*predict, "--sep", ";"]) == 2
    assert "needs the column" in capsys.readouterr().err
    assert commands.main([*predict, "--encoding", "ascii"]) == 2
    assert "mmkeras predict:" in capsys.readouterr().err
    assert commands.main([*predict, "--out", f"{tmp_path}/p.xlsx"]) == 2
    assert "--out is written as .csv or .parquet. Received: " in capsys.readouterr().err
