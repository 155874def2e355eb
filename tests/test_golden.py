"""What version 0.1.0 predicted, reported, served, saved and cached, which later versions must do alike.

The files in golden/ were written by `make_golden.py`, which takes Pipelines and facts from here.
"""

import functools
import json
import pathlib
import shutil
import tempfile

import keras
import keras_hub
import lmdb
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import mmkeras as mm

GOLDEN = pathlib.Path(__file__).parent / "golden"
SHOWN = 8  # evaluated rows whose predictions are kept
FIT = {"epochs": 4, "batch_size": 16, "seed": 0, "learning_rate": 5e-3, "verbose": 0}
SMALL = {"encode_engine": "tensorflow", "units": 16}


# === The four Pipelines ===


def genres(folder):
    """(Pipeline, training rows, rows to evaluate, settings of `fit`) of films."""
    modalities = [
        mm.Text("overview", encoder="lexical", sequence_length=8),
        mm.Tabular(
            numeric=["budget", "popularity", "revenue", "runtime"],
            datetime="release_date",
            zero_is_missing=["budget", "revenue"],
        ),
    ]
    pipe = mm.Pipeline(modalities, mm.MultiLabel("genres"), "hybrid", dropout=0.5, depth=1, **SMALL)
    return pipe, *mm.split_frame(mm.samples.movies(120, seed=0), 0.25, seed=0), FIT


def entailment(folder):
    """The same of pairs of posts with pictures."""
    modalities = [
        mm.Text(["text_1", "text_2"], encoder="lexical", sequence_length=10),
        mm.Image(["image_1", "image_2"], encoder="scratch", image_size=(32, 32)),
    ]
    pipe = mm.Pipeline(modalities, mm.MultiClass("label"), "concat", dropout=0.1, **SMALL)
    df = mm.samples.entailment(64, 0, folder)
    return pipe, *mm.split_frame(df, 0.25, seed=0), {**FIT, "epochs": 4, "class_weight": "balanced"}


def price(folder):
    """The same of offers."""
    modalities = [
        mm.Text("description", encoder="lexical", sequence_length=8, name="words"),
        mm.Tabular(numeric=["size_cm", "age_years"], categorical="brand", datetime="posted"),
    ]
    pipe = mm.Pipeline(modalities, mm.Regression("price", transform="none"), "gated", dropout=0.5, depth=1, **SMALL)
    return pipe, *mm.split_frame(mm.samples.listings(120, 0, folder), 0.25, seed=0), FIT


def captions(folder):
    """The same of drawn scenes with several sentences each."""
    image = mm.Image("image", encoder="scratch", image_size=(32, 32), pooling=None, augment=False)
    task = mm.Caption("caption", sequence_length=20, min_count=2, decoding={"method": "beam", "beam_width": 2})
    pipe = mm.Pipeline([image], task, encode_engine="tensorflow", width=16, heads=2, dropout=0.0)
    df = mm.samples.captions(28, 0, folder, size=32)
    number = df["image"].factorize()[0]
    train = df[number < 20].groupby("image").head(4)
    settings = {"epochs": 6, "batch_size": 4, "learning_rate": 2e-2, "weight_decay": 0.01, "validation_data": 0.1}
    return pipe, train, df[number >= 20], {**FIT, **settings}


TASKS = {"genres": genres, "entailment": entailment, "price": price, "captions": captions}


# === What is kept of them ===


def plain(frame):
    """A DataFrame as plain values, None for NaN."""
    values = [[None if value != value else value for value in row] for row in frame.to_numpy(dtype=object).tolist()]
    return {"index": frame.index.tolist(), "columns": frame.columns.tolist(), "values": values}


def frame_of(stored):
    """The DataFrame of which `plain` made the values."""
    frame = pd.DataFrame(stored["values"], stored["index"], stored["columns"])
    return frame.apply(lambda column: column if column.map(type).eq(str).any() else column.astype(float))


def rows_to_show(pipe, test):
    """The first evaluated rows, one for each image of captions, without columns that nothing reads."""
    columns = [column for modality in pipe.modalities for column in modality.all_columns]
    rows = test.drop_duplicates("image") if isinstance(pipe.task, mm.Caption) else test
    return rows[[*dict.fromkeys(columns), pipe.task.column]].head(SHOWN)


def serve(folder, rows):
    """{output: list} of an exported SavedModel for raw rows."""
    info = json.loads((folder / "assets.extra" / "mmkeras.json").read_text(encoding="utf-8"))
    tensors = {}
    for column, spec in info["inputs"].items():
        if spec["dtype"] == "string":
            cells = ["" if pd.isna(cell) else str(cell) for cell in rows[column]]
            if column.startswith("image"):
                cells = [pathlib.Path(cell).read_bytes() if cell else b"" for cell in cells]
            tensors[spec["name"]] = tf.constant(cells)
        else:
            tensors[spec["name"]] = tf.constant(rows[column].to_numpy("float32"))
    outputs = tf.saved_model.load(str(folder)).signatures["serve"](**tensors)
    found = {name: value.numpy().tolist() for name, value in outputs.items()}
    return {name: [v.decode() if isinstance(v, bytes) else v for v in values] for name, values in found.items()}


