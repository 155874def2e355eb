"""Run the notebooks: `python tests/run_notebooks.py [WORDS…]` runs those whose names hold a word, and stores their outputs."""

import os
import pathlib
import re
import sys
import tempfile
import time

import nbformat
from memory import KEPT
from nbclient import NotebookClient

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))


EPOCHS = r'(\bepochs(?:=|": ))(\d+)'
ROWS = r"(\bsamples\.\w+\((?:\d+ if FULL else )?)(\d+)"


def execute(path, folder, most=None):
    """A notebook, run from top to bottom by a new kernel in `folder`, as one that holds its outputs.

    Args:
        path: pathlib.Path of the notebook.
        folder: where its kernel runs.
        most: {pattern: the greatest number that cells may name there}, such as `{EPOCHS: 2, ROWS: 300}`; None leaves them as they are.
    """

    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            for pattern, limit in (most or {}).items():
                cell.source = re.sub(
                    pattern, lambda found, limit=limit: f"{found[1]}{min(int(found[2]), limit)}", cell.source
                )
    resources = {"metadata": {"path": str(folder)}}
    # Times of cells would change every file at every run.
    client = NotebookClient(notebook, timeout=900, kernel_name="python3", resources=resources, record_timing=False)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TF_CPP", "MMKERAS"))}
    return client.execute(env={**environment, **KEPT, "PYTHONPATH": str(FOLDER.parent)})


def store(notebook, path):
    """Write a notebook with its outputs; what changes from run to run without need is left out."""
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = _joined(cell.outputs)
        for output in cell.get("outputs", ()):
            # A table's random id, which pandas' Styler makes anew.
            if "text/html" in output.get("data", {}):
                output.data["text/html"] = re.sub("T_[0-9a-f]{5}", "T_00000", output.data["text/html"])
            if "text/plain" in output.get("data", {}):
                output.data["text/plain"] = re.sub(r" at 0x[0-9a-f]+", "", output.data["text/plain"])
    notebook.metadata = {
        "colab": {"provenance": []},
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def _joined(outputs):
    """Outputs in which pieces of the same stream are one; a kernel sends them as they come."""
    joined = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream" and output.name == joined[-1].name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def outputs(notebook):
    """(cell number, output) of all code cells."""
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", ()):
            yield number, output


if __name__ == "__main__":
    for found in PATHS:
        if not sys.argv[1:] or any(word in found.name for word in sys.argv[1:]):
            begin = time.monotonic()
            with tempfile.TemporaryDirectory() as place:
                store(execute(found, place), found)
            print(f"{found.name}: {time.monotonic() - begin:.0f} s, {found.stat().st_size / 1024:.0f} kB", flush=True)
