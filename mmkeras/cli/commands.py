"""The command line: mmkeras quickstart | train | search | predict | caption | evaluate | export | cache."""

import argparse
import json
import pathlib
import sys


def main(arguments=None):
    """Run a command. Returns the exit code: 0, or 2 when something given cannot work."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        options.run(options)
    except (KeyError, TypeError, ValueError, OSError, ImportError) as error:
        if options.traceback:
            raise
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"mmkeras {options.command}: {message}", file=sys.stderr)
        return 2
    return 0


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Tells defaults where there are any."""

    def _get_help_string(self, action):
        return super()._get_help_string(action) if action.default else action.help


def _parser():
    parser = argparse.ArgumentParser(prog="mmkeras", description="Multimodal learning on Keras 3.")
    parser.add_argument("--traceback", action="store_true", help="show where an error arose")
    commands = parser.add_subparsers(dest="command")

    def command(name, run, description):
        sub = commands.add_parser(name, help=description, description=description, formatter_class=_Help)
        sub.set_defaults(run=run)
        return sub

    sub = command("quickstart", quickstart, "Train on an embedded sample and look at the result; no download, no GPU.")
    sub.add_argument(
        "--task",
        choices=["genre", "entailment", "captions"],
        help="only made-up films from text and numbers, only made-up posts from text and drawn pictures, or only captions "
        "of drawn scenes; without it all three, with one page that links their reports",
    )
    sub.add_argument("--out", default="mmkeras-quickstart", help="folder for models, reports and served models")
    sub.add_argument(
        "--rows", type=int, help="rows of the sample; without it 1200 of genre, 1500 of entailment, 10000 scenes"
    )
    sub.add_argument("--seed", type=int, default=0, help="the same seed gives the same model")

    sub = command("train", train, "Train on a CSV file; write model, report and served model to a folder.")
    _data_arguments(sub)
    sub.add_argument("--trainable", default="none", help="what a fine-tuning phase trains: none, all, or N top blocks")
    sub.add_argument(
        "--fusion",
        default="concat",
        choices=["concat", "early", "late", "hybrid", "gated", "bilinear", "cross_attention"],
        help="how modalities are joined",
    )
    sub.add_argument("--modality-dropout", type=float, default=0.0, help="chance that training drops a whole modality")
    sub.add_argument("--class-weight", choices=["balanced"], help="with --label: rare classes count as much as others")
    sub.add_argument("--loss", choices=["focal"], help="instead of cross-entropy")
    sub.add_argument("--caption", help="target column of captions of the images")
    sub.add_argument("--epochs", type=int, default=12, help="passes over the training rows")
    sub.add_argument("--fine-tune-epochs", type=int, default=0, help="further passes that train --trainable, too")
    sub.add_argument("--batch-size", type=int, default=64, help="rows of a step")
    sub.add_argument("--learning-rate", type=float, default=1e-3, help="the highest, after a short warm-up")

    sub = command(
        "search", search, "Search modalities, fusion, head and training on a CSV file; write what train writes."
    )
    _data_arguments(sub)
    sub.add_argument("--trials", type=int, default=30, help="models to try")
    sub.add_argument("--engine", choices=["autokeras", "kerastuner"], default="autokeras", help="what runs the trials")
    sub.add_argument(
        "--tuner", choices=["greedy", "bayesian", "hyperband", "random"], default="greedy", help="what chooses them"
    )
    sub.add_argument("--objective", help="a metric of the task, such as map or macro_f1")
    sub.add_argument(
        "--space", type=json.loads, help='JSON of choices, such as \'{"fusion": ["late", "gated"], "epochs": 4}\''
    )
    sub.add_argument("--directory", help="folder that an interrupted search resumes from; without it OUT/search")

    sub = command("predict", predict, "Predict the rows of a CSV file with a saved model.")
    sub.add_argument("model", help="folder written by train or quickstart, or its model/")
    sub.add_argument("--csv", required=True)
    sub.add_argument("--out", help="CSV file for the predictions; without it the first rows are printed")

    sub = command("caption", caption, "Write captions of image files with a saved model.")
    sub.add_argument("model", help="folder written by train or quickstart, or its model/")
    sub.add_argument("images", nargs="+", metavar="IMAGE")
    sub.add_argument("--method", choices=["greedy", "beam", "sample"], default="beam")
    sub.add_argument("--beam-width", type=int, default=5)
    sub.add_argument("--seed", type=int, default=0, help="for --method sample")

    sub = command("evaluate", evaluate, "Score a saved model on the rows of a CSV file.")
    sub.add_argument("model")
    sub.add_argument("--csv", required=True)
    sub.add_argument("--html", help="write the report with plots to this file")

    sub = command("export", export, "Write a saved model as a SavedModel that takes raw values.")
    sub.add_argument("model")
    sub.add_argument("--out", required=True)

    sub = command("cache", cache, "Show or delete cached features.")
    sub.add_argument("action", choices=["info", "clear"])
    sub.add_argument("--cache-dir")
    return parser