def learn(name, folder):
    """Fit one of the Pipelines. Returns (Pipeline, rows to show, facts)."""
    pipe, train, test, settings = TASKS[name](folder / "images")
    history = pipe.fit(train, **settings)
    rows = rows_to_show(pipe, test)
    report = pipe.evaluate(test)
    pipe.export(folder / "served")
    labels = pipe.predict_labels(rows)
    facts = {
        "predictions": plain(pipe.predict(rows)),
        "labels": labels.tolist(),
        "thresholds": None if pipe.thresholds is None else pipe.thresholds.tolist(),
        "report": plain(report.to_frame()),
        "history": {key: [float(value) for value in values] for key, values in history.history.items()},
        "served": serve(folder / "served", rows),
    }
    return pipe, rows, facts


@functools.cache
def learnt(name):
    """Facts of a Pipeline of today, fitted once."""
    with tempfile.TemporaryDirectory() as folder:
        return learn(name, pathlib.Path(folder))[2]


def stored_facts(name):
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


def stored_pipeline(name, folder):
    """A Pipeline as version 0.1.0 saved it."""
    shutil.unpack_archive(GOLDEN / "saved" / f"{name}.tar.xz", folder / name, filter="data")
    return mm.load(folder / name)


def judge(name, folder):
    """Facts of a saved Pipeline, on the rows that are kept with it."""
    pipe, rows = stored_pipeline(name, folder), stored_rows(name)
    return {
        "predictions": plain(pipe.predict(rows)),
        "labels": pipe.predict_labels(rows).tolist(),
        "thresholds": None if pipe.thresholds is None else pipe.thresholds.tolist(),
        "report": plain(pipe.evaluate(rows).to_frame()),
    }


def stored_rows(name):
    """The rows that are kept with a saved Pipeline, with paths of images as they are on this machine."""
    rows = pd.read_csv(GOLDEN / "saved" / f"{name}.csv", index_col=0)
    for column in [column for column in rows.columns if column.startswith("image")]:
        rows[column] = [cell if pd.isna(cell) else str(GOLDEN / "saved" / cell) for cell in rows[column]]
    return rows


# === Keys of cached features ===


def noise(model, seed):
    """Give a model weights that are the same in every process."""
    rng = np.random.default_rng(seed)
    shapes = [weight.shape for weight in model.weights]
    model.set_weights([rng.uniform(0.05, 0.3, shape).astype("float32") for shape in shapes])
    return model


