"""What processes of tests do with memory that is given back.

TensorFlow gives memory back at every step and asks for it again, and the system clears each page anew: of small fits this may be a fifth of the
time. glibc reads these when a process starts: workers, kernels of notebooks and commands.
"""

KEPT = {"MALLOC_TRIM_THRESHOLD_": str(2**32), "MALLOC_MMAP_THRESHOLD_": str(2**28), "MALLOC_TOP_PAD_": str(2**26)}
