"""The command line: mmkeras quickstart | suggest | fit | train | search | predict | … and more, see `options.COMMANDS`."""

import argparse
import collections
import dataclasses
import pathlib
import sys

import mmkeras as mm
from mmkeras import Pipeline  # first: the command loads everything with it
from mmkeras.cli import finding
from mmkeras.cli import quickstart as samples
from mmkeras.cli.answer import answers_to
from mmkeras.cli.encode import encode as encode_rows
from mmkeras.cli.explain import explain as explain_rows
from mmkeras.cli.offers import head_settings, known_offers, make_modalities, make_task
from mmkeras.cli.options import make_parser, read_early
from mmkeras.cli.predictions import check_ending, first_predictions, write_predictions
from mmkeras.cli.serve import serve
from mmkeras.cli.served import call_of
from mmkeras.cli.streams import check_rows, train_rows
from mmkeras.cli.use import import_file, load_folder, rivals_of
from mmkeras.data.columns import check_frame
from mmkeras.data.tables import read_parts, read_table
from mmkeras.modalities.base import split_names
from mmkeras.persistence import write_text
from mmkeras.trunk import folder, parquet, store
from mmkeras.trunk.engines import refused

INTERRUPTED = 130  # the exit code of what Ctrl-C ended
SHOWN = 10  # rows, where a table is printed


def main(arguments=None):
    """Run a command. Returns the exit code: 0, 2 when something given cannot work, or 130 after Ctrl-C."""
    early, name = read_early(arguments), "mmkeras"
    try:
        rivals = rivals_of([import_file(path) for path in early.use])
        parser = make_parser(known_offers())
        options = parser.parse_args(arguments)
        if options.command is None:
            parser.print_help()
            return 0
        name, options.rivals = f"mmkeras {options.command}", rivals
        COMMANDS[options.command](options)
    except KeyboardInterrupt:
        print(f"{name}: interrupted.", file=sys.stderr)
        return INTERRUPTED
    except (argparse.ArgumentError, KeyError, TypeError, ValueError, OSError, ImportError) as error:
        if early.traceback:
            raise
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"{name}: {message}", file=sys.stderr)
        return 2
    return 0


def quickstart(options):
    samples.run(options.task, pathlib.Path(options.out), rows=options.rows, seed=options.seed, finish=finish)


def suggest(options):
    df = _read(options, options.csv)
    suggestion = mm.suggest(df, _target(options, df))
    settings = "".join(
        f", {name}={value!r}" for name in ("sep", "encoding") if (value := getattr(options, name)) is not None
    )
    reading = ["from mmkeras.data.tables import read_table", "", f"df = read_table({options.csv!r}{settings})"]
    print(dataclasses.replace(suggestion, code="\n".join([*reading, suggestion.code])))


def fit(options):
    _check_share(options)
    df = _read(options, options.csv)
    suggestion = mm.suggest(df, _target(options, df))
    print(suggestion)
    df, time = df.loc[suggestion.rows], options.split_time
    by = split_names(options.split_by or "") or (suggestion.groups[:1] if time is None else []) or None
    train_rows, test_rows = mm.split_frame(df, options.test_share, options.seed, by=by, time=time)
    pipe = mm.fit(
        train_rows,
        list(suggestion.task.columns),
        options.minutes,
        modalities=suggestion.modalities,
        task=suggestion.task,
        by=by,
        time=time,
        ensemble=options.ensemble,
        objective=options.objective,
        text_encoder=options.text_encoder,
        seed=options.seed,
        cache_dir=options.cache_dir or folder.default_directory(),
    )
    print(f"\n{pipe.trail}")
    finish(pipe, test_rows, pathlib.Path(options.save) if options.save else None)


def train(options):
    check_rows(options, "key", "test_rows")
    settings = {
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "seed": options.seed,
        "learning_rate": options.learning_rate,
        "fine_tune_epochs": options.fine_tune_epochs,
        "class_weight": options.class_weight,
        "sample_weight": options.sample_weight,
        "loss": options.loss,
        "cache_dir": options.cache_dir or folder.default_directory(),
    }
    if options.rows:
        task = make_task(options)
        modalities = make_modalities(options, task.sequences)
        train_rows(Pipeline(modalities, task, **head_settings(options)), options, settings)
        return
    learnt, test_rows, modalities, task = _read_data(options)
    pipe = Pipeline(modalities, task, **head_settings(options))
    pipe.fit(learnt, **settings)
    finish(pipe, test_rows, pathlib.Path(options.out), options.rivals)


