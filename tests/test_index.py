"""An index of vectors: nearest ones by hand, ids, keeping, what an approximate one finds, and retrieving with a Pipeline."""

import os
import sys

import numpy as np
import pandas as pd
import pytest

import mmkeras as mm
from mmkeras.evaluation import cosines
from mmkeras.inference import cells
from mmkeras.persistence import tensors
from mmkeras.trunk.fingerprint import fingerprint

NO_FAISS = "faiss-cpu is not installed: pip install 'mmkeras[index]'"
EAST, NORTH, BETWEEN = [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]


def unit(rows, width=16, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(rows, width)).astype("float32")
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def state(index):
    return index.ids.tolist(), index.search(unit(3, index.width), len(index))[1].tolist()


# --- exact search


def test_the_nearest_by_hand():
    index = mm.Index([EAST, NORTH, BETWEEN], ids=["east", "north", "between"])
    ids, scores = index.search([NORTH, EAST], k=2)
    assert ids.tolist() == [["north", "between"], ["east", "between"]]
    assert scores == pytest.approx(np.array([[1.0, 0.8], [1.0, 0.6]]))
    assert scores.dtype == np.float32 and index.recall([NORTH], k=2) == 1.0 and len(index) == 3 and index.width == 2


def test_equal_vectors_come_in_their_order_and_ids_count_from_0_by_themselves():
    index = mm.Index([BETWEEN] * 40 + [EAST] + [BETWEEN] * 40)
    assert index.search([BETWEEN], k=81)[0][0].tolist() == [*range(40), *range(41, 81), 40]
    assert index.search([BETWEEN], k=45)[0][0].tolist() == [*range(40), *range(41, 46)]


@pytest.mark.parametrize("held", [64, 1 << 22])
def test_products_in_pieces_find_what_one_sort_finds(held, monkeypatch):
    monkeypatch.setattr(cosines, "AT_ONCE", held)
    monkeypatch.setattr(cosines, "QUERIES", 5)
    monkeypatch.setattr(cosines, "MANY", 8)
    items, queries = np.repeat(unit(150), 2, axis=0), unit(12, seed=1)
    exact = (queries.astype("float64") @ items.T.astype("float64")).astype("float32")
    order = np.lexsort((np.broadcast_to(np.arange(300), exact.shape), -exact))[:, :7]
    numbers, scores = cosines.top(queries, items, 7)
    assert numbers.tolist() == order.tolist()
    assert scores == pytest.approx(np.take_along_axis(exact, order, axis=1))


def test_a_query_finds_the_same_alone_as_among_others():
    index, queries = mm.Index(unit(3000, 64)), unit(300, 64, seed=1)
    ids, scores = index.search(queries)
    for row in (0, 7, 299):
        alone = index.search(queries[row : row + 1])
        assert (alone[0][0] == ids[row]).all() and (alone[1][0] == scores[row]).all()


def test_no_queries_find_nothing_and_an_index_may_be_empty():
    ids, scores = mm.Index([EAST, NORTH]).search(np.zeros((0, 2)), k=1)
    assert ids.shape == scores.shape == (0, 1)
    index = mm.Index(np.zeros((0, 2)))
    with pytest.raises(ValueError, match="from 1 to the number of items, 0. Received: 10"):
        index.search([EAST])
    index.add([EAST], ["a"])
    assert index.search([NORTH], k=1)[0].tolist() == [["a"]]


def test_the_users_array_is_not_the_indexs():
    vectors = np.array([EAST, NORTH], "float32")
    index = mm.Index(vectors)
    vectors[:] = BETWEEN
    index.ids[:] = 9
    assert index.search([EAST], k=1)[1].tolist() == [[1.0]] and index.ids.tolist() == [0, 1]


