"""What `import mmkeras` costs beyond `import keras`: medians over fresh processes, and the ratio.

python benchmarks/import_time.py
"""

import statistics
import subprocess
import sys

CODE = "import time; t = time.perf_counter(); import keras; a = time.perf_counter(); {more}; b = time.perf_counter(); print(a - t, b - t)"


def once(more):
    run = subprocess.run([sys.executable, "-c", CODE.format(more=more)], capture_output=True, text=True, check=True)
    return [float(value) for value in run.stdout.split()]


def main(runs=7):
    once("import mmkeras")  # fills the disk cache
    keras_seconds, both_seconds = zip(*(once("import mmkeras") for _ in range(runs)), strict=True)
    extra = statistics.median(b - k for k, b in zip(keras_seconds, both_seconds, strict=True))
    print(f"import keras           {statistics.median(keras_seconds):6.2f} s (median of {runs})")
    print(f"import mmkeras beyond  {extra:6.2f} s")
    ratios = [b / k for k, b in zip(keras_seconds, both_seconds, strict=True)]
    print(f"ratio                  {statistics.median(ratios):6.3f}")


if __name__ == "__main__":
    main()
