"""What readers are told: docstrings of all public names, and the pages of README.md and docs/, whose examples run here.

A page of examples reads as a user would write it. What keeps the run short and offline is written down in two places:

- a page may begin with `<!-- setup … -->`, hidden Python that writes the files its examples read;
- the tables below: `SHORTER` changes numbers in the examples, `PRESETS` and `NETWORKS` are replaced by tiny towers with
  random weights, because nothing is downloaded.

A block that cannot run is marked ```` ```python no-run ````, with `<!-- no-run: the reason -->` on the line above it.
"""

import inspect
import pathlib
import re
import types
import warnings

import keras
import pytest

import mmkeras as mm
from mmkeras import fusion, hub
from mmkeras.__main__ import main
from mmkeras.trunk import training

ROOT = pathlib.Path(__file__).parents[1]
MODULES = {"mm": mm, "mm.layers": mm.layers, "mm.losses": mm.losses, "mm.samples": mm.samples, "mm.sources": mm.sources}
MODULES |= {"mm.hub": hub, "mm.fusion": fusion}
# What an evaluation or a decoding hands over: nobody makes these by hand.
RESULTS = (mm.Report, mm.Ablation, mm.Captions, mm.CrossValidation, mm.Explanation, mm.Suggestion)


def public_names():
    """{"mm.layers.Tokenize": the class, …}: classes and functions of the public modules."""
    found = {}
    for place, module in MODULES.items():
        for name in module.__all__:
            thing = getattr(module, name)
            if isinstance(thing, type | types.FunctionType):
                found[f"{place}.{name}"] = thing
    return found


# These take any value of their kind.
NEVER_RAISE = {"mm.hub.is_handle", "mm.hub.is_saved_model", "mm.samples.caption_content"}
NEVER_RAISE |= {"mm.layers.count_words", "mm.layers.plain_words", "mm.layers.teacher_forcing"}
NAMES = public_names()
METHODS = {
    f"{thing.__name__}.{name}": method
    for thing in (mm.Pipeline, *RESULTS)
    for base in thing.__mro__
    if base.__module__.startswith("mmkeras")
    for name, method in vars(base).items()
    if not name.startswith("_") and isinstance(method, types.FunctionType)
}


def parameters(function):
    """Names of a function's or a class's own arguments."""
    if issubclass_of(function, [keras.layers.Layer]) and function.__init__.__module__.startswith("keras"):
        return []  # those of the Keras layer it extends
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    found = inspect.signature(function).parameters.values()
    return [p.name for p in found if p.name != "self" and p.kind not in kinds]


def lacking(name):
    """What the docstring of a public name lacks, as a list of words."""
    thing = NAMES[name]
    text, missing = inspect.getdoc(thing) or "", []
    if not re.match(r"\S.*[.:]", text):
        missing.append("a first line")
    if ">>> " not in text:
        missing.append("an example")
    if issubclass_of(thing, RESULTS):
        return missing + ([] if "Attributes:" in text else ["Attributes:"])
    own = parameters(thing)
    missing += [f"the argument {one!r}" for one in own if not re.search(rf"(?<![\w.]){one}\b", text)]
    tensors = issubclass_of(thing, (keras.layers.Layer, keras.losses.Loss, keras.metrics.Metric))
    if own and "Args:" not in text:
        missing.append("Args:")
    if own and not tensors and name not in NEVER_RAISE and "Raises:" not in text:
        missing.append("Raises:")
    if isinstance(thing, types.FunctionType) and "Returns:" not in text and "→" not in text:
        missing.append("Returns:")
    if tensors and not re.search(r"\((B|N|rows|n)\b[^)]*\)|scalar", text):
        missing.append("shapes")
    return missing


def issubclass_of(thing, classes):
    return isinstance(thing, type) and issubclass(thing, tuple(classes))


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_public_name_is_documented(name):
    assert lacking(name) == []


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_public_method_tells_its_arguments(name):
    text = inspect.getdoc(METHODS[name]) or ""
    assert text and [p for p in parameters(METHODS[name]) if not re.search(rf"\b{p}\b", text)] == []


