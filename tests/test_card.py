"""Cards of models: what they tell of one that was fitted, of one that was loaded, and of one that nobody judged."""

import re

import pytest

import mmkeras as mm


@pytest.fixture(scope="module")
def films():
    df = mm.samples.movies(90, seed=0)
    df["decade"] = df["release_date"].str[:3] + "0s"
    train, test = mm.split_frame(df, 0.3, seed=0)
    modalities = [
        mm.Text("overview", encoder="lexical", name="words"),
        mm.Tabular(["budget", "runtime"], datetime="release_date"),
    ]
    pipe = mm.Pipeline(modalities, mm.MultiLabel("genres"))
    pipe.fit(train, epochs=1, verbose=0)
    return pipe, train, test


def test_a_card_of_a_judged_model(films, tmp_path):
    pipe, train, test = films
    path = mm.model_card(pipe, tmp_path / "card.md", test, by="decade")
    card = path.read_text()
    low, high = train["runtime"].agg(["min", "max"])
    assert card.startswith("# Model card of “genres”\n")
    for told in (
        "from 'words', 'tabular', joined by the fusion 'concat'",
        f"It learnt from {len(pipe._fitted.rows.df)} rows;",
        f"{len(pipe._fitted.validation.df)} rows validated it.",
        "| overview | words | Text | text | texts in the scripts Latin (100%) |",
        "| runtime | tabular | Tabular | number | numbers from ",
        f"### On {len(test)} rows",
        "### With only some of the modalities",
        "### By decade",
        "In which languages texts are was not looked at",
        "`conformalize` was not called",
        "From the rows that validated it, it learnt: thresholds, ",
    ):
        assert told in card
    numbers = re.search(r"runtime \| .* numbers from ([\d.]+) to ([\d.]+)", card)
    assert low <= float(numbers[1]) <= float(numbers[2]) <= high
    report = pipe.evaluate(test, verbose=0)
    assert f"| map | {report.metrics['map']:.3f} | {report.intervals['map'][0]:.3f} |" in card
    assert "NOT judged" not in card


def test_what_is_not_known_is_said(films, tmp_path):
    pipe, _, _ = films
    pipe.save(tmp_path / "model")
    card = mm.model_card(mm.load(tmp_path / "model"), tmp_path / "card.html").read_text()
    for told in (
        "How many rows it learnt from is not known: a loaded model, or one of several, keeps no rows",
        "It answers MultiLabel: &#x27;genres&#x27;, from &#x27;words&#x27;, &#x27;tabular&#x27;, joined by",
        f"its columns were read by {len(pipe._fitted.rows.df)} rows.",
        "<li class=bad>NOT judged: no rows were given.",
        "How it does without some of its modalities was not checked.",
        "How it does on groups of rows was not checked.",
    ):
        assert told in card
    assert card.endswith("</html>\n")


def test_a_card_that_cannot_be_written_leaves_the_old(films, tmp_path):
    pipe, _, test = films
    path = tmp_path / "card.md"
    path.write_text("old")
    with pytest.raises(KeyError, match="needs the column 'genres'"):
        mm.model_card(pipe, path, test.drop(columns="genres"))
    assert path.read_text() == "old"
    with pytest.raises(ValueError, match=r"written as .html or .md. Received: '.*card.pdf'"):
        mm.model_card(pipe, tmp_path / "card.pdf")
    with pytest.raises(ValueError, match="`by` names a column of `df`. Received: by='decade' without rows"):
        mm.model_card(pipe, path, by="decade")
    assert [file.name for file in tmp_path.iterdir()] == ["card.md"]


def test_markdown_holds_whatever_names_there_are(tmp_path):
    df = mm.samples.movies(40, seed=0).rename(columns={"budget": "a|b <script>\nc"})
    df["<script>\nkind"] = df["genres"]
    pipe = mm.Pipeline([mm.Tabular(["a|b <script>\nc"])], mm.MultiLabel("<script>\nkind"))
    pipe.fit(df, epochs=1, verbose=0)
    card = mm.model_card(pipe, tmp_path / "card.md", df, by="<script>\nkind").read_text()
    assert "| a\\|b &lt;script> c | tabular | Tabular |" in card
    assert card.startswith("# Model card of “&lt;script> kind”\n")
    assert "\n### By &lt;script> kind\n" in card
    assert "<script>" not in card
    assert "from 'tabular'.\n" in card
    assert "<script>" in mm.model_card(pipe, tmp_path / "card.html").read_text().replace("&lt;script&gt;", "<script>")
    assert "<script>" not in (tmp_path / "card.html").read_text()


def test_a_card_of_pairs_names_no_target(tmp_path):
    df = mm.samples.movies(40, seed=0)
    sides = [mm.Text("overview", encoder="lexical", name="words"), mm.Tabular(["budget", "runtime"])]
    pipe = mm.Pipeline(sides, mm.Retrieval(query="words", items="tabular", width=4))
    pipe.fit(df, validation_data=False, epochs=1, verbose=0)
    assert "- It answers Retrieval, from 'words', 'tabular'" in mm.model_card(pipe, tmp_path / "card.md").read_text()
