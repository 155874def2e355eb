"""The command line, as a person would use it."""

import ast
import io
import pathlib
import re
import subprocess
import sys
import types
import warnings

import numpy as np
import pandas as pd
import pytest

import mmkeras as mm
from mmkeras.__main__ import main
from mmkeras.cli import commands, options, predictions
from mmkeras.data.tables import read_table
from mmkeras.fusion import Fusion
from mmkeras.modalities.base import Modality
from mmkeras.registry import names, subclasses
from mmkeras.tasks.base import Task
from mmkeras.trunk import store as features


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    mm.samples.movies(240, seed=1).to_csv(folder / "movies.csv", index=False)
    arguments = (
        f"train --csv {folder}/movies.csv --text overview --numeric budget,popularity,revenue,runtime --labels genres "
        f"--text-encoder lexical --epochs 2 --zero-is-missing budget,revenue --out {folder}/out --cache-dir {folder}/cache"
    )
    assert main(arguments.split()) == 0
    return folder


def test_train_writes_model_report_and_served_model(trained):
    assert (trained / "out" / "model" / "pipeline.json").is_file()
    assert (trained / "out" / "served" / "saved_model.pb").is_file()
    assert (trained / "out" / "report.html").is_file()


def test_predict_writes_a_csv(trained, capsys):
    assert main(["predict", f"{trained}/out", "--csv", f"{trained}/movies.csv", "--out", f"{trained}/p.csv"]) == 0
    table = pd.read_csv(trained / "p.csv", index_col=0)
    assert len(table) == 240 and table.columns[0] == "predicted" and "Drama" in table
    assert main(["predict", f"{trained}/out", "--csv", f"{trained}/movies.csv"]) == 0
    assert "predicted" in capsys.readouterr().out


def test_evaluate_prints_the_report(trained, capsys):
    assert main(["evaluate", f"{trained}/out", "--csv", f"{trained}/movies.csv", "--html", f"{trained}/r.html"]) == 0
    assert "TF-IDF" in capsys.readouterr().out and (trained / "r.html").is_file()


def test_export_and_cache(trained, capsys):
    assert main(["export", f"{trained}/out", "--out", f"{trained}/again"]) == 0
    assert (trained / "again" / "saved_model.pb").is_file()
    line = capsys.readouterr().out.splitlines()[-1]
    assert all(word in line for word in ("'overview': ", "'budget': ", f"{trained}/again"))
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("{'genres': <tf.Tensor"), done.stderr
    assert main(["cache", "info", "--cache-dir", f"{trained}/cache"]) == 0
    assert main(["cache", "clear", "--cache-dir", f"{trained}/cache"]) == 0
    assert main(["cache", "info", "--cache-dir", f"{trained}/cache"]) == 0
    assert "is empty" in capsys.readouterr().out
    features.open_store(trained / "unused").close()
    assert main(["cache", "info", "--cache-dir", f"{trained}/unused"]) == 0
    assert "is empty: only frozen pretrained towers fill it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("predict nowhere --csv nothing.csv", "no folder 'nowhere'"),
        ("train --csv nothing.csv --labels genres --text overview --out out", "no file 'nothing.csv'"),
        ("train --csv {csv} --labels genre --text overview --out out", "Did you mean 'genres'"),
        ("train --csv {csv} --labels genres --out out", "Give columns to read"),
        ("train --csv {csv} --text overview --out out", "Give exactly one of --"),
        ("train --csv {csv} --labels genres --text overview --text-encoder ./gone --out out", "does not exist"),
        ("train --csv {csv} --labels genres --text overview --trainable some --out out", "none, all, lora or a number"),
    ],
)
def test_mistakes_get_a_sentence_not_a_traceback(trained, capsys, arguments, message):
    assert main(arguments.format(csv=trained / "movies.csv").split()) == 2
    captured = capsys.readouterr()
    assert message in captured.err and "Traceback" not in captured.err


def test_train_on_images_with_rare_classes(tmp_path, capsys):
    df = mm.samples.entailment(60, 0, tmp_path / "images")
    df.to_csv(tmp_path / "posts.csv", index=False)
    arguments = (
        f"train --csv {tmp_path}/posts.csv --text text_2 --text-encoder lexical --image image_1 --image-encoder scratch "
        f"--label label --fusion bilinear --modality-dropout 0.1 --class-weight balanced --loss focal --epochs 1 "
        f"--out {tmp_path}/out --cache-dir {tmp_path}/cache"
    )
    assert main(arguments.split()) == 0
    assert "True classes (down)" in capsys.readouterr().out
    assert main(["predict", f"{tmp_path}/out", "--csv", f"{tmp_path}/posts.csv", "--out", f"{tmp_path}/p.csv"]) == 0
    table = pd.read_csv(tmp_path / "p.csv", index_col=0)
    assert table.columns.tolist() == ["predicted", *sorted(set(df["label"]))]
    assert (table["predicted"] == table.drop(columns="predicted").idxmax(axis=1)).all()