def test_losses_and_all_modules_say_what_is_public():
    assert len(NAMES) > 60 and all(hasattr(module, "__all__") for module in MODULES.values())


def test_one_command_makes_the_reference(tmp_path):
    pdoc = pytest.importorskip("pdoc")
    pdoc.render.configure(docformat="google")
    command = re.search(
        r"pdoc -d google -o (\S+) ([\w. ]+)", (ROOT / "docs/installation.md").read_text(encoding="utf-8")
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Found .* does not resolve")
        pdoc.pdoc(*command[2].split(), output_directory=tmp_path)
    page = (tmp_path / "mmkeras.html").read_text(encoding="utf-8")
    assert "Pipeline" in page and "build_captioner" in page and (tmp_path / "mmkeras" / "layers.html").is_file()
    search = tmp_path / "mmkeras" / "search"
    assert "max_trials" in (search / "autokeras" / "tutorial.html").read_text(encoding="utf-8")


PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", ROOT / "data" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
}
SETUP = re.compile(r"<!-- setup\n(.*?)^-->$", re.DOTALL | re.MULTILINE)
BLOCK = re.compile(r"^```python(?P<mark>[^\n]*)\n(?P<source>.*?)^```$", re.DOTALL | re.MULTILINE)
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
# The examples' numbers → what is enough to see that they run.
SHORTER = {
    r"\bepochs=\d+": "epochs=1",
    r'"epochs": \d+': '"epochs": 1',
    r"\bmax_trials=\d+": "max_trials=1",
    r"\bminutes=\d+": "minutes=0.001",
    r"\bdf, folds=\d+": 'train, test, losses="standard"',
    r"\bfilms, folds=\d+": "films, folds=2",
    r"\bwidth=\d+": "width=16",
    r'losses=\["standard", "weighted"\]': 'losses="weighted"',
    r"\bablate\(modalities,": "ablate(modalities[:1],",
    r"\bsamples\.(questions|calls)\(\d+": r"samples.\1(24",
}
COMMANDS = (
    "encode",
    "quickstart",
    "suggest",
    "fit",
    "train",
    "search",
    "predict",
    "caption",
    "answer",
    "evaluate",
    "export",
    "serve",
    "cache",
)
PRESETS = ("distil_bert_base_en_uncased", "bert_small_en_uncased", "bert_tiny_en_uncased")
NETWORKS = ("ResNet50V2", "MobileNetV2", "InceptionResNetV2")


def tiny_network(include_top=True, weights="imagenet", input_shape=None, pooling=None):
    """What builders of keras.applications take, as one convolution with random weights."""
    pixels = keras.Input(input_shape)
    patches = keras.layers.Conv2D(8, 64, 64, "same")(pixels)
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(patches) if pooling == "avg" else patches)


@pytest.fixture(scope="module")
def tiny_preset(tmp_path_factory):
    """A BERT of 3 blocks, 16 wide, with random weights, as a KerasHub preset directory."""
    import keras_hub

    folder = tmp_path_factory.mktemp("tiny") / "preset"
    texts = " ".join(mm.samples.movies(100, seed=0)["overview"]).lower()
    letters = [f"{mark}{letter}" for mark in ("", "##") for letter in "abcdefghijklmnopqrstuvwxyz"]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *sorted(set(re.findall("[a-z]{2,}", texts)))]
    size = {"num_layers": 3, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32, "max_sequence_length": 512}
    keras_hub.models.BertBackbone(vocabulary_size=len(words), **size).save_to_preset(str(folder))
    keras_hub.tokenizers.BertTokenizer(vocabulary=words, lowercase=True).save_to_preset(str(folder))
    return str(folder)


@pytest.fixture
def few_epochs(monkeypatch):
    """Also where a page leaves them to `fit`."""
    monkeypatch.setattr(training, "MOST_EPOCHS", 1)


