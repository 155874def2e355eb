"""What `import mmkeras` costs beyond `import keras`, and the command's help beside a bare interpreter: medians over fresh
processes, and the ratios.

python benchmarks/import_time.py
"""

import statistics
import subprocess
import sys
import time

CODE = "import time; t = time.perf_counter(); import keras; a = time.perf_counter(); {more}; b = time.perf_counter(); print(a - t, b - t)"
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "mmkeras --version": ["-m", "mmkeras", "--version"],
    "mmkeras --help": ["-m", "mmkeras", "--help"],
    "mmkeras train --help": ["-m", "mmkeras", "train", "--help"],
    "mmkeras trian": ["-m", "mmkeras", "trian"],
}


def once(more):
    run = subprocess.run([sys.executable, "-c", CODE.format(more=more)], capture_output=True, text=True, check=True)
    return [float(value) for value in run.stdout.split()]


def whole(arguments):
    """Seconds of a process from its start to its end."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], capture_output=True)
    return time.perf_counter() - start


def main(runs=7):
    for arguments in COMMANDS.values():
        whole(arguments)  # fills the disk cache
    times = {name: [] for name in COMMANDS}
    for _ in range(3 * runs):
        for name, arguments in COMMANDS.items():
            times[name].append(whole(arguments))
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, seconds in medians.items():
        print(f"{name:22} {seconds:6.3f} s (median of {3 * runs}), ratio {seconds / medians['python -c pass']:.1f}")
    once("import mmkeras")
    keras_seconds, both_seconds = zip(*(once("import mmkeras") for _ in range(runs)), strict=True)
    extra = statistics.median(b - k for k, b in zip(keras_seconds, both_seconds, strict=True))
    print(f"import keras           {statistics.median(keras_seconds):6.2f} s (median of {runs})")
    print(f"import mmkeras beyond  {extra:6.2f} s")
    ratios = [b / k for k, b in zip(keras_seconds, both_seconds, strict=True)]
    print(f"ratio                  {statistics.median(ratios):6.3f}")


if __name__ == "__main__":
    main()
