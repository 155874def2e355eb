"""Write golden/ anew, what `test_golden.py` compares later versions with. Run it with version 0.1.0 only."""

import json
import pathlib
import shutil
import tempfile

import numpy as np
import test_golden as golden

import mmkeras as mm


def write_json(path, content):
    path.write_text(json.dumps(content, indent=None, ensure_ascii=False) + "\n", encoding="utf-8")


def write_rows(name, rows):
    """Rows as a CSV file, their images beside it."""
    saved = golden.GOLDEN / "saved"
    rows = rows.copy()
    for column in [column for column in rows.columns if column.startswith("image")]:
        (saved / f"{name}_images").mkdir(exist_ok=True)
        for label, cell in rows[column].items():
            if cell:
                rows.loc[label, column] = f"{name}_images/{pathlib.Path(cell).name}"
                shutil.copyfile(cell, saved / rows.loc[label, column])
    rows.to_csv(saved / f"{name}.csv")


def write_pipeline(name, pipe, folder):
    """A saved Pipeline with its baselines as an archive; weights are rounded, which makes it a third of the size."""
    for model in [pipe.encode, pipe.head, *(base.head for base in pipe._baselines.values() if hasattr(base, "head"))]:
        model.set_weights([rounded(values) for values in model.get_weights()])
    pipe.save(folder / "model")
    shutil.make_archive(golden.GOLDEN / "saved" / name, "xztar", folder / "model")


def rounded(values):
    """float32 values to the precision of bfloat16; others as they are."""
    if values.dtype != np.float32:
        return values
    return ((values.view(np.uint32) + np.uint32(0x8000)) & np.uint32(0xFFFF0000)).view(np.float32)


def main():
    if mm.__version__ != "0.1.0":
        raise SystemExit(f"The files are those of version 0.1.0. This is {mm.__version__}.")
    shutil.rmtree(golden.GOLDEN, ignore_errors=True)
    (golden.GOLDEN / "saved").mkdir(parents=True)
    for name in golden.TASKS:
        with tempfile.TemporaryDirectory() as folder:
            pipe, rows, facts = golden.learn(name, pathlib.Path(folder))
            write_rows(name, rows)
            write_pipeline(name, pipe, pathlib.Path(folder))
            facts["saved"] = golden.judge(name, pathlib.Path(folder) / "again")
        write_json(golden.GOLDEN / f"{name}.json", facts)
        print(f"{name}: {facts['labels']}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        write_json(golden.GOLDEN / "keys.json", golden.all_keys(pathlib.Path(folder)))


if __name__ == "__main__":
    main()
