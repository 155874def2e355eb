"""The options of the command line, told without loading TensorFlow: `Offers` says what depends on classes."""

import argparse
import collections.abc
import dataclasses
import json
import pathlib

from mmkeras.cli.answer import add_answer
from mmkeras.cli.encode import add_encode
from mmkeras.cli.explain import add_card, add_explain
from mmkeras.cli.finding import add_embed, add_retrieve
from mmkeras.cli.quickstart import ROWS
from mmkeras.cli.serve import add_options as add_serve
from mmkeras.cli.serve import add_unsafe
from mmkeras.cli.streams import add_rows
from mmkeras.persistence import VERSION

# What mmkeras's own classes offer: `python -m mmkeras.cli.offers` writes it.
TABLE = pathlib.Path(__file__).with_name("offers.json")
TYPES = {"int": int, "float": float}  # of options in it; what else they may be, the classes check
# Settings of heads that have an option, and what they are without it.
HEAD = {"fusion": None, "modality_dropout": 0.0}
OBJECTIVE = "a metric of the task, such as map or macro_f1, that is to be best"


class Help(argparse.HelpFormatter):
    """Tells defaults where there are any."""

    def _get_help_string(self, action):
        tells = action.default and action.default != argparse.SUPPRESS
        return f"{action.help} (default: %(default)s)" if tells else action.help


@dataclasses.dataclass(frozen=True)
class Offers:
    """What classes offer to the command line.

    Attributes:
        targets: {option: help} of the columns that tasks learn.
        fusions, losses, methods, engines, tuners: names to choose from.
        add_columns: function of (parser, towers) that adds the options of columns that modalities read.
    """

    targets: dict
    fusions: list
    losses: list
    methods: list
    engines: list
    tuners: list
    add_columns: collections.abc.Callable


