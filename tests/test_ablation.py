"""The ablation table: what is trained and judged, on which rows, and what is said of it."""

import numpy as np
import pandas as pd
import pytest

import mmkeras as mm

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
        MODALITIES, mm.MultiClass("label"), df, folds=3, fusion="bilinear", epochs=25, learning_rate=1e-2,
        head={"units": 32, "dropout": 0.0}, cache_dir=tmp_path / "cache",
    )  # fmt: skip
    assert capsys.readouterr().out.count("3 of 3: ") == 9
    assert found.rows == len(df) and found.primary == "macro_f1"
    assert set(zip(found.table["modalities"], found.table["loss"], strict=True)) == {
        *((name, loss) for name in ("all", "text", "number") for loss in ("standard", "class-weighted", "focal")),
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
    assert "data:image/png;base64" in html and "class-weighted" in html


def test_a_judged_row_does_not_touch_what_is_learnt():
    """Changing the targets of the test rows changes no prediction."""
    train, test = rows(60), rows(20, seed=1)
    turned = test.assign(label=np.where(test["label"] == "yes", "no", "yes"))
    settings = {"losses": ["focal"], "epochs": 2, "verbose": 0}
    one, two = (mm.ablate(MODALITIES, mm.MultiClass("label"), train, judged, **settings) for judged in (test, turned))
    for key, values in one.predictions.items():
        np.testing.assert_array_equal(values, two.predictions[key])


def test_rows_of_unknown_classes_are_not_judged():
    train, test = rows(60), rows(20, seed=1)
    test.loc[test.index[:5], "label"] = "never"
    settings = {"losses": ["standard"], "epochs": 1, "verbose": 0}
    found = mm.ablate(MODALITIES[1:], mm.MultiClass("label"), train, test, **settings)
    assert found.rows == 15 and found.notes[0].endswith("count in no metric: {'never': 5}.")


def test_modalities_need_names_that_the_table_can_tell_apart():
    for modalities, message in (
        ([mm.Tabular(numeric=["x"], name="all")], "No modality may be named 'all'"),
        ([], "There must be a modality"),
    ):
        with pytest.raises(ValueError, match=message):
            mm.ablate(modalities, mm.MultiClass("label"), rows())


def test_labels_have_no_class_weights():
    df = mm.samples.movies(60, seed=0)
    modalities = [mm.Tabular(numeric=["budget"], name="money")]
    found = mm.ablate(modalities, mm.MultiLabel("genres"), df, folds=2, epochs=1, verbose=0)
    assert set(found.table["loss"]) == {"standard", "focal", "–"} and set(found.table["modalities"]) >= {"money"}
    assert "all" not in set(found.table["modalities"])  # one modality: all is the same


@pytest.mark.parametrize(("settings", "message"), [
    ({"losses": ["hinge"]}, r"`losses` must be some of \['standard', 'class-weighted', 'focal'\]. Received: \['hinge'\]"),
    ({"class_weight": "balanced"}, r"sets class_weight and loss itself. Received: \['class_weight'\]. Choose `losses`"),
    ({"losses": "hinge"}, r"must be some of .*. Received: \['hinge'\]"),
    ({"test_data": rows(3).assign(label="never")}, r"No row of `test_data` has a class of \['no', 'yes'\]"),
    ({"folds": 1}, r"`folds` must be an int from 2 to the number of rows \(90\). Received: 1"),
    ({"folds": 60}, r"as many rows as there are folds \(60\). Received: {'no': \d+, 'yes': \d+}. Use fewer folds"),
    ({"task": mm.Regression("x")}, "compares losses of classes. Received the task: Regression"),
    ({"task": mm.MultiClass("label", classes=["yes", "maybe"])}, "only the given `classes`.*Received also: {'no'"),
])  # fmt: skip
def test_what_cannot_work_is_refused_before_training(settings, message):
    with pytest.raises(ValueError, match=message):
        mm.ablate(MODALITIES, **{"task": mm.MultiClass("label"), "df": rows(), **settings})