def search(options):
    train_rows, test_rows, modalities, task = _read_data(options)
    out = pathlib.Path(options.out)
    pipe = mm.search(
        train_rows,
        modalities,
        task,
        max_trials=options.trials,
        engine=options.engine,
        space=options.space,
        objective=options.objective,
        tuner=options.tuner,
        seed=options.seed,
        ensemble=options.ensemble,
        directory=options.directory or out / "search",
        cache_dir=options.cache_dir or folder.default_directory(),
    )
    if pipe is None:
        print("This worker is done; the chief writes the model.")
        return
    print(f"\n{pipe.trail}")
    finish(pipe, test_rows, out, options.rivals)
    print(f"Wrote {pipe.trail.to_html(out / 'trail.html')}: the trials, and which choices mattered.")


def predict(options):
    check_rows(options, "key")
    if options.rows:
        pipe = load_folder(options.model, options.unsafe)
        out = pipe.predict(options.rows, features=options.features, key=options.key, out=options.out)
        print(f"Wrote predictions to {out}.")
        return
    check_ending(options.out)
    if options.chunk_rows < 1:
        raise ValueError(f"--chunk-rows must be 1 or more. Received: {options.chunk_rows}.")
    fitted = load_folder(options.model, options.unsafe).check_fitted()

    def read(rows=options.chunk_rows):
        return read_parts(options.csv, rows, options.sep, options.encoding, tell=_tell)

    if options.out:
        print(f"Wrote {write_predictions(fitted, read, options.out)} rows to {options.out}.")
    elif len(table := first_predictions(fitted, read(SHOWN))):
        print(table.round(3).to_string())
    else:
        print(f"{options.csv} holds no rows to predict.")


def caption(options):
    settings = {"method": options.method, "beam_width": options.beam_width, "seed": options.seed}
    captions = mm.generate(load_folder(options.model, options.unsafe), options.images, **settings)
    for image, text, score in zip(options.images, captions.texts, captions.log_probabilities, strict=True):
        print(f"{image}: {text} ({score:.2f})")


def answer(options):
    pipe = load_folder(options.model, options.unsafe)
    answers, notes = answers_to(pipe, options.image, options.questions)
    for question, said, sure in answers:
        print(f"{question} {said} ({sure:.2f})")
    for note in notes:
        print(note, file=sys.stderr)


def evaluate(options):
    check_rows(options)
    pipe = load_folder(options.model, options.unsafe)
    df, features = (options.rows, options.features) if options.rows else (_read(options, options.csv), None)
    rivals = _rivals(pipe, options.rivals)
    learnt = None if options.train_csv is None else _read(options, options.train_csv)
    if rivals and learnt is None:
        told = ", ".join(rival.__name__ for rival in rivals)
        print(f"Not shown, for they learn from training rows: {told}. Give --train-csv.", file=sys.stderr)
    report = pipe.evaluate(df, learnt, missing=options.missing, by=options.by, rivals=rivals, features=features)
    print(report)
    if options.html:
        print(f"Wrote {report.to_html(options.html)}.")


def explain(options):
    table, wrote = explain_rows(load_folder(options.model, options.unsafe), _read(options, options.csv), options)
    print("\n".join([table.head(SHOWN).round(3).to_string(), wrote]).rstrip())


def card(options):
    df = None if options.csv is None else _read(options, options.csv)
    print(f"Wrote {mm.model_card(load_folder(options.model, options.unsafe), options.html, df, options.by)}.")


def embed(options):
    print(finding.embed(load_folder(options.model, options.unsafe), _read(options, options.csv), options))


def retrieve(options):
    def read(path):
        return _read(options, path)

    found = finding.retrieve(load_folder(options.model, options.unsafe), read(options.csv), read, options)
    if options.out:
        write_text(options.out, found.to_csv(index=False))
        print(f"Wrote what {len(found) // options.k:,} queries found to {options.out}.")
    else:
        print(found.head(SHOWN * options.k).round(3).to_string(index=False))


def encode(options):
    print(encode_rows(options, make_modalities(options) if options.model is None else None))


def export(options):
    pipe = load_folder(options.model, options.unsafe)
    pipe.export(options.out)
    print(f"Wrote {options.out}; it takes raw values, in Python:\n{call_of(pipe, options.out)}")