def kept_offers():
    """`Offers` of mmkeras's own classes, none of which is loaded for it."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    columns = table.pop("columns")

    def add(parser, towers):
        for flags, settings, of_towers in columns:
            if towers or not of_towers:
                parser.add_argument(*flags, **{**settings, "type": TYPES.get(settings.get("type"))})

    return Offers(**table, add_columns=add)


# --- what the options mean


def read_early(arguments):
    """What stands before the command: `use`, the files to import before the other options are known, and `traceback`."""
    parser = argparse.ArgumentParser(prog="mmkeras", parents=[_early()], add_help=False)
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser.parse_known_args(arguments)[0]


# --- the parser


def place_of(target):
    """Where the options hold the column of a target."""
    return f"target_{target}"


def make_parser(offers):
    """The argparse parser of all commands, for what classes offer: `Offers`."""
    parser = argparse.ArgumentParser(prog="mmkeras", parents=[_early()], description="Multimodal learning on Keras 3.")
    parser.add_argument("--version", action="version", version=f"mmkeras {VERSION}")
    commands = parser.add_subparsers(dest="command")
    for name, (add, description) in COMMANDS.items():
        add(commands.add_parser(name, help=description, description=description, formatter_class=Help), offers)
    return parser


def _early():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--traceback", action="store_true", help="show where an error arose")
    parser.add_argument(
        "--use",
        action="append",
        default=[],
        metavar="FILE",
        help="import this Python file first, so that the tasks, modalities, fusions, encoders and rivals in it are known; "
        "may be given several times",
    )
    return parser


def _quickstart(parser, offers):
    parser.add_argument(
        "--task",
        choices=list(ROWS),
        help="only made-up films from text and numbers, only made-up posts from text and drawn pictures, only captions of drawn "
        "scenes, only finding drawn scenes by words, only questions about drawn scenes, or only made-up calls; without it all but questions, with one page that links their reports",
    )
    parser.add_argument("--out", default="mmkeras-quickstart", help="folder for models, reports and served models")
    parser.add_argument(
        "--rows",
        type=int,
        help="rows of the sample; without it 1200 of genre, 1500 of entailment, 10000 scenes with captions, 6000 to be found, 6000 with questions, 1500 calls",
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same model")


def _table_and_target(parser):
    _table(parser)
    parser.add_argument(
        "--target",
        required=True,
        metavar="COLUMN",
        help="what is to be predicted; columns of 0 and 1, separated by commas",
    )


def _suggest(parser, offers):
    _table_and_target(parser)


def _fit(parser, offers):
    _table_and_target(parser)
    parser.add_argument("--minutes", type=float, default=20.0, help="about how long it may take")
    parser.add_argument("--save", metavar="DIR", help="folder for model, report and served model")
    parser.add_argument(
        "--text-encoder", default="chosen", help="KerasHub preset, handle or folder that reads texts, too, frozen"
    )
    parser.add_argument("--ensemble", type=int, default=8, help="most members of the model; 1 for the best alone")
    parser.add_argument("--objective", help=OBJECTIVE)
    _split(parser)


def _train(parser, offers):
    _data(parser, offers, towers=True)
    parser.add_argument("--fusion", default=HEAD["fusion"], choices=offers.fusions, help="how modalities are joined")
    parser.add_argument(
        "--modality-dropout",
        type=float,
        default=HEAD["modality_dropout"],
        help="chance that training drops a whole modality",
    )
    parser.add_argument(
        "--class-weight", choices=["balanced"], help="with --label: rare classes count as much as others"
    )
    parser.add_argument(
        "--loss",
        help=f"instead of the target's own, such as cross-entropy: {', '.join(offers.losses)}, or the name of a Keras loss",
    )
    parser.add_argument(
        "--sample-weight", metavar="COLUMN", help="column of numbers: how much each row counts in training"
    )
    parser.add_argument(
        "--key", metavar="COLUMN", help="with --rows, the column that names a row, and says whether it is held out"
    )
    parser.add_argument("--test-rows", metavar="PATTERN", help="with --rows, files of other rows, for the report")
    parser.add_argument("--epochs", type=int, default=12, help="passes over the training rows")
    parser.add_argument("--fine-tune-epochs", type=int, default=0, help="further passes that train --trainable, too")
    parser.add_argument("--batch-size", type=int, default=64, help="rows of a step")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="the highest, after a short warm-up")


def _search(parser, offers):
    _data(parser, offers, towers=False)
    parser.add_argument("--trials", type=int, default=30, help="models to try")
    parser.add_argument("--engine", choices=offers.engines, default="autokeras", help="what runs the trials")
    parser.add_argument("--tuner", choices=offers.tuners, default="greedy", help="what chooses them")
    parser.add_argument("--objective", help=OBJECTIVE)
    parser.add_argument(
        "--space", type=json.loads, help='JSON of choices, such as \'{"fusion": ["late", "gated"], "epochs": 4}\''
    )
    parser.add_argument(
        "--ensemble", type=int, default=1, help="most trials that the model is a weighted mean of; 1 for the best alone"
    )
    parser.add_argument("--directory", help="folder that an interrupted search resumes from; without it OUT/search")


def _data(parser, offers, towers):
    """What training and searching read, and where they write; `towers` where pretrained towers may train, too, or rows stream."""
    _table(parser, streams=towers)
    parser.add_argument("--out", required=True, help="folder for model, report and served model")
    for name, told in offers.targets.items():
        metavar = name.replace("-", "_").upper()
        parser.add_argument(f"--{name}", dest=place_of(name), metavar=metavar, help=told)
    offers.add_columns(parser, towers)
    parser.add_argument("--min-label-rows", type=int, default=1, help="leave out labels with fewer rows")
    _split(parser)


def _split(parser):
    """Which rows are held out for the report, where features are cached, and the seed."""
    parser.add_argument("--test-share", type=float, default=0.2, help="share of the rows held out for the report")
    parser.add_argument(
        "--split-by",
        metavar="COLUMNS",
        help="columns whose values never stand on both sides of that split, such as a user's name",
    )
    parser.add_argument(
        "--split-time", metavar="COLUMN", help="column of dates or numbers, of which the latest are held out"
    )
    parser.add_argument(
        "--cache-dir", help="folder of the feature cache; without it $MMKERAS_CACHE_DIR or ~/.cache/mmkeras"
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same model")


def _csv(parser, required=True):
    parser.add_argument(
        "--csv",
        required=required,
        metavar="FILE",
        help="the rows: text with a header, also in gzip, bz2, xz or zip; or .parquet, .feather",
    )


def _table(parser, streams=False):
    """The file of rows, and how it is written; or, where they may stream, files of Parquet."""
    if streams:
        add_rows(parser, _csv)
    else:
        _csv(parser)
    parser.add_argument(
        "--sep",
        type=lambda text: "\t" if text in ("tab", "\\t") else text,
        help='what separates cells, such as ";" or tab; without it found among comma, tab, ";" and "|", and told',
    )
    parser.add_argument(
        "--encoding", help="how the file is encoded, such as cp1252 or utf-16; without it found, and told if not UTF-8"
    )


def _predict(parser, offers):
    _model(parser)
    _table(parser, streams=True)
    parser.add_argument("--key", metavar="COLUMN", help="with --rows, a column that is written before the predictions")
    parser.add_argument(
        "--out",
        help="CSV or Parquet file, by its ending, for the predictions, with --rows a new folder; without it those of the first rows are printed",
    )
    parser.add_argument(
        "--chunk-rows", type=int, default=8192, help="rows to read at once; predictions do not depend on it"
    )


def _caption(parser, offers):
    _model(parser)
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    parser.add_argument("--method", choices=offers.methods, default="beam")
    parser.add_argument("--beam-width", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="for --method sample")


def _answer(parser, offers):
    _model(parser)
    add_answer(parser)


def _evaluate(parser, offers):
    _model(parser)
    _table(parser, streams=True)
    parser.add_argument("--html", help="write the report with plots to this file")
    parser.add_argument("--by", metavar="COLUMN", help="score also the rows of each value of this column")
    parser.add_argument(
        "--missing", action="store_true", help="score also every subset of modalities, as if the others were missing"
    )
    parser.add_argument(
        "--train-csv",
        help="CSV file of the training rows, from which rivals learn that the model was saved without, such as those of --use",
    )


def _explain(parser, offers):
    _model(parser)
    _table(parser)
    add_explain(parser)


def _card(parser, offers):
    _model(parser)
    add_card(parser)


def _embed(parser, offers):
    _model(parser)
    _table(parser)
    add_embed(parser)


def _retrieve(parser, offers):
    _model(parser)
    _table(parser)
    add_retrieve(parser)


def _encode(parser, offers):
    add_encode(parser, offers.add_columns)
    add_unsafe(parser)


def _export(parser, offers):
    _model(parser)
    parser.add_argument("--out", required=True)


def _serve(parser, offers):
    add_serve(parser)


def _cache(parser, offers):
    parser.add_argument("action", choices=["info", "clear"])
    parser.add_argument("--cache-dir")


def _model(parser):
    parser.add_argument("model", help="folder written by train or quickstart, or its model/")
    add_unsafe(parser)


# name → (function that adds its options, what it does)
COMMANDS = {
    "quickstart": (_quickstart, "Train on an embedded sample and look at the result; no download, no GPU."),
    "suggest": (_suggest, "Look at a CSV file: what its columns are, and the Python that would learn one of them."),
    "fit": (_fit, "Learn a column of a CSV file in some minutes: what is read, trained and kept is found out."),
    "train": (_train, "Train on a CSV file; write model, report and served model to a folder."),
    "search": (_search, "Search modalities, fusion, head and training on a CSV file; write what train writes."),
    "predict": (_predict, "Predict the rows of a CSV file with a saved model."),
    "caption": (_caption, "Write captions of image files with a saved model."),
    "answer": (_answer, "Answer questions about an image file with a saved model."),
    "evaluate": (_evaluate, "Score a saved model on the rows of a CSV file."),
    "explain": (_explain, "Tell what decided the predictions of the first rows of a CSV file."),
    "card": (_card, "Write a page that tells what a saved model reads, learnt, scores, and what nobody checked."),
    "embed": (_embed, "Write vectors of the rows of a CSV file, or an index of items."),
    "retrieve": (_retrieve, "Find items by the queries of a CSV file."),
    "encode": (_encode, "Write the features of frozen towers of all rows of many files, here or on Ray."),
    "export": (_export, "Write a saved model as a SavedModel that takes raw values."),
    "serve": (_serve, "Answer over HTTP with saved models, until Ctrl-C."),
    "cache": (_cache, "Show or delete cached features."),
}