def _data_arguments(sub):
    """What training and searching read, and where they write."""
    sub.add_argument("--csv", required=True)
    sub.add_argument("--out", required=True, help="folder for model, report and served model")
    sub.add_argument("--labels", help="target column of labels: 'A|B', or lists")
    sub.add_argument("--label", help="target column of one class per row")
    sub.add_argument("--number", help="target column of numbers")
    sub.add_argument("--text", type=_names, default=[], help="text columns, separated by commas")
    sub.add_argument("--image", type=_names, default=[], help="columns of image paths, which share one tower")
    sub.add_argument("--numeric", type=_names, default=[], help="columns of numbers")
    sub.add_argument("--categorical", type=_names, default=[], help="columns of names from a list")
    sub.add_argument("--datetime", type=_names, default=[], help="columns of dates")
    sub.add_argument("--zero-is-missing", type=_names, default=[], help="numeric columns in which 0 means unknown")
    sub.add_argument(
        "--text-encoder",
        type=_names,
        default=["distil_bert_base_en_uncased", "lexical"],
        help="KerasHub preset, handle or folder, 'lexical' or 'scratch'; several, separated by commas, side by side",
    )
    sub.add_argument("--image-encoder", default="ResNet50V2", help="a network of keras.applications, or scratch")
    sub.add_argument("--image-weights", default="imagenet", help="imagenet, none, or a file of weights")
    sub.add_argument(
        "--pooling",
        choices=["cls", "mean"],
        default="mean",
        help="what stands for a text: its first token, or the mean",
    )
    sub.add_argument("--sequence-length", type=int, default=256, help="most tokens of a text")
    sub.add_argument("--test-share", type=float, default=0.2, help="share of the rows held out for the report")
    sub.add_argument("--min-label-rows", type=int, default=1, help="leave out labels with fewer rows")
    sub.add_argument(
        "--cache-dir", help="folder of the feature cache; without it $MMKERAS_CACHE_DIR or ~/.cache/mmkeras"
    )
    sub.add_argument("--seed", type=int, default=0, help="the same seed gives the same model")


def _names(text):
    return [name.strip() for name in text.split(",") if name.strip()]


def quickstart(options):
    from mmkeras.cli.quickstart import captions, entailment, genre, whole

    if options.task is None:
        whole(pathlib.Path(options.out), options.rows, options.seed, _finish)
        return
    # Relations between words and pictures take more rows to learn than words and numbers by themselves.
    run, rows = {"genre": (genre, 1200), "entailment": (entailment, 1500), "captions": (captions, 10000)}[options.task]
    run(pathlib.Path(options.out), rows if options.rows is None else options.rows, options.seed, _finish)


def train(options):
    import mmkeras as mm
    from mmkeras.trunk.store import default_directory

    df, task = _read_task(mm, options, ("labels", "label", "number", "caption"))
    settings = {"fusion": options.fusion, "modality_dropout": options.modality_dropout}
    if task.kind == "caption":
        df, settings = task.group(df, [*options.text, *options.image]), {}  # an image is in one part only
    train_rows, test_rows = mm.split_frame(df, options.test_share, seed=options.seed)
    pipe = mm.Pipeline(_modalities(mm, options, options.trainable), task, **settings)
    pipe.fit(
        train_rows,
        epochs=options.epochs,
        batch_size=options.batch_size,
        seed=options.seed,
        learning_rate=options.learning_rate,
        fine_tune_epochs=options.fine_tune_epochs,
        class_weight=options.class_weight,
        loss=options.loss,
        cache_dir=options.cache_dir or default_directory(),
    )
    _finish(pipe, test_rows, pathlib.Path(options.out))


def search(options):
    import mmkeras as mm
    from mmkeras.trunk.store import default_directory

    df, task = _read_task(mm, options, ("labels", "label", "number"))
    train_rows, test_rows = mm.split_frame(df, options.test_share, seed=options.seed)
    out = pathlib.Path(options.out)
    pipe = mm.search(
        train_rows,
        _modalities(mm, options),
        task,
        max_trials=options.trials,
        engine=options.engine,
        space=options.space,
        objective=options.objective,
        tuner=options.tuner,
        seed=options.seed,
        directory=options.directory or out / "search",
        cache_dir=options.cache_dir or default_directory(),
    )
    if pipe is None:
        print("This worker is done; the chief writes the model.")
        return
    print(f"\n{pipe.trail}")
    _finish(pipe, test_rows, out)
    print(f"Wrote {pipe.trail.to_html(out / 'trail.html')}: the trials, and which choices mattered.")