# --- what is refused


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([[np.nan, 0.0]], "Received: row 0, which holds something that is no finite number"),
        ([EAST, [np.inf, 0.0]], "Received: row 1, which holds something"),
        ([EAST, [3.0, 4.0]], "length 1. Received: row 1, of length 5"),
        ([[0.0, 0.0]], "Received: row 0, of length 0"),
        ([1.0, 0.0], r"shape \(rows, width\). Received: \(2,\)"),
        ([EAST, [1.0]], "rows of numbers, all of one width"),
        (np.zeros((1, 0)), r"Received: \(1, 0\)"),
    ],
)
def test_vectors_are_finite_of_one_width_and_of_length_1(vectors, message):
    with pytest.raises(ValueError, match=message):
        mm.Index(vectors)


def test_queries_have_the_width_of_the_index():
    with pytest.raises(ValueError, match=r"shape \(rows, 2\). Received: \(1, 3\)"):
        mm.Index([EAST]).search([[1.0, 0.0, 0.0]], k=1)


@pytest.mark.parametrize("k", [0, 3, -1, True, 1.0, "1"])
def test_k_is_a_number_of_items_that_are_there(k):
    with pytest.raises(ValueError, match=f"from 1 to the number of items, 2. Received: {k!r}"):
        mm.Index([EAST, NORTH]).search([EAST], k=k)


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        (["a", "a"], ValueError, "must be different. Received: 'a' twice"),
        (["a"], ValueError, "an id for each vector, 2. Received: 1"),
        (["a", 1], TypeError, "all ints or all strings. Received: 1"),
        ([1.0, 2.0], TypeError, "Received: 1.0"),
        ([True, False], TypeError, "Received: True"),
        ([None, 1], TypeError, "Received: None"),
        ([2**70, 1], ValueError, "fit in 64 bits"),
    ],
)
def test_ids_are_ints_or_strings_each_once(ids, error, message):
    with pytest.raises(error, match=message):
        mm.Index([EAST, NORTH], ids)


# --- adding and removing


@pytest.fixture(params=[True, False])
def exact(request):
    if not request.param:
        pytest.importorskip("faiss", reason=NO_FAISS)
    return request.param


def test_what_is_added_is_found_and_what_is_removed_is_not(exact):
    index = mm.Index([EAST, NORTH], ["east", "north"], exact=exact)
    index.add([BETWEEN], ["between"])
    index.remove(["north"])
    assert index.ids.tolist() == ["east", "between"]
    assert index.search([NORTH], k=2)[0].tolist() == [["between", "east"]]
    index.add([NORTH], pd.Series(["north"]))
    index.add(np.zeros((0, 2)), [])
    assert index.search([NORTH], k=1)[0].tolist() == [["north"]]
    index.remove(index.ids)
    index.add([EAST], [7])  # of nothing, neither is the kind of ids left
    assert index.search([EAST], k=1)[0].tolist() == [[7]]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda index: index.add(unit(2), [5, 3]), ValueError, "must be different. Received: 3 twice"),
        (lambda index: index.add(unit(2), [5, 5]), ValueError, "Received: 5 twice"),
        (lambda index: index.add(unit(1), ["a"]), TypeError, "the kind that the index holds, such as 0. Received: 'a'"),
        (lambda index: index.add(unit(1, 4), [9]), ValueError, r"shape \(rows, 16\)"),
        (lambda index: index.add(unit(1) * 2, [9]), ValueError, "of length 2"),
        (lambda index: index.remove([0, 9]), KeyError, "ids that the index holds. Received: 9"),
        (lambda index: index.remove(["0"]), KeyError, "Received: '0'"),
        (lambda index: index.remove([0, 0]), ValueError, "Received: 0 twice"),
    ],
)
def test_a_call_that_fails_changes_nothing(call, error, message, exact):
    index = mm.Index(unit(5), exact=exact)
    before = state(index)
    with pytest.raises(error, match=message):
        call(index)
    assert state(index) == before


# --- approximate search


def blobs(rows, seed=0):
    """Vectors around 30 directions, as those of texts lie."""
    rng = np.random.default_rng(seed)
    vectors = unit(30, 24, seed=9)[rng.integers(0, 30, rows)] + 0.1 * rng.normal(size=(rows, 24))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("float32")


@pytest.fixture(scope="module")
def approximate():
    pytest.importorskip("faiss", reason=NO_FAISS)
    return mm.Index(blobs(6000), exact=False)