@pytest.fixture
def nothing_is_downloaded(tiny_preset, monkeypatch):
    """The pretrained towers that pages name, replaced by tiny ones."""
    import keras_hub

    for loader in (keras_hub.models.Backbone, keras_hub.tokenizers.Tokenizer):

        def load(preset, *args, original=loader.from_preset, **settings):
            return original(tiny_preset if preset in PRESETS else preset, *args, **settings)

        monkeypatch.setattr(loader, "from_preset", load)
    for name in NETWORKS:
        network = types.FunctionType(tiny_network.__code__, globals(), name, tiny_network.__defaults__)
        network.__module__ = getattr(keras.applications, name).__module__  # it tells how pixels are prepared
        monkeypatch.setattr(keras.applications, name, network)


def run(source, place, line, namespace):
    """Run source that begins at a line of a page; errors name page and line."""
    exec(compile("\n" * line + source, place, "exec"), namespace)


def shortened(source):
    for pattern, instead in SHORTER.items():
        source = re.sub(pattern, instead, source)
    return source


@pytest.mark.parametrize("name", [name for name, text in PAGES.items() if BLOCK.search(text)])
@pytest.mark.usefixtures("nothing_is_downloaded", "few_epochs")
def test_examples_of_a_page_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MMKERAS_CACHE_DIR", raising=False)
    text, namespace = PAGES[name], {"__name__": "page"}
    for setup in SETUP.finditer(text):
        run(setup[1], name, text.count("\n", 0, setup.start(1)), namespace)
    for block in BLOCK.finditer(text):
        if not block["mark"]:
            run(shortened(block["source"]), name, text.count("\n", 0, block.start("source")), namespace)
    keras.backend.clear_session()


@pytest.mark.parametrize("name", PAGES)
def test_blocks_that_do_not_run_say_why(name):
    for block in BLOCK.finditer(PAGES[name]):
        if block["mark"]:
            before = PAGES[name][: block.start()].splitlines()[-1]
            assert block["mark"] == " no-run" and re.fullmatch(r"<!-- no-run: \S.* -->", before), block[0]


def test_the_front_page_is_short():
    assert PAGES["README.md"].count("\n") <= 150


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_names_is_there(name):
    text, folder = PAGES[name], (ROOT / name).parent
    for file, test in re.findall(r"`(tests/\w+\.py)(?:::(\w+))?`", text):
        assert f"def {test}" in (ROOT / file).read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)", FENCED.sub("", text)):
        assert (folder / link).exists(), link
    for module in re.findall(r"\bmmkeras(?:\.\w+)+(?=[ `])", " ".join(re.findall(r"pdoc .*", text))):
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file(), module
    for script, options in re.findall(r"python (benchmarks/\w+\.py)([^`\n]*)", text):
        written = (ROOT / script).read_text(encoding="utf-8")
        assert [option for option in re.findall(r"--[a-z][a-z-]*", options) if f'"{option}"' not in written] == [], (
            script
        )


def shell_commands(text):
    """Words of each line of ```bash blocks that begins with mmkeras; no quoted text, no comments."""
    blocks = "".join(re.findall(r"^```bash\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)).replace("\\\n", "")
    return [re.sub(r"'[^']*'|#.*", "", line).split() for line in re.findall(r"^mmkeras .*", blocks, re.MULTILINE)]


@pytest.mark.parametrize("name", [name for name, text in PAGES.items() if shell_commands(text)])
def test_commands_of_a_page_have_their_options(name, capsys):
    def known(*command):
        with pytest.raises(SystemExit):
            main([*command, "--help"])
        return set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))

    for words in shell_commands(PAGES[name]):
        place = next(i for i, word in enumerate(words) if word in COMMANDS)
        for command, options in (((), words[:place]), ((words[place],), words[place:])):
            assert {word for word in options if word.startswith("--")} <= known(*command), words
