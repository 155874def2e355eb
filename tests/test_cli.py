"""The command line, as a person would use it."""

import re

import pandas as pd
import pytest

import mmkeras as mm
from mmkeras.__main__ import main
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
    assert main(["cache", "info", "--cache-dir", f"{trained}/cache"]) == 0
    assert main(["cache", "clear", "--cache-dir", f"{trained}/cache"]) == 0
    assert main(["cache", "info", "--cache-dir", f"{trained}/cache"]) == 0
    assert "no feature cache" in capsys.readouterr().out
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
        ("train --csv {csv} --text overview --out out", "exactly one of --labels"),
        ("train --csv {csv} --labels genres --text overview --text-encoder ./gone --out out", "does not exist"),
        ("train --csv {csv} --labels genres --text overview --trainable some --out out", "none, all or a number"),
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
    assert main(["predict", f"{tmp_path}/out", "--csv", f"{tmp_path}/posts.csv"]) == 0


def test_quickstart_runs_all_tasks_and_links_their_reports(tmp_path, capsys):
    out = tmp_path / "q"
    assert main(["quickstart", "--out", str(out), "--rows", "60"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("Beside its baselines") == 3 and printed.count("  predicted:") == 10
    assert "image alone" in printed and "text alone" in printed and "all right in" in printed
    for task in ("genre", "entailment", "captions"):
        assert all((out / task / name).exists() for name in ("model", "served", "report.html"))
    page = (out / "index.html").read_text(encoding="utf-8")
    links = re.findall("href='([^']+)'", page)
    assert links == [f"{task}/report.html" for task in ("genre", "entailment", "captions")]
    assert all((out / link).is_file() for link in links) and str(tmp_path) not in re.sub("<td.*?</td>", "", page)
    assert len(list((out / "entailment" / "images").iterdir())) > 100


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
