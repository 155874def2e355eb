"""`mmkeras explain` and `mmkeras card`, as a user meets them."""

import pytest

import mmkeras as mm
from mmkeras.cli.commands import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("explain")
    df = mm.samples.movies(60, seed=0)
    pipe = mm.Pipeline([mm.Tabular(["budget", "runtime"])], mm.MultiLabel("genres"))
    pipe.fit(df, epochs=1, verbose=0)
    pipe.save(path / "model")
    df.head(30).to_csv(path / "rows.csv", index=False)
    return path


def test_explain_prints_what_decided_and_writes_a_page(folder, capsys):
    rows = ["--csv", str(folder / "rows.csv"), "--choice", "Drama"]
    assert main(["explain", str(folder / "model"), *rows, "--rows", "2", "--html", str(folder / "why.html")]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].split() == ["outcome", "log-odds", "nothing", "tabular"]
    assert [line.split()[1] for line in told[1:3]] == ["Drama", "Drama"]
    assert told[3:] == [f"Wrote {folder / 'why.html'}."]
    assert "What decided 2 of 2 rows" in (folder / "why.html").read_text()


def test_explain_says_what_cannot_work(folder, capsys):
    command = ["explain", str(folder / "model"), "--csv", str(folder / "rows.csv")]
    for more, told in (
        (["--rows", "0"], "--rows must be 1 or more. Received: 0."),
        (["--choice", "Opera"], "`choice` must be one of"),
    ):
        assert main([*command, *more]) == 2
        assert told in capsys.readouterr().err


def test_card_is_written_with_scores_where_there_are_rows(folder, capsys):
    for rows, told in (([], "NOT judged"), (["--csv", str(folder / "rows.csv")], "### On 30 rows")):
        assert main(["card", str(folder / "model"), "--html", str(folder / "card.md"), *rows]) == 0
        assert capsys.readouterr().out == f"Wrote {folder / 'card.md'}.\n"
        assert told in (folder / "card.md").read_text()