def test_quickstart_runs_all_tasks_and_links_their_reports(tmp_path, capsys):
    out = tmp_path / "q"
    assert main(["quickstart", "--out", str(out), "--rows", "60"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("Beside its baselines") == 5 and printed.count("  predicted:") == 15
    assert "image alone" in printed and "text alone" in printed and "all right in" in printed
    tasks = ("genre", "entailment", "captions", "retrieval", "sound")
    for task in tasks:
        assert all((out / task / name).exists() for name in ("model", "served", "report.html"))
    page = (out / "index.html").read_text(encoding="utf-8")
    links = re.findall("href='([^']+)'", page)
    assert links == [f"{task}/report.html" for task in tasks]
    assert all((out / link).is_file() for link in links) and str(tmp_path) not in re.sub("<td.*?</td>", "", page)
    assert len(list((out / "entailment" / "images").iterdir())) > 100
    hits = re.findall(r"\n  -?[01]\.\d\d  (.*), of which was said: (.*)", printed)
    assert len(hits) == 9 and all(pathlib.Path(path).is_file() for path, _ in hits)
    named = re.search(r"By words alone, \d+ of (\d+) pictures of these are named right, among (\d+) names", printed)
    df = mm.samples.captions(60, seed=0, directory=out / "retrieval" / "images", groups=1).drop_duplicates("image")
    kinds = df["colours"] + " " + df["shapes"]
    unseen = kinds.isin(["red star", "yellow square", "green circle", "blue triangle"])
    assert list(map(int, named.groups())) == [unseen.sum(), kinds.nunique()]
    page = (out / "retrieval" / "report.html").read_text(encoding="utf-8")
    assert page[page.index("Queries that found theirs") :].count("<img") > 20
    captions = out / "captions"
    image = str(next((captions / "images").iterdir()))
    assert (captions / "attention.png").is_file()
    assert main(["caption", str(captions), image, "--method", "greedy"]) == 0
    assert capsys.readouterr().out.startswith(f"{image}: ")
    assert main(["caption", str(captions), "none.jpg"]) == 2
    assert "none.jpg" in capsys.readouterr().err


def test_quickstart_answers_questions(tmp_path, capsys):
    out = tmp_path / "q"
    assert main(["quickstart", "--task", "answers", "--out", str(out), "--rows", "40"]) == 0
    printed = capsys.readouterr().out
    assert "question alone" in printed and "relation" in printed and printed.count("? ") >= 5
    assert all((out / name).exists() for name in ("seeing.keras", "model", "served", "report.html"))
    image = str(next((out / "images").iterdir()))
    assert main(["answer", str(out), image, "Is there a red star?"]) == 0
    assert capsys.readouterr().out.startswith("Is there a red star? ")


def test_quickstart_refuses_rows_that_cannot_be(tmp_path, capsys):
    assert main(["quickstart", "--task", "entailment", "--out", str(tmp_path / "q"), "--rows", "0"]) == 2
    assert "`n` must be a positive int" in capsys.readouterr().err


def test_search_writes_what_train_writes_and_its_trail(trained, tmp_path, capsys):
    arguments = (
        f"search --csv {trained}/movies.csv --text overview --text-encoder lexical --numeric runtime --labels genres --trials 1 "
        f"--out {tmp_path}/out --cache-dir {trained}/cache --space"
    )
    assert main([*arguments.split(), '{"epochs": 1, "units": 8, "modalities": ["tabular"]}']) == 0
    printed = capsys.readouterr().out
    assert "Trial 1 of 1" in printed and "Chosen as the best of 1 trials" in printed
    assert all(
        (tmp_path / "out" / name).exists() for name in ("model", "served", "report.html", "trail.html", "search")
    )
    assert main([*arguments.split(), '{"fusion": "magic"}']) == 2
    assert "must hold values among" in capsys.readouterr().err


def test_help_tells_defaults_and_the_share_is_checked(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "passes over the training rows (default: 12)" in text and "default: None" not in text
    assert main(["train", "--csv", "x.csv", "--labels", "g", "--out", "o", "--test-share", "2"]) == 2
    assert "--test-share must lie between 0 and 1. Received: 2.0" in capsys.readouterr().err


# === Options ===


def test_options_are_those_that_tasks_modalities_and_fusions_offer(capsys):
    for command in ("train", "search"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        text = " ".join(capsys.readouterr().out.split())
        ours = [cls for cls in subclasses(Task) if cls.__module__.startswith("mmkeras.") and vars(cls).get("option")]
        assert {cls.option for cls in ours} == {"labels", "label", "number", "caption", "answer"}
        for cls in ours:
            assert f"--{cls.option} {cls.option.upper()} {cls.option_help}" in text
        for option in ("text", "text-encoder", "image", "image-weights", "numeric", "datetime", "zero-is-missing"):
            assert text.count(f"[--{option} ") == 1
        assert ("--trainable" in text) == (command == "train")
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = capsys.readouterr().out.replace("\n", "").replace(" ", "")
    assert f"--fusion{{{','.join(names(Fusion)).replace(' ', '')}}}" in text and "focal" in text and "weighted" in text


def test_the_command_line_names_no_class():
    known = {cls.__name__ for base in (Task, Modality, Fusion) for cls in subclasses(base)}
    for name in ("options", "offers", "commands", "use"):
        path = pathlib.Path(commands.__file__).with_name(f"{name}.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = getattr(node, "id", None) or getattr(node, "attr", None)
            assert named not in known and named != "kind", f"{name}.py names {named}"


# === Before TensorFlow is loaded ===

LIGHT = """
import sys

sys.argv = ["/usr/bin/mmkeras", *sys.argv[1:]]
from mmkeras.__main__ import main

commands = ["quickstart", "suggest", "train", "search", "predict", "caption", "evaluate", "export", "serve", "cache"]
helps = [[command, "--help"] for command in commands]
mistakes = [["trian"], ["train", "--colour", "x"], ["train"], ["cache", "burn"], ["train", "--csv", "x", "--fusion", "x"]]
codes = []
for arguments in ([], ["--version"], ["--help"], *helps, *mistakes):
    try:
        codes.append(main(arguments))
    except SystemExit as end:
        codes.append(end.code)
print(codes, {"tensorflow", "keras", "pandas", "numpy"} & set(sys.modules))
"""


def fresh(*arguments):
    """A process of its own, that has loaded nothing."""
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True)


def test_help_version_and_errors_of_usage_load_nothing_heavy():
    run = fresh("-c", LIGHT)
    assert run.stdout.splitlines()[-1] == f"{[0] * 13 + [2] * 5} set()", run.stderr
    assert f"\nmmkeras {mm.__version__}\n" in run.stdout and "invalid choice: 'trian'" in run.stderr
    run = fresh("-X", "importtime", "-m", "mmkeras", "--version")
    assert run.stdout == f"mmkeras {mm.__version__}\n" and "mmkeras.cli.options" in run.stderr
    assert not re.search(r"\b(tensorflow|keras|pandas|numpy)$", run.stderr, re.MULTILINE)


def test_the_table_of_options_is_what_classes_offer():
    run = fresh("-m", "mmkeras.cli.offers")
    assert run.stdout == options.TABLE.read_text(encoding="utf-8"), (
        "python -m mmkeras.cli.offers writes mmkeras/cli/offers.json"
    )


def test_the_command_loads_the_whole_package_for_a_file_of_ones_own(tmp_path):
    source = (
        "import mmkeras as mm\n\nclass Verdict(mm.Regression):\n    option, option_help = 'verdict', 'to be judged'\n"
    )
    (tmp_path / "lazy_user.py").write_text(
        source + "\nassert mm.search and not hasattr(mm, 'more')\n", encoding="utf-8"
    )
    run = fresh("-m", "mmkeras", "--use", tmp_path / "lazy_user.py", "train", "--help")
    assert (run.returncode, run.stderr) == (0, "") and "to be judged" in run.stdout
    run = fresh("-m", "mmkeras", "cache", "info", "--cache-dir", tmp_path)
    assert (run.returncode, run.stderr) == (0, "") and "no feature cache" in run.stdout


@pytest.fixture
def sales(tmp_path):
    """Two classes that the size tells apart, several rows of each shop, a day of each row, and a weight of 0 for "b"."""
    rng = np.random.default_rng(0)
    label = rng.choice(["a", "b"], 90)
    df = pd.DataFrame(
        {
            "label": label,
            "size": (label == "b") + rng.normal(0, 0.1, 90),
            "colour": rng.choice(["red", "blue"], 90),
            "shop": rng.choice([f"shop {number}" for number in range(12)], 90),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.permutation(90), unit="D"),
            "weight": np.where(label == "b", 0, 1),
        }
    )
    df.to_csv(tmp_path / "sales.csv", index=False)
    return tmp_path


def train(folder, *more, target="--label label", epochs=1):
    arguments = (
        f"train --csv {folder}/sales.csv {target} --epochs {epochs} --out {folder}/out --cache-dir {folder}/cache"
    )
    return main([*arguments.split(), *more])


@pytest.fixture
def judged(monkeypatch):
    """The rows that a command would judge by; it neither trains nor writes."""
    rows = []
    monkeypatch.setattr(mm.Pipeline, "fit", lambda pipe, df, **settings: rows.append(df))
    monkeypatch.setattr(commands, "finish", lambda pipe, df, *more: rows.append(df))
    return rows


def test_sample_weight_is_heeded(sales, capsys):
    size = ["--numeric", "size", "--batch-size", "8", "--learning-rate", "0.01"]
    assert train(sales, *size, "--sample-weight", "weight", epochs=20) == 0
    assert main(["predict", f"{sales}/out", "--csv", f"{sales}/sales.csv", "--out", f"{sales}/p.csv"]) == 0
    assert (pd.read_csv(sales / "p.csv")["predicted"] == "a").mean() > 0.9
    assert train(sales, *size, epochs=20) == 0
    assert main(["predict", f"{sales}/out", "--csv", f"{sales}/sales.csv", "--out", f"{sales}/p.csv"]) == 0
    assert (pd.read_csv(sales / "p.csv")["predicted"] == pd.read_csv(sales / "sales.csv")["label"]).mean() > 0.9
    capsys.readouterr()
    assert train(sales, *size, "--sample-weight", "wheight") == 2
    assert "Did you mean 'weight'" in capsys.readouterr().err


def test_rows_are_split_by_groups_or_by_time(sales, judged, capsys):
    df = pd.read_csv(sales / "sales.csv")
    assert train(sales, "--numeric", "size", "--split-by", "shop") == 0
    learnt, test = judged
    assert not set(learnt["shop"]) & set(test["shop"]) and len(learnt) + len(test) == 90
    judged.clear()
    assert train(sales, "--numeric", "size", "--split-time", "day", "--test-share", "0.3") == 0
    assert sorted(judged[1]["day"]) == sorted(df["day"])[-27:]
    judged.clear()
    assert train(sales, "--numeric", "size", "--split-by", "shop,colour") == 0
    pairs = [set(rows["shop"] + rows["colour"]) for rows in judged]
    assert not pairs[0] & pairs[1]
    assert train(sales, "--numeric", "size", "--split-by", "shop", "--split-time", "day") == 2
    assert "by groups or by time" in capsys.readouterr().err


def test_evaluate_scores_groups_and_subsets_of_modalities(sales, capsys):
    assert train(sales, "--numeric", "size", "--text", "colour", "--text-encoder", "lexical") == 0
    capsys.readouterr()
    page = sales / "report.html"
    given = ["evaluate", f"{sales}/out", "--csv", f"{sales}/sales.csv"]
    assert main([*given, "--by", "colour", "--missing", "--html", str(page)]) == 0
    printed = capsys.readouterr().out
    assert "By colour" in printed and re.search(r"^ +red +\d+", printed, re.MULTILINE)
    assert "With only some of the modalities" in printed and re.search("^ +tabular +", printed, re.MULTILINE)
    assert "By colour" in page.read_text(encoding="utf-8")
    assert main([*given, "--by", "color"]) == 2
    assert "Did you mean 'colour'" in capsys.readouterr().err
    assert main(given) == 0
    printed = capsys.readouterr().out
    assert "By colour" not in printed and "With only some" not in printed


def test_losses_are_those_that_the_task_takes(trained, sales, capsys):
    assert train(sales, "--numeric", "size", "--loss", "weighted") == 2
    assert "`loss` must be None, 'focal', or a Keras loss or its name" in capsys.readouterr().err
    arguments = f"train --csv {trained}/movies.csv --numeric runtime --labels genres --epochs 1 --out {sales}/l"
    assert main([*arguments.split(), "--loss", "weighted", "--cache-dir", str(sales)]) == 0


def test_rare_labels_are_left_out(trained, tmp_path, capsys, judged):
    df = pd.read_csv(trained / "movies.csv")
    counts = df["genres"].fillna("").str.split("|").explode().value_counts().drop("", errors="ignore")
    least = int(counts.median())
    arguments = f"train --csv {trained}/movies.csv --numeric runtime --labels genres --out {tmp_path}/o"
    tasks = []
    fit = mm.Pipeline.fit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mm.Pipeline, "fit", lambda pipe, df, **settings: tasks.append(pipe.task) or fit(pipe, df))
        assert main([*arguments.split(), "--min-label-rows", str(least)]) == 0
    frequent = sorted(counts.index[counts >= least])
    assert list(tasks[0].classes) == frequent and 0 < len(frequent) < len(counts)
    assert f"{len(frequent)} of {len(counts)} labels have at least {least} rows." in capsys.readouterr().out


def test_captions_of_an_image_stay_together_and_settings_of_other_heads_are_refused(tmp_path, judged, capsys):
    mm.samples.captions(20, 0, tmp_path / "scenes", size=32).to_csv(tmp_path / "scenes.csv", index=False)
    arguments = (
        f"train --csv {tmp_path}/scenes.csv --image image --image-encoder scratch --caption caption --out {tmp_path}/o"
    )
    assert main(arguments.split()) == 0
    learnt, test = judged
    assert (len(learnt), len(test)) == (16, 4) and not set(learnt["image"]) & set(test["image"])
    assert len(learnt["caption"].iloc[0]) > 1
    assert main([*arguments.split(), "--fusion", "gated"]) == 2
    assert "A head for Caption" in capsys.readouterr().err
    assert main([*arguments.split(), "--modality-dropout", "0.1"]) == 2
    assert "A head for Caption" in capsys.readouterr().err


def test_decisions_stand_first_unless_the_predictions_are_decisions(sales, capsys):
    assert train(sales, "--text", "colour", "--text-encoder", "lexical", target="--number size") == 0
    assert main(["predict", f"{sales}/out", "--csv", f"{sales}/sales.csv", "--out", f"{sales}/p.csv"]) == 0
    assert pd.read_csv(sales / "p.csv", index_col=0).columns.tolist() == ["size"]
    df = pd.read_csv(sales / "sales.csv")
    df["label"] = df["label"].map({"a": "label", "b": "predicted"})
    df.to_csv(sales / "sales.csv", index=False)
    assert train(sales, "--numeric", "size", epochs=10) == 0
    assert main(["predict", f"{sales}/out", "--csv", f"{sales}/sales.csv", "--out", f"{sales}/p.csv"]) == 0
    table = pd.read_csv(sales / "p.csv", index_col=0, header=None, skiprows=1)
    assert set(table[1]) <= {"label", "predicted"} and np.allclose(table[2] + table[3], 1, atol=1e-5)


def test_captions_are_predicted_as_they_are(tmp_path):
    df = mm.samples.captions(16, 0, tmp_path / "scenes", size=32)
    df.to_csv(tmp_path / "scenes.csv", index=False)
    image = mm.Image("image", encoder="scratch", image_size=(32, 32), pooling=None, augment=False)
    task = mm.Caption("caption", sequence_length=12, decoding={"method": "greedy"})
    pipe = mm.Pipeline([image], task, width=8)
    pipe.fit(df, epochs=1, verbose=0, validation_data=False)
    pipe.save(tmp_path / "model")
    assert main(["predict", f"{tmp_path}/model", "--csv", f"{tmp_path}/scenes.csv", "--out", f"{tmp_path}/p.csv"]) == 0
    assert pd.read_csv(tmp_path / "p.csv", index_col=0).columns.tolist() == ["caption", "score"]


# === Predictions part by part ===


def fits(decide=None, told=""):
    """What `write_predictions` reads of a fitted model: it predicts half of a column "x"."""

    def predict(df, keep):
        assert len(df) <= predictions.BLOCK and not keep
        if told:
            warnings.warn(told.format(len(df)), stacklevel=1)
        return pd.to_numeric(df["x"]).to_numpy("float64")[:, None] / 2

    task = types.SimpleNamespace(
        column="half",
        frame=lambda values, index: pd.DataFrame(values, index, ["half"]),
        decide=decide or (lambda values: values[:, 0].tolist()),
    )
    return types.SimpleNamespace(predict=predict, task=task, trunk=types.SimpleNamespace(modalities=[]))


def rows_of(count):
    return pd.DataFrame({"x": np.arange(count), "note": ["007", "", "nan", "x,y"] * (count // 4)})


def write(df, out, rows, fitted=None):
    """Write predictions of a table that comes in parts."""
    parts = [(df.iloc[start : start + rows], 0.5) for start in range(0, max(len(df), 1), rows)]
    return predictions.write_predictions(fitted or fits(), lambda: iter(parts), str(out))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_predictions_do_not_depend_on_the_parts(tmp_path, ending):
    if ending == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    df = rows_of(5000)
    for rows in (1, 700, 1024, 5000):
        if ending == "csv" or rows > 1:
            assert write(df, tmp_path / f"{rows}.{ending}", rows) == 5000
    written = {path.read_bytes() for path in tmp_path.iterdir()}
    assert len(written) == 1
    if ending == "csv":
        assert written == {(df[["x"]] / 2).set_axis(["half"], axis=1).to_csv().encode()}
    else:
        table = pd.read_parquet(tmp_path / "700.parquet")
        assert table.index.equals(pd.RangeIndex(5000)) and (table["half"] == df["x"] / 2).all()


def test_blocks_are_as_large_from_parts_of_any_size():
    df = rows_of(1000)
    for sizes in ([1000], [3] * 332 + [4], [0, 512, 0, 488], [999, 1]):
        ends = np.cumsum(sizes)
        parts = [(df.iloc[end - size : end], 0.0) for size, end in zip(sizes, ends, strict=True)]
        made = [block for block, _ in predictions.blocks(parts, 64)]
        assert [len(block) for block in made] == [64] * 15 + [40] and pd.concat(made).equals(df)
    assert [len(block) for block, _ in predictions.blocks([(df.head(0), 1.0)])] == [0]


def test_decisions_that_differ_in_late_rows_only_stand_in_all(tmp_path):
    clipped = fits(lambda values: np.minimum(values[:, 0], 2000).tolist())
    for rows in (500, 5000):
        write(rows_of(5000), tmp_path / f"{rows}.csv", rows, clipped)
    table = pd.read_csv(tmp_path / "500.csv", index_col=0)
    assert table.columns.tolist() == ["predicted", "half"] and table["predicted"].max() == 2000 and len(table) == 5000
    assert (tmp_path / "500.csv").read_bytes() == (tmp_path / "5000.csv").read_bytes()


def test_cells_of_decisions_are_written_each_for_itself(tmp_path):
    few = fits(lambda values: [None if value > 600 else int(value) for value in values[:, 0]])
    write(rows_of(2048), tmp_path / "p.csv", 2048, few)
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert lines[3] == "2,1,1.0" and lines[-1] == "2047,,1023.5"


@pytest.mark.parametrize("error", [ValueError("row 3000"), KeyboardInterrupt()])
def test_a_run_that_ends_early_leaves_an_older_output(tmp_path, error):
    (tmp_path / "p.csv").write_text("older")

    def parts():
        yield rows_of(2048), 0.5
        assert len(list(tmp_path.iterdir())) == 2 and (tmp_path / "p.csv").read_text() == "older"
        raise error

    with pytest.raises(type(error)):
        predictions.write_predictions(fits(), parts, str(tmp_path / "p.csv"))
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("p.csv", "older")]


def test_warnings_of_a_sort_are_given_once_and_counted(tmp_path):
    told = "Column 'x': {} values are no numbers (for example 'y') and are treated as missing."
    with pytest.warns(UserWarning) as caught:
        write(rows_of(5000), tmp_path / "p.csv", 5000, fits(told=told))
    assert [str(warning.message) for warning in caught] == [
        told.format(1024), "The same was found in further rows, 4 times in blocks of 1,024.",
    ]  # fmt: skip


def test_progress_is_shown_to_a_person(tmp_path, monkeypatch):
    class Screen(io.StringIO):
        def isatty(self):
            return True

    for screen, shown in ((Screen(), ["1,024 rows", "2,048 rows", "5,000 rows"]), (io.StringIO(), [])):
        monkeypatch.setattr(sys, "stderr", screen)
        write(rows_of(5000), tmp_path / "p.csv", 5000)
        assert all(text in screen.getvalue() for text in shown) and bool(shown) == bool(screen.getvalue())


def test_a_file_is_predicted_in_parts_as_in_one(trained, capsys):
    df = pd.concat([mm.samples.movies(240, seed=1)] * 5, ignore_index=True)
    df["budget"] = df["budget"].astype(object)
    df.loc[900:905, "budget"] = ["", "n/a", "007", "1e6", "12,5", "x"]
    df.to_csv(trained / "long.csv", index=False)
    given = ["predict", f"{trained}/out", "--csv", f"{trained}/long.csv", "--out"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of cells that are no numbers
        for rows in ("100", "9999"):
            assert main([*given, f"{trained}/{rows}.csv", "--chunk-rows", rows]) == 0
        whole = mm.load(trained / "out" / "model").predict(read_table(trained / "long.csv"))
    assert (trained / "100.csv").read_bytes() == (trained / "9999.csv").read_bytes()
    table = pd.read_csv(trained / "100.csv", index_col=0)
    np.testing.assert_allclose(table.drop(columns="predicted"), whole, atol=1e-5)
    assert "Wrote 1200 rows" in capsys.readouterr().out
    assert main([*given, f"{trained}/p.csv", "--chunk-rows", "0"]) == 2
    assert "--chunk-rows must be 1 or more" in capsys.readouterr().err
    with open(trained / "long.csv", "a", encoding="utf-8") as file:
        file.write("a,row,too,short\n")
    capsys.readouterr()
    before = sorted(trained.iterdir())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main([*given, f"{trained}/100.csv", "--chunk-rows", "100"]) == 2
    assert "Every row must have as many cells" in capsys.readouterr().err and sorted(trained.iterdir()) == before
    assert main([*given, str(trained)]) == 2
    assert "must be writable" in capsys.readouterr().err


def test_interrupted_commands_say_so_in_one_line(trained, capsys, monkeypatch):
    def interrupt(*args, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "read_parts", interrupt)
    capsys.readouterr()
    assert main(["predict", f"{trained}/out", "--csv", f"{trained}/movies.csv"]) == 130
    assert capsys.readouterr().err == "mmkeras predict: interrupted.\n"


# === Files of one's own ===

TOYS = '''
import dataclasses

import keras
import numpy as np

from mmkeras.data.columns import NumberColumn
from mmkeras.evaluation.rivals import Rival
from mmkeras.fusion import ConcatFusion
from mmkeras.modalities.base import PRESENT, Modality, column_names
from mmkeras.tasks import Regression


@dataclasses.dataclass(frozen=True)
class Verdict(Regression):
    """A number, told as whether it is above the mean."""

    option = "verdict"
    option_help = "target column of numbers to be judged"

    def decide(self, predictions):
        return ["high" if value > self.mean else "low" for value in predictions[:, 0]]

    def read(self, target):
        return self.decide(target.values)


@dataclasses.dataclass(frozen=True)
class Flags(Modality):
    """Columns of 0 and 1."""

    columns: tuple
    name: str = "flags"

    option = "flags"
    option_help = "columns of 0 and 1"

    def __post_init__(self):
        self._set(columns=column_names(self.columns, "`columns`"))

    @property
    def columns_read(self):
        return dict.fromkeys(self.columns, NumberColumn())

    def prepare(self, raw):
        flags = keras.ops.stack([raw[column] for column in self.columns], axis=-1)
        known = keras.ops.cast(keras.ops.logical_not(keras.ops.isnan(flags)), "float32")
        present = keras.ops.max(known, axis=-1, keepdims=True)
        return {f"{self.name}.flags": keras.ops.nan_to_num(flags), f"{self.name}{PRESENT}": present}

    def encode(self, tensors):
        return keras.layers.Dense(4, name=f"{self.name}_dense")(tensors[f"{self.name}.flags"])


class Doubled(ConcatFusion):
    """Features side by side, twice as large."""

    label = "doubled"

    def call(self, features, presence):
        return 2 * super().call(features, presence)


class Median(Rival):
    """The median of the training rows."""

    needs_trunk = False

    def __init__(self, value):
        self.value = value

    @classmethod
    def fit(cls, bench):
        return {"toy median": cls(float(np.median(bench.rows.target.values)))}

    def predict(self, trunk, df):
        return np.full((len(df), 1), self.value)

    def write(self, path):
        return {"value": self.value}

    @classmethod
    def read(cls, path, saved):
        return cls(saved["value"])
'''


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """A folder with a file of one's own and rows for it; what `mmkeras --use` made of them."""
    folder = tmp_path_factory.mktemp("toys")
    (folder / "toys_of_a_user.py").write_text(TOYS, encoding="utf-8")
    rng = np.random.default_rng(0)
    df = pd.DataFrame({"new": rng.choice([0, 1], 60), "sold": rng.choice([0, 1], 60), "size": rng.normal(5, 1, 60)})
    df["price"] = 10 * df["new"] - 3 * df["sold"] + rng.normal(0, 0.1, 60)
    df.to_csv(folder / "rows.csv", index=False)
    arguments = (
        f"--use {folder}/toys_of_a_user.py train --csv {folder}/rows.csv --verdict price --flags new,sold --numeric size "
        f"--fusion doubled --epochs 3 --out {folder}/out --cache-dir {folder}/cache"
    )
    assert main(arguments.split()) == 0
    yield folder
    sys.modules.pop("toys_of_a_user", None)


def test_classes_of_a_file_are_trained_and_reported(toys):
    page = (toys / "out" / "report.html").read_text(encoding="utf-8")
    assert "toy median" in page and "flags alone" in page
    pipe = mm.load(toys / "out" / "model")
    assert type(pipe.task).__module__ == "toys_of_a_user" and pipe.fusion == "doubled"


def test_what_they_predict_stands_first(toys):
    use = ["--use", f"{toys}/toys_of_a_user.py"]
    assert main([*use, "predict", f"{toys}/out", "--csv", f"{toys}/rows.csv", "--out", f"{toys}/p.csv"]) == 0
    table = pd.read_csv(toys / "p.csv", index_col=0)
    assert table.columns.tolist() == ["predicted", "price"] and set(table["predicted"]) <= {"high", "low"}
    assert main([*use, "export", f"{toys}/out", "--out", f"{toys}/served"]) == 0
    assert (toys / "served" / "saved_model.pb").is_file()


def test_their_rivals_are_shown_where_there_are_training_rows(toys, capsys):
    evaluate = ["--use", f"{toys}/toys_of_a_user.py", "evaluate", f"{toys}/out", "--csv", f"{toys}/rows.csv"]
    assert main(evaluate) == 0
    captured = capsys.readouterr()
    assert "toy median" not in captured.out and "Not shown" in captured.err and "Median" in captured.err
    assert main([*evaluate, "--train-csv", f"{toys}/rows.csv"]) == 0
    captured = capsys.readouterr()
    assert "toy median" in captured.out and captured.err == ""
    assert main(evaluate[2:]) == 0  # without --use nothing is asked for
    assert "Not shown" not in capsys.readouterr().err


def test_their_options_are_told(toys, capsys):
    with pytest.raises(SystemExit):
        main(["--use", f"{toys}/toys_of_a_user.py", "train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert (
        "--verdict VERDICT target column of numbers to be judged" in text
        and "--flags COLUMNS columns of 0 and 1" in text
    )
    assert main(["train", "--csv", f"{toys}/rows.csv", "--out", "o", "--verdict", "price", "--number", "price"]) == 2
    error = capsys.readouterr().err
    assert "Give exactly one of" in error and "--verdict" in error.partition("Received")[0]


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("gone.py", None, "which is not there"),
        ("tasks.txt", "", "with a name such as my_tasks.py"),
        ("my-tasks.py", "", "with a name such as my_tasks.py"),
        ("json.py", "", "there is a module 'json' already"),
        ("sndhdr_.py", "1 +", "SyntaxError"),
        ("fails_to_load.py", "import no_such_module_here", "No module named 'no_such_module_here'"),
        ("leaves_at_once.py", "raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, capsys, name, source, message):
    if source is not None:
        (tmp_path / name).write_text(source, encoding="utf-8")
    before = set(sys.modules)
    assert main(["--use", str(tmp_path / name), "cache", "info", "--cache-dir", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("mmkeras: --use ") and message in captured.err and name in captured.err
    assert captured.out == "" and "Traceback" not in captured.err
    assert pathlib.Path(name).stem not in set(sys.modules) - before


def test_a_module_that_is_installed_but_not_loaded_is_not_hidden(tmp_path, capsys, monkeypatch):
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "some_package.py").write_text("", encoding="utf-8")
    (tmp_path / "some_package.py").write_text("loaded = True", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "installed")
    use = ["--use", str(tmp_path / "some_package.py"), "cache", "info", "--cache-dir", str(tmp_path)]
    assert main(use) == 2
    assert "there is a module 'some_package' already" in capsys.readouterr().err and "some_package" not in sys.modules


def test_files_are_imported_in_order_and_once(tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)  # as when a command runs in their folder
    (tmp_path / "first_of_two.py").write_text("import pathlib\nloads = [1]\n", encoding="utf-8")
    (tmp_path / "second_of_two.py").write_text("import first_of_two\nfirst_of_two.loads.append(2)\n", encoding="utf-8")
    files = [str(tmp_path / "first_of_two.py"), str(tmp_path / "second_of_two.py")]
    for _ in range(2):
        assert main(["--use", files[0], f"--use={files[1]}", "cache", "info", "--cache-dir", str(tmp_path)]) == 0
    assert sys.modules.pop("first_of_two").loads == [1, 2] and sys.modules.pop("second_of_two")


def test_an_option_that_is_taken_is_refused_in_a_sentence(tmp_path, capsys):
    source = "from mmkeras.tasks import Regression\n\nclass Taken(Regression):\n    option = 'csv'\n"
    (tmp_path / "takes_an_option.py").write_text(source, encoding="utf-8")
    try:
        assert main(["--use", str(tmp_path / "takes_an_option.py"), "cache", "info"]) == 2
        assert "conflicting option string: --csv" in capsys.readouterr().err
    finally:
        sys.modules.pop("takes_an_option").Taken.option = None