def cache(options):
    directory = pathlib.Path(options.cache_dir) if options.cache_dir else folder.default_directory()
    if parquet.is_store(directory):
        features = parquet.ParquetStore(directory)
        if options.action == "clear":
            raise ValueError(
                f"`clear` empties the feature cache of fits. Received: {str(directory)!r}, features in Parquet that mmkeras encode wrote. "
                "Delete the folder itself, or those of its towers, where they are not wanted any more."
            )
        for prefix, about in features.towers().items():
            size = sum(path.stat().st_size for path in features.files(prefix))
            print(f"{features.count(prefix):>8} rows {size / 2**20:>9.1f} MiB  {about['created']}  {about['tower']}")
    elif options.action == "clear":
        print(f"Freed {store.clear(directory) / 2**20:.1f} MiB in {directory}.")
    elif not folder.is_cache(directory):
        print(f"There is no feature cache in {directory}.")
    else:
        towers = store.open_store(directory).info()
        if not towers:
            print(f"The feature cache in {directory} is empty: only frozen pretrained towers fill it.")
        for tower in towers:
            print(f"{tower['rows']:>8} rows {tower['bytes'] / 2**20:>9.1f} MiB  {tower['created']}  {tower['tower']}")
        for facts in refused(directory / folder.TOWERS):
            print(f"{facts['tower']!r} is not run by {facts['engine']}, tried on {facts['created']}: {facts['why']}")


COMMANDS = {
    function.__name__: function
    for function in (
        quickstart,
        suggest,
        fit,
        train,
        search,
        predict,
        caption,
        answer,
        evaluate,
        explain,
        card,
        embed,
        retrieve,
        encode,
        export,
        serve,
        cache,
    )
}


def finish(pipe, test_rows, out, rivals=()):
    """Write report, model and served model to a folder. Returns the `Report`.

    Args:
        pipe: fitted `Pipeline`.
        test_rows: DataFrame.
        out: pathlib.Path, or None to write nothing.
        rivals: classes of rivals to show beside the task's own.
    """
    print(f"\nJudging it on {len(test_rows)} unseen rows, beside baselines that learn now …", flush=True)
    report = pipe.evaluate(test_rows, verbose=0, rivals=_rivals(pipe, rivals))
    print(f"\n{report}\n")
    if out is None:
        return report
    pipe.save(out / "model")
    pipe.export(out / "served")
    report.to_html(out / "report.html")
    print(f"Wrote {out}/model (mmkeras.load), {out}/served (SavedModel) and {out}/report.html.")
    return report


def _read_data(options):
    """(rows to learn from, rows to be judged on, modalities, task)."""
    _check_share(options)
    df = _read(options, options.csv)
    print(f"Read {len(df):,} rows of {options.csv}.", flush=True)
    task = make_task(options)
    check_frame(df, task.columns, "the target")
    modalities = make_modalities(options, task.sequences)
    if options.min_label_rows > 1:
        task = _frequent(task, df, options.min_label_rows)
    df = task.units(df, modalities)  # what is judged as one lies on one side only
    split = {"by": split_names(options.split_by or "") or task.together, "time": options.split_time}
    return *mm.split_frame(df, options.test_share, options.seed, **split), modalities, task


def _check_share(options):
    if not 0 < options.test_share < 1:
        raise ValueError(f"--test-share must lie between 0 and 1. Received: {options.test_share}. Use for example 0.2.")


def _target(options, df):
    """The target's column, or a list of several; a name may hold commas."""
    names = [options.target] if options.target in df.columns else split_names(options.target)
    return names[0] if len(names) == 1 else names


def _frequent(task, df, least):
    """A task of labels with only those that at least `least` rows have; any other as it is."""
    adapted = task.adapt(df)
    answers = adapted.read(adapted.target(df))
    if not all(isinstance(labels, list) for labels in answers):
        return task
    counts = collections.Counter(label for labels in answers for label in labels)
    frequent = sorted(label for label, rows in counts.items() if rows >= least)
    print(f"{len(frequent)} of {len(counts)} labels have at least {least} rows.")
    return dataclasses.replace(task, classes=frequent)


def _rivals(pipe, rivals):
    """Those of classes of rivals that the task does not bring along."""
    return [rival for rival in rivals if rival not in pipe.task.rivals]


def _read(options, path):
    """The table of a file, as options of the command say; what was guessed is told on stderr."""
    return read_table(path, options.sep, options.encoding, tell=_tell)


def _tell(sentence):
    print(sentence, file=sys.stderr)