def test_an_approximate_index_finds_nearly_all_with_the_same_scores(approximate):
    queries = blobs(200, seed=1)
    ids, scores = approximate.search(queries)
    best = mm.Index(blobs(6000)).search(queries)
    shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(ids, best[0], strict=True)])
    assert shared > 0.9 and approximate.recall(queries) == pytest.approx(shared)
    assert (np.diff(scores, axis=1) <= 0).all() and scores[0, 0] == best[1][0, 0]
    alone = approximate.search(queries[5:6])
    assert (alone[0][0] == ids[5]).all() and (alone[1][0] == scores[5]).all()


def test_recall_tells_what_is_missed(approximate):
    few = mm.Index(blobs(6000), exact=False)
    few._held.cells._lists.nprobe = 1
    assert few.recall(unit(200, 24, seed=3)) < approximate.recall(unit(200, 24, seed=3))
    with pytest.raises(ValueError, match="at least one query"):
        few.recall(np.zeros((0, 24)))


def test_more_than_the_cells_hold_is_found_all_the_same(approximate):
    assert sorted(approximate.search(blobs(1, seed=1), k=6000)[0][0]) == list(range(6000))


def test_cells_are_learnt_anew_when_they_are_outgrown():
    pytest.importorskip("faiss", reason=NO_FAISS)
    index = mm.Index(blobs(100), exact=False)
    index.add(blobs(300, 1), range(100, 400))
    before = index._held.cells
    index.add(blobs(400, 2), range(400, 800))
    assert before.learnt == 100 and index._held.cells.learnt == 800 and index.recall(blobs(20, 3)) > 0.9


def test_an_add_that_ends_midway_leaves_nothing_to_find(monkeypatch):
    pytest.importorskip("faiss", reason=NO_FAISS)
    index, query = mm.Index(blobs(500), exact=False), blobs(5, seed=1)
    before = index.search(query)
    real = cells.Cells.add

    def fails(self, *arrays):
        real(self, *arrays)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cells.Cells, "add", fails)
        with pytest.raises(KeyboardInterrupt):
            index.add(query, range(900, 905))
    assert len(index) == 500 and all((a == b).all() for a, b in zip(before, index.search(query), strict=True))
    index.add(query, range(900, 905))
    assert index.search(query, k=1)[0][:, 0].tolist() == [*range(900, 905)]


def test_an_approximate_index_needs_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"needs the package faiss-cpu. .*pip install 'mmkeras\[index\]'"):
        mm.Index([EAST], exact=False)


# --- keeping


@pytest.mark.parametrize("ids", [None, [f"ä\ud800 {i}" for i in range(200)]])
def test_a_loaded_index_is_the_saved_one(ids, exact, tmp_path):
    index = mm.Index(unit(200), ids, exact=exact)
    index.remove(index.ids[:3])
    index.model = "m"
    for folder in (tmp_path / "new" / "index", tmp_path / "new" / "index"):
        index.save(folder)
    loaded = mm.load_index(folder)
    assert state(loaded) == state(index) and (loaded.exact, loaded.model) == (exact, "m")
    assert os.listdir(folder) == [tensors.FILE]
    loaded.add(unit(1, seed=5), [777] if ids is None else ["777"])
    assert loaded.search(unit(1, seed=5), k=1)[0].item() in (777, "777")


def test_a_save_that_fails_leaves_the_earlier_one(tmp_path, monkeypatch):
    mm.Index([EAST], ["a"]).save(tmp_path / "index")
    with monkeypatch.context() as patch:
        patch.setattr("safetensors.numpy.save_file", lambda *args: 1 / 0)
        for folder in ("index", "other"):
            with pytest.raises(ZeroDivisionError):
                mm.Index([NORTH], ["b"]).save(tmp_path / folder)
    assert mm.load_index(tmp_path / "index").ids.tolist() == ["a"]
    assert os.listdir(tmp_path) == ["index"] and os.listdir(tmp_path / "index") == [tensors.FILE]