def text_tower(folder):
    """The directory of a tiny BERT as a KerasHub preset."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", "a##", "##a", "##e", "##n"]
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=len(words), num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16, max_sequence_length=32
    )
    noise(backbone, 1).save_to_preset(str(folder))
    keras_hub.tokenizers.BertTokenizer(vocabulary=words, lowercase=True).save_to_preset(str(folder))
    return folder


def image_tower(file):
    """A file of weights for MobileNetV2."""
    network = keras.applications.MobileNetV2(input_shape=(32, 32, 3), include_top=False, weights=None)
    noise(network, 2).save_weights(file)
    return file


def towers(folder):
    """{name: (modality with a frozen tower, three rows)}."""
    texts = pd.DataFrame({"one": ["a tale of an inn", "", "Zen"], "two": ["an ape", "a pen", "nine"]})
    files = sorted((GOLDEN / "saved" / "entailment_images").iterdir())
    images = pd.DataFrame({"one": [str(files[0]), files[1].read_bytes(), ""]})
    preset, weights = text_tower(folder / "preset"), image_tower(folder / "mobile.weights.h5")
    return {
        "text": (mm.Text("one", preset, sequence_length=16, pooling="mean"), texts),
        "pair": (mm.Text(["one", "two"], preset, sequence_length=16, pooling=None, layers=2), texts),
        "image": (mm.Image("one", "MobileNetV2", weights, (32, 32)), images),
    }


def keys_of(modality, df, folder):
    """Keys under which the features of the rows of `df` are stored: the fingerprint, and sorted digests of the rows."""
    pipe = mm.Pipeline([modality], mm.Regression("y"), **SMALL)
    cache = folder / "cache"
    pipe.fit(df.assign(y=range(len(df))), validation_data=False, epochs=1, verbose=0, cache_dir=cache)
    copy = shutil.copytree(cache, folder / "copy")  # a process must not open a store twice
    with lmdb.open(str(copy), readonly=True, lock=False) as store, store.begin() as transaction:
        keys = [bytes(key) for key, _ in transaction.cursor() if not bytes(key).startswith(b"tower:")]
    fingerprints = {key[:16].hex() for key in keys}
    assert len(fingerprints) == 1
    return {"fingerprint": fingerprints.pop(), "rows": sorted(key[16:].hex() for key in keys)}


def all_keys(folder):
    """The keys of all `towers`, and the versions on which fingerprints depend."""
    found = {"versions": {"keras": keras.__version__, "keras_hub": keras_hub.__version__}}
    for name, (modality, df) in towers(folder).items():
        (folder / name).mkdir()
        found[name] = keys_of(modality, df, folder / name)
    return found


# === Tests ===


def assert_alike(found, stored, atol, rtol=0.0, score=None):
    """Two DataFrames have the same labels, the same words and nearly the same numbers."""
    assert found.columns.tolist() == stored.columns.tolist()
    assert sorted(found.index) == sorted(stored.index)
    found = found.loc[stored.index]
    for column in stored:
        if stored[column].map(type).eq(str).any():
            assert found[column].tolist() == stored[column].tolist()
        else:
            near = score if column == "score" and score is not None else atol
            values = found[column].to_numpy(float), stored[column].to_numpy(float)
            np.testing.assert_allclose(*values, atol=near, rtol=rtol, err_msg=str(column))


every_task = pytest.mark.parametrize("name", TASKS)


def without_later_scores(found, stored):
    """A report without the scores that 0.1.0 had not: METEOR, where nltk is installed."""
    return found.drop(columns=[column for column in found if column == "meteor" and column not in stored])


@every_task
def test_the_same_rows_and_seed_give_the_same_predictions(name):
    found, stored = learnt(name), stored_facts(name)
    frames = frame_of(found["predictions"]), frame_of(stored["predictions"])
    assert_alike(*frames, atol=2e-3, rtol=2e-4, score=2e-2)
    if name == "price":
        np.testing.assert_allclose(found["labels"], stored["labels"], atol=2e-3, rtol=2e-4)
    else:
        assert found["labels"] == stored["labels"]
    if stored["thresholds"] is None:
        assert found["thresholds"] is None
    else:
        np.testing.assert_allclose(found["thresholds"], stored["thresholds"], atol=5e-3)


@every_task
def test_the_report_is_the_same(name):
    found, stored = frame_of(learnt(name)["report"]), frame_of(stored_facts(name)["report"])
    assert set(found.index) - set(stored.index) <= {"boosted trees"}  # a rival that came later
    assert_alike(without_later_scores(found.loc[stored.index], stored), stored, atol=5e-3, rtol=2e-4)


@every_task
def test_the_history_has_the_same_keys_and_losses(name):
    found, stored = learnt(name)["history"], stored_facts(name)["history"]
    assert set(stored) <= set(found)
    np.testing.assert_allclose(found["loss"], stored["loss"], rtol=2e-3)


@every_task
def test_the_served_model_answers_as_predict_does(name):
    facts = learnt(name)
    served, predicted = facts["served"], frame_of(facts["predictions"])
    assert set(served) == set(stored_facts(name)["served"])
    if name == "captions":
        assert served["caption"] == predicted["caption"].tolist()
        np.testing.assert_allclose(served["score"], predicted["score"], atol=1e-5, rtol=1e-5)
    else:
        (values,) = served.values()
        np.testing.assert_allclose(values, predicted.to_numpy(), atol=1e-5, rtol=1e-6)


@every_task
def test_a_saved_pipeline_still_loads_and_answers_the_same(name, tmp_path):
    found, stored = judge(name, tmp_path), stored_facts(name)["saved"]
    assert_alike(frame_of(found["predictions"]), frame_of(stored["predictions"]), atol=1e-5, rtol=1e-5)
    assert found["labels"] == (pytest.approx(stored["labels"], rel=1e-5) if name == "price" else stored["labels"])
    assert found["thresholds"] == stored["thresholds"]
    assert len(stored["report"]["index"]) > 2  # baselines, too
    report, kept = frame_of(found["report"]), frame_of(stored["report"])
    assert_alike(without_later_scores(report, kept), kept, atol=1e-4, rtol=1e-4)


def test_cached_features_are_found_under_the_same_keys(tmp_path):
    stored = json.loads((GOLDEN / "keys.json").read_text(encoding="utf-8"))
    found = all_keys(tmp_path)
    assert {name: keys["rows"] for name, keys in found.items() if name != "versions"} == {
        name: keys["rows"] for name, keys in stored.items() if name != "versions"
    }
    if found["versions"] != stored["versions"]:
        pytest.skip(f"Fingerprints were made with {stored['versions']}")  # layers of other versions have other settings
    assert found == stored