def _read_task(mm, options, kinds):
    """The rows, and the task of the one target that is given."""
    from mmkeras.data.columns import check_frame

    if not 0 < options.test_share < 1:
        raise ValueError(f"--test-share must lie between 0 and 1. Received: {options.test_share}. Use for example 0.2.")
    df = _read(options.csv)
    print(f"Read {len(df):,} rows of {options.csv}.", flush=True)
    targets = [kind for kind in kinds if getattr(options, kind)]
    if len(targets) != 1:
        *others, last = (f"--{kind}" for kind in kinds)
        raise ValueError(f"Give exactly one of {', '.join(others)} and {last}. Received: {targets or 'none'}.")
    column = getattr(options, targets[0])
    check_frame(df, [column], "the target")
    classes = {"labels": mm.MultiLabel, "label": mm.MultiClass, "number": mm.Regression, "caption": mm.Caption}
    task = classes[targets[0]](column)
    if targets[0] == "labels" and options.min_label_rows > 1:
        counts = df[column].map(task.names).explode().value_counts()
        kept = sorted(counts.index[counts >= options.min_label_rows])
        task = mm.MultiLabel(column, classes=kept)
        print(f"{len(kept)} of {len(counts)} labels have at least {options.min_label_rows} rows.")
    return df, task


def _modalities(mm, options, trainable="none"):
    found = []
    trainable = {"none": False, "all": True}.get(trainable, trainable)
    if isinstance(trainable, str):
        if not trainable.isdigit():
            raise ValueError(f"--trainable must be none, all or a number. Received: {trainable!r}.")
        trainable = int(trainable)
    for column in options.text:
        for encoder in options.text_encoder:
            settings = {} if encoder == "lexical" else {"pooling": options.pooling, "trainable": trainable}
            name = f"text_{len(found)}" if encoder != "lexical" else f"words_{len(found)}"
            found.append(mm.Text(column, encoder, options.sequence_length, name=name, **settings))
    if options.image:
        weights = None if options.image_weights == "none" else options.image_weights
        pooling = None if getattr(options, "caption", None) else "avg"
        found.append(mm.Image(options.image, options.image_encoder, weights, pooling=pooling, on_error="missing"))
    if options.numeric or options.categorical or options.datetime:
        columns = {
            "numeric": options.numeric,
            "categorical": options.categorical,
            "datetime": options.datetime,
        }
        found.append(mm.Tabular(**columns, zero_is_missing=options.zero_is_missing))
    if not found:
        raise ValueError("Give columns to read: --text, --image, --numeric, --categorical or --datetime.")
    return found


def _finish(pipe, test_rows, out):
    """Write report, model and served model. Returns the `Report`."""
    print(f"\nJudging it on {len(test_rows)} unseen rows, beside baselines that learn now …", flush=True)
    report = pipe.evaluate(test_rows)
    print(f"\n{report}\n")
    pipe.save(out / "model")
    pipe.export(out / "served")
    report.to_html(out / "report.html")
    print(f"Wrote {out}/model (mmkeras.load), {out}/served (SavedModel) and {out}/report.html.")
    return report


def predict(options):
    pipe, df = _load(options.model), _read(options.csv)
    predictions = pipe.predict(df)
    if pipe.task.kind in ("multilabel", "multiclass"):
        labels = pipe.predict_labels(df)
        predictions.insert(0, "predicted", ["|".join(v) if isinstance(v, list) else v for v in labels])
    if options.out:
        from mmkeras.persistence import write_text

        write_text(options.out, predictions.to_csv())
        print(f"Wrote {len(predictions)} rows to {options.out}.")
    else:
        print(predictions.head(10).round(3).to_string())


def caption(options):
    import mmkeras as mm

    settings = {"method": options.method, "beam_width": options.beam_width, "seed": options.seed}
    found = mm.generate(_load(options.model), options.images, **settings)
    for image, text, score in zip(options.images, found.texts, found.log_probabilities, strict=True):
        print(f"{image}: {text} ({score:.2f})")


def evaluate(options):
    report = _load(options.model).evaluate(_read(options.csv))
    print(report)
    if options.html:
        print(f"Wrote {report.to_html(options.html)}.")


def export(options):
    _load(options.model).export(options.out)
    print(f"Wrote {options.out}; it takes raw values: tf.saved_model.load({options.out!r}).serve({{column: values}}).")


def cache(options):
    from mmkeras.trunk import store as features

    directory = pathlib.Path(options.cache_dir) if options.cache_dir else features.default_directory()
    if options.action == "clear":
        print(f"Freed {features.clear(directory) / 2**20:.1f} MiB in {directory}.")
    elif not (directory / "data.mdb").is_file():
        print(f"There is no feature cache in {directory}.")
    else:
        towers = features.open_store(directory).info()
        if not towers:
            print(f"The feature cache in {directory} is empty: only frozen pretrained towers fill it.")
        for tower in towers:
            print(f"{tower['rows']:>8} rows {tower['bytes'] / 2**20:>9.1f} MiB  {tower['created']}  {tower['tower']}")


def _load(folder):
    import mmkeras as mm

    folder = pathlib.Path(folder)
    return mm.load(folder / "model" if (folder / "model").is_dir() else folder)


def _read(path):
    import pandas as pd

    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path!r}.")
    return pd.read_csv(path)