def test_what_killed_saves_left_is_deleted_and_other_folders_are_refused(tmp_path):
    for name in ("01234567", "01234567.new"):
        (tmp_path / f".{tensors.FILE}.{name}").touch()
    mm.Index([EAST]).save(tmp_path)
    assert os.listdir(tmp_path) == [tensors.FILE]
    (tmp_path / "pipeline.json").write_text("{}")
    with pytest.raises(ValueError, match="must be new, empty, or hold a saved index"):
        mm.Index([EAST]).save(tmp_path)


def stored(folder, arrays=(), **about):
    """A folder as `save` writes it, but for some arrays and words."""
    held = {"vectors": np.eye(2, dtype="float32"), "ids": np.arange(2), **dict(arrays)}
    told = {"format": "mmkeras index 1", "exact": "true", "model": "null", **about}
    tensors.write_tensors(folder, {k: v for k, v in held.items() if v is not None}, told)
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "mmkeras index 2"}, "of the format 'mmkeras index 2'"),
        ({"exact": "[" * 10_000}, "RecursionError|JSONDecodeError"),
        ({"exact": "1"}, "exact is a bool"),
        ({"model": "{}"}, "model a str"),
        ({"arrays": {"vectors": None}}, "KeyError"),
        ({"arrays": {"vectors": np.full((2, 2), np.nan, "float32")}}, "no finite number"),
        ({"arrays": {"ids": np.zeros(2, "int64")}}, "0 twice"),
        ({"arrays": {"ids": np.arange(3)}}, "an id for each vector, 2. Received: 3"),
        ({"arrays": {"texts": np.frombuffer(b'["a", {}]', "uint8")}}, "all strings"),
        ({"arrays": {"texts": np.frombuffer(b"\xff", "uint8")}}, "UnicodeDecodeError"),
    ],
)
def test_what_is_no_saved_index_is_refused(change, message, tmp_path):
    with pytest.raises(ValueError, match=f"A saved index must be as `index.save` writes it. .*({message})"):
        mm.load_index(stored(tmp_path / "index", change.pop("arrays", ()), **change))


@pytest.mark.parametrize("homes", [[0, 9], [-1, 0], [0], [[0, 0]], [0.0, 0.0]])
def test_cells_that_are_not_there_are_refused(homes, tmp_path):
    pytest.importorskip("faiss", reason=NO_FAISS)
    arrays = {"homes": np.array(homes), "centres": np.eye(2, dtype="float32")}
    with pytest.raises(ValueError, match="the cell of each vector"):
        mm.load_index(stored(tmp_path, arrays, exact="false", learnt="2"))


def test_damaged_files_links_and_other_files_are_refused(tmp_path):
    file = stored(tmp_path / "index") / tensors.FILE
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match="damaged: its digest differs"):
        mm.load_index(file.parent)
    for content in (b"", b"\xff" * 100, data[:-9]):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read"):
            mm.load_index(file.parent)
    file.unlink()
    with pytest.raises(ValueError, match="cannot be read"):
        mm.load_index(file.parent)
    file.symlink_to(stored(tmp_path / "other") / tensors.FILE)
    with pytest.raises(ValueError, match="no regular file"):
        mm.load_index(file.parent)
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        mm.load_index(tmp_path / "nothing")


# --- retrieving


def rows(count=24, seed=0):
    numbers = np.random.default_rng(seed).normal(size=count)
    return pd.DataFrame(
        {"a": numbers, "b": -numbers, "name": [f"n{i}" for i in range(count)]}, index=range(100, 100 + count)
    )


def fitted(seed=0):
    sides = [mm.Tabular(numeric="a", name="left"), mm.Tabular(numeric="b", name="right")]
    pipe = mm.Pipeline(sides, mm.Retrieval(query="left", items="right", width=4), units=8)
    pipe.fit(rows(), validation_data=False, epochs=1, verbose=0, seed=seed)
    return pipe


@pytest.fixture(scope="module")
def pipe():
    return fitted()


