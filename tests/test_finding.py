"""`mmkeras embed` and `mmkeras retrieve`: vectors, indexes and what queries find, from files to files."""

import numpy as np
import pandas as pd
import pytest

import mmkeras as mm
from mmkeras.__main__ import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path, rng = tmp_path_factory.mktemp("finding"), np.random.default_rng(0)
    values = rng.normal(size=40)
    df = pd.DataFrame({"a": values, "b": -values, "name": [f"item {n}" for n in range(40)]})
    sides = [mm.Tabular(numeric=["a"], name="left"), mm.Tabular(numeric=["b"], name="right")]
    pipe = mm.Pipeline(sides, mm.Retrieval(query="left", items="right", width=4))
    pipe.fit(df, validation_data=False, epochs=1, verbose=0)
    pipe.save(path / "model")
    df[["a"]].head(6).to_csv(path / "queries.csv", index=False)
    df[["b", "name"]].to_csv(path / "items.csv", index=False)
    return path


def run(folder, *arguments):
    return main([arguments[0], str(folder / "model"), *map(str, arguments[1:])])


def test_queries_find_items_of_a_file_and_of_an_index(folder, tmp_path, capsys):
    queries, items = folder / "queries.csv", folder / "items.csv"
    found = tmp_path / "found.csv"
    assert run(folder, "retrieve", "--csv", queries, "--items", items, "--ids", "name", "-k", 3, "--out", found) == 0
    table = pd.read_csv(found)
    pipe = mm.load(folder / "model")
    named = pd.read_csv(items).set_index("name")
    pd.testing.assert_frame_equal(
        table, mm.retrieve(pipe, pd.read_csv(queries), named, 3), check_dtype=False, rtol=1e-4
    )
    assert run(folder, "embed", "--csv", items, "--ids", "name", "--out", tmp_path / "index") == 0
    assert "40 items" in capsys.readouterr().out
    again = tmp_path / "again.csv"
    assert run(folder, "retrieve", "--csv", queries, "--items", tmp_path / "index", "-k", 3, "--out", again) == 0
    assert again.read_text() == found.read_text()
    assert run(folder, "retrieve", "--csv", queries, "--items", items) == 0
    assert "score" in capsys.readouterr().out


def test_vectors_go_to_a_file(folder, tmp_path):
    out = tmp_path / "vectors.npz"
    assert run(folder, "embed", "--csv", folder / "queries.csv", "--side", "query", "--out", out) == 0
    vectors = mm.embed(mm.load(folder / "model"), pd.read_csv(folder / "queries.csv"), side="query")
    np.testing.assert_allclose(np.load(out)["vectors"], vectors, atol=1e-6)


def test_what_cannot_be_found_is_told(folder, tmp_path, capsys):
    queries, items = folder / "queries.csv", folder / "items.csv"
    for arguments, message in (
        (("retrieve", "--csv", queries, "--items", items, "-k", 41), "41"),
        (("retrieve", "--csv", queries, "--items", items, "-k", 0), "0"),
        (("retrieve", "--csv", queries, "--items", items, "--ids", "price"), "`ids` must name a column"),
        (("embed", "--csv", queries, "--side", "query", "--out", tmp_path / "index"), "An index holds items"),
        (("embed", "--csv", items, "--ids", "name", "--out", tmp_path / "x.npz"), "--ids goes with an index"),
    ):
        assert run(folder, *arguments) == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
