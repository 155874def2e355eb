"""The ablation table: what is trained and judged, on which rows, and what is said of it."""

import numpy as np
import pandas as pd
import pytest

import mmkeras as mm
from mmkeras.trunk import encoding

MODALITIES = [mm.Text("note", encoder="lexical"), mm.Tabular(numeric=["x"], name="number")]


def rows(count=90, seed=0):
    """The class is told by a word and a number together: the word says whether the number's sign turns around."""
    rng = np.random.default_rng(seed)
    x, word = rng.normal(size=count), rng.integers(2, size=count)
    label = np.where(x * (2 * word - 1) > 0, "yes", "no")
    return pd.DataFrame({"note": np.where(word, "plain words", "turned around"), "x": x, "label": label})


def test_every_row_is_judged_once_by_models_that_did_not_see_it(tmp_path, capsys):
    df = rows()
    df.index = df.index + 1000
    found = mm.ablate(
        MODALITIES, mm.MultiClass("label"), df, folds=2, losses=["standard", "focal"], fusion="bilinear", epochs=40,
        learning_rate=1e-2, head={"units": 32, "dropout": 0.0}, cache_dir=tmp_path / "cache",
    )  # fmt: skip
    assert capsys.readouterr().out.count("2 of 2: ") == 6
    assert found.rows == len(df) and found.primary == "macro_f1"
    assert set(zip(found.table["modalities"], found.table["loss"], strict=True)) == {
        *((name, loss) for name in ("all", "text", "number") for loss in ("standard", "focal")),
        ("label prior", "–"),
        ("TF-IDF + linear model", "–"),
    }
    best = found.table.set_index(["modalities", "loss"])["macro_f1"]
    assert best["all"].max() > 0.8 > 0.65 > best[["text", "number"]].max()
    low, high = found.table["macro_f1_low"], found.table["macro_f1_high"]
    assert ((low <= found.table["macro_f1"] + 0.03) & (found.table["macro_f1"] <= high + 0.03)).all()
    assert all(values.shape == (len(df), 2) for values in found.predictions.values())
    text = str(found)
    assert "against the best baseline" in text and "is beyond" in text and "95%" in text
    html = (found.to_html(tmp_path / "ablation.html")).read_text(encoding="utf-8")
    assert "data:image/png;base64" in html and "focal" in html


def test_a_judged_row_does_not_touch_what_is_learnt():
    """Changing the targets of the test rows changes no prediction."""
    train, test = rows(60), rows(20, seed=1)
    turned = test.assign(label=np.where(test["label"] == "yes", "no", "yes"))
    settings = {"losses": ["focal"], "epochs": 2, "verbose": 0}
    first, second = (
        mm.ablate(MODALITIES[1:], mm.MultiClass("label"), train, rows, **settings) for rows in (test, turned)
    )
    for key, values in first.predictions.items():
        np.testing.assert_array_equal(values, second.predictions[key])
    assert first.table["macro_f1"].tolist() != second.table["macro_f1"].tolist()  # they are judged by them
    other = mm.ablate(MODALITIES[1:], mm.MultiClass("label"), turned, test, **settings)
    assert all(np.abs(values - other.predictions[key]).max() > 0 for key, values in first.predictions.items())


def test_rows_of_unknown_classes_are_not_judged():
    train, test = rows(60), rows(20, seed=1)
    test.loc[test.index[:5], "label"] = "never"
    settings = {"losses": ["standard"], "epochs": 1, "verbose": 0}
    found = mm.ablate(MODALITIES[1:], mm.MultiClass("label"), train, test, **settings)
    assert found.rows == 15 and "'never' (5 rows)" in found.notes[0] and found.notes[0].endswith("count in no metric.")


def test_modalities_need_names_that_the_table_can_tell_apart():
    for modalities, message in (
        ([mm.Tabular(numeric=["x"], name="all")], "No modality may be named 'all'"),
        ([], "There must be a modality"),
    ):
        with pytest.raises(ValueError, match=message):
            mm.ablate(modalities, mm.MultiClass("label"), rows())


def test_ways_are_those_of_the_task():
    df = mm.samples.movies(60, seed=0)
    modalities = [mm.Tabular(numeric=["budget"], name="money")]
    found = mm.ablate(modalities, mm.MultiLabel("genres"), df.head(40), df.tail(20), epochs=1, verbose=0)
    assert set(found.table["loss"]) == {"standard", "weighted", "focal", "–"}
    assert set(found.table["modalities"]) >= {"money"}
    assert "all" not in set(found.table["modalities"])  # one modality: all is the same
    ways = [values for key, values in found.predictions.items() if key[1] != "–"]
    assert len(ways) == 3 and np.abs(ways[0] - ways[1]).max() > 1e-3 and np.abs(ways[0] - ways[2]).max() > 1e-3


