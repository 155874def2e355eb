"""Every notebook runs from top to bottom in an empty folder, and the outputs that are committed are fit to be seen."""

import ast
import inspect
import re

import pytest

import mmkeras as mm

pytest.importorskip("nbclient")

import nbformat
from run_notebooks import EPOCHS, FOLDER, PATHS, ROWS, execute, outputs

SECTIONS = ["The idea", "The data", "Missing modalities", "Saving and serving", "What the original tutorial"]
# Of this or that machine: absolute paths, addresses in memory.
PRIVATE = re.compile(r"/(home|root|tmp|opt|work|Users|usr|var)/|[A-Z]:\\\\|at 0x[0-9a-f]{6}")


@pytest.fixture(params=PATHS, ids=[path.stem for path in PATHS])
def path(request):
    if request.param.stem.startswith("4_") and not hasattr(mm, "search"):
        pytest.skip("the notebook needs mmkeras.search")
    return request.param


def text_of(output):
    """All text of an output, of whichever kind."""
    parts = [output.get("text", ""), output.get("evalue", "")]
    parts += [value for kind, value in output.get("data", {}).items() if kind.startswith("text/")]
    return "\n".join(map(str, parts))


def test_the_notebooks_are_there():
    assert [path.stem.split("_", 1)[0] for path in PATHS] == ["1", "2", "3", "4", "5", "6", "7", "8", "9"]
    assert {path.name for path in FOLDER.iterdir()} - {path.name for path in PATHS} == {"architecture.svg"}


def test_a_notebook_begins_as_all_do(path):
    notebook = nbformat.read(path, as_version=4)
    first, install, _, setting = notebook.cells[:4]
    assert "colab-badge.svg" in first.source and f"notebooks/{path.name})" in first.source
    assert "%pip install" in install.source and setting.source.endswith("FULL = False")
    assert sum("%pip" in cell.source for cell in notebook.cells) == 1
    titles = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert all(f"## {title}" in titles for title in SECTIONS)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert all(word in code for word in ("summary()", "plot_model", ".fit(", ".save(", ".export(", "if FULL:"))


def test_committed_outputs_are_there_small_and_clean(path):
    assert path.stat().st_size < 1_000_000
    notebook = nbformat.read(path, as_version=4)
    run = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in run] == list(range(1, len(run) + 1))
    found = [output for _, output in outputs(notebook)]
    assert sum("image/png" in output.get("data", {}) for output in found) >= 2
    for output in found:
        assert output.output_type != "error" and output.get("name") != "stderr"
        assert PRIVATE.search(text_of(output)) is None and "Warning" not in text_of(output)


def test_links_between_notebooks_lead_somewhere(path):
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        for link in re.findall(r"\]\((\w+\.ipynb)\)", cell.source):
            assert (FOLDER / link).is_file()


def test_what_the_notebooks_name_is_public(path):
    """Also where FULL = True alone would run it."""
    code = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
    tree = ast.parse(re.sub(r"(?m)^(\s*)%.*", r"\1pass", code))
    chains = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    for chain in {chain for chain in chains if re.fullmatch(r"mm(\.\w+)+", chain)}:
        thing = mm
        for name in chain.split(".")[1:]:
            thing = getattr(thing, name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and re.fullmatch(r"mm\.[A-Z]\w+", ast.unparse(node.func)):
            taken = inspect.signature(getattr(mm, node.func.attr)).parameters
            given = {keyword.arg for keyword in node.keywords} - {None}
            assert given <= set(taken) or any(p.kind == p.VAR_KEYWORD for p in taken.values())


def test_a_notebook_runs_in_an_empty_folder(path, tmp_path):
    """All cells, with fewer rows and epochs than the stored outputs are of, which take longest."""
    for number, output in outputs(execute(path, tmp_path, {EPOCHS: 2, ROWS: 300})):
        assert output.get("name") != "stderr", f"cell {number} wrote: {output.text}"