def test_a_row_for_each_query_and_rank(pipe):
    df = rows()
    found = mm.retrieve(pipe, df[["a"]].head(3), df[["b"]], k=2)
    cosine = mm.embed(pipe, df[["a"]].head(3), side="query") @ mm.embed(pipe, df[["b"]], side="items").T
    order = np.argsort(-cosine, axis=1)[:, :2]
    assert found["query"].tolist() == [100, 100, 101, 101, 102, 102] and found["rank"].tolist() == [1, 2] * 3
    assert found["item"].tolist() == (order + 100).ravel().tolist()
    assert found["score"].to_numpy() == pytest.approx(np.take_along_axis(cosine, order, axis=1).ravel(), abs=1e-6)
    index = mm.index_items(pipe, df, ids="name")
    names = [f"n{i}" for i in order.ravel()]
    assert mm.retrieve(pipe, df[["a"]].head(3), index, k=2)["item"].tolist() == names
    itself = mm.retrieve(pipe, df[["b"]].head(2), index, k=1, query_side="items")
    assert itself["item"].tolist() == ["n0", "n1"]


def test_no_queries_give_no_rows_with_the_same_columns(pipe):
    df = rows()
    none, some = (mm.retrieve(pipe, df[["a"]].head(count), df[["b"]], k=2) for count in (0, 1))
    assert len(none) == 0 and (none.dtypes == some.dtypes).all() and list(none) == ["query", "rank", "item", "score"]
    assert len(mm.index_items(pipe, df.head(0))) == 0
    with pytest.raises(KeyError, match="needs the column 'a'"):
        mm.retrieve(pipe, df[["b"]].head(0), df[["b"]], k=2)


def test_retrieving_refuses_what_cannot_work(pipe):
    df = rows()
    with pytest.raises(ValueError, match="from 1 to the number of items, 24. Received: 25"):
        mm.retrieve(pipe, df, df, k=25)
    with pytest.raises(ValueError, match="must be 'query' or 'items'. Received: 'left'"):
        mm.retrieve(pipe, df, df, query_side="left")
    with pytest.raises(KeyError, match="`ids` must name a column. Received: 'x'"):
        mm.index_items(pipe, df, ids="x")
    with pytest.raises(ValueError, match="Received: 100 twice"):
        mm.index_items(pipe, df.set_axis([100] * 24))
    with pytest.raises(
        ValueError, match="must hold vectors of 4 numbers, as the model makes them. Received: an index of vectors of 2"
    ):
        mm.retrieve(pipe, df, mm.Index([EAST]), k=1)
    other = mm.Pipeline([mm.Tabular(numeric="a")], mm.Regression("b"))
    other.fit(df, epochs=1, verbose=0)
    with pytest.raises(ValueError, match="a Pipeline for Retrieval.* Received: a Pipeline for Regression"):
        mm.retrieve(other, df, df)


def test_an_index_knows_its_model_also_once_that_was_saved(pipe, tmp_path):
    df = rows()
    mm.index_items(pipe, df).save(tmp_path / "index")
    pipe.save(tmp_path / "pipe")
    index, loaded = mm.load_index(tmp_path / "index"), mm.load(tmp_path / "pipe")
    assert mm.retrieve(loaded, df, index).equals(mm.retrieve(pipe, df, df))
    with pytest.raises(
        ValueError, match="vectors of the model that reads the queries.* Load that model, or make the index"
    ):
        mm.retrieve(fitted(seed=1), df, index)
    own = mm.Index(mm.embed(pipe, df, side="items"), df.index)
    assert mm.retrieve(pipe, df, own).equals(mm.retrieve(pipe, df, index))


def test_a_fingerprint_outlasts_saving_where_a_layer_was_called_on_a_tuple(tmp_path):
    import keras

    x = keras.Input((2,), name="x")
    model = keras.Model({"x": x}, {"y": keras.layers.Add()((x, keras.layers.Dense(2)(x)))})
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert fingerprint(model, loaded=True) == fingerprint(loaded, loaded=True)
    other = keras.Model({"x": x}, {"y": keras.layers.Multiply()((x, x))})
    assert fingerprint(other, loaded=True) != fingerprint(model, loaded=True)