def test_class_weighted_is_another_name_of_weighted():
    settings = {"df": rows(60), "test_data": rows(20, seed=1), "epochs": 1, "verbose": 0}
    found = [
        mm.ablate(MODALITIES[1:], mm.MultiClass("label"), losses=[name], **settings)
        for name in ("class-weighted", "weighted")
    ]
    pd.testing.assert_frame_equal(found[0].table, found[1].table)
    assert set(found[0].table["loss"]) == {"weighted", "–"}


def test_numbers_are_ablated_too():
    """A task with one way to train: each modality alone beside all, and the rivals that need no network."""
    df = rows(80).assign(price=lambda df: df["x"] + 3.0 * (df["note"] == "plain words"))
    found = mm.ablate(
        MODALITIES, mm.Regression("price"), df, folds=2, epochs=30, learning_rate=1e-2, verbose=0,
        head={"units": 16, "dropout": 0.0},
    )  # fmt: skip
    assert found.rows == 80 and found.primary == "r2"
    r2 = found.table.set_index(["modalities", "loss"])["r2"]
    assert set(r2.index) == {
        ("all", "standard"), ("text", "standard"), ("number", "standard"), ("mean", "–"), ("TF-IDF + linear model", "–"),
    }  # fmt: skip
    assert r2["all", "standard"] > 0.8 > r2["text", "standard"] > r2["number", "standard"] > r2["mean", "–"]
    target = df["price"].to_numpy()
    for key, row in found.table.set_index(["modalities", "loss"]).iterrows():
        errors = found.predictions[key][:, 0]
        assert row["r2_low"] < row["r2"] < row["r2_high"] or key[0] == "mean"
        assert errors.shape == target.shape


@pytest.mark.parametrize("tuned", [False, True])
def test_its_models_are_those_of_pipelines_of_their_own(tiny_bert, tuned, monkeypatch):
    """What the fits share of the rows, of towers and of graphs changes nothing."""
    taken, real = [], encoding.fingerprint
    monkeypatch.setattr(encoding, "fingerprint", lambda *models: taken.append(1) or real(*models))
    bert = mm.Text("note", encoder=str(tiny_bert), name="bert", pooling="mean", trainable=1 if tuned else False)
    modalities, task = [bert] if tuned else [bert, MODALITIES[0]], mm.MultiClass("label")
    fit = {"epochs": 2, "seed": 3, "validation_data": False, "verbose": 0, "fine_tune_epochs": int(tuned)}
    train, test = rows(40), rows(20, seed=1)
    found = mm.ablate(modalities, task, train, test, losses=["standard", "focal"], **fit)
    if not tuned:
        assert len(taken) == 2  # of the tower beside others, and alone; not anew for each loss
    pipe = mm.Pipeline(modalities, task)
    pipe.fit(train, loss="focal", **fit)
    own = found.predictions["bert" if tuned else "all", "focal"]
    np.testing.assert_allclose(pipe.predict(test).to_numpy(), own, atol=1e-6)


def test_settings_are_those_of_fit():
    with pytest.raises(TypeError, match="unexpected keyword argument 'epoch'"):
        mm.ablate(MODALITIES, mm.MultiClass("label"), rows(), epoch=3)


@pytest.mark.parametrize(("settings", "message"), [
    ({"losses": ["hinge"]}, r"`losses` must be some of \['standard', 'weighted', 'focal'\] for MultiClass. Received: \['hinge'\]"),
    ({"class_weight": "balanced"}, r"sets class_weight itself. Received: \['class_weight'\]. Choose `losses`"),
    ({"losses": "hinge"}, r"must be some of .*. Received: \['hinge'\]"),
    ({"test_data": rows(3).assign(label="never")}, r"`test_data` must hold a row that can be judged. Received: none.*'never' \(3 rows\)"),
    ({"folds": 1}, r"`folds` must be an int from 2 to the number of rows \(90\). Received: 1"),
    ({"folds": 60}, r"as many rows as there are folds \(60\). Received: {'(no|yes)': \d+, '(no|yes)': \d+}. Use fewer"),
    ({"loss": "focal"}, r"sets loss itself. Received: \['loss'\]. Choose `losses`"),
    ({"task": mm.Regression("x"), "losses": ["focal"]}, r"some of \['standard'\] for Regression. Received: \['focal'\]"),
    ({"task": mm.MultiClass("label", classes=["yes", "maybe"])}, "only the given `classes`.*Received also: {'no'"),
])  # fmt: skip
def test_what_cannot_work_is_refused_before_training(settings, message):
    with pytest.raises(ValueError, match=message):
        mm.ablate(MODALITIES, **{"task": mm.MultiClass("label"), "df": rows(), **settings})
