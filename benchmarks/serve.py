"""What `mmkeras serve` answers in a second, beside the bare `pipe.predict`.

    python benchmarks/serve.py [--clients 16] [--seconds 5] [--rounds 3]

Made-up films, words and numbers; a request is one row. The server and the clients are processes of their own on this machine; all
clients are threads of one process, each on a connection that it keeps. In every round the bare `pipe.predict` predicts rows one by one,
and then the clients ask. Printed are medians over the rounds: rows a second, the median and the 99th percentile of the milliseconds that a
client waits, their ratio, and the seconds of processor time that server and clients took for each second.
"""

import argparse
import http.client
import itertools
import json
import os
import pathlib
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

COLUMNS = ["overview", "budget", "popularity", "runtime"]


def fitted():
    """(fitted Pipeline, DataFrame of rows)."""
    import mmkeras as mm

    df = mm.samples.movies(700, seed=0)
    modalities = [
        mm.Text("overview", encoder="lexical", name="words"),
        mm.Tabular(numeric=["budget", "popularity", "runtime"], zero_is_missing=["budget"]),
    ]
    pipe = mm.Pipeline(modalities, mm.MultiLabel("genres"))
    pipe.fit(df.head(600), epochs=2, verbose=0)
    return pipe, df


def bare(pipe, df, seconds):
    """(rows a second, ms of each call) of `pipe.predict` on one row after the other."""
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        row = df.iloc[[len(times) % len(df)]]
        start = time.perf_counter()
        pipe.predict(row)
        times.append(1000 * (time.perf_counter() - start))
    return len(times) / seconds, times


def ask(port, bodies, end, waits):
    """One client: asks until `end`, and writes down how long it waited, in ms."""
    connection, number = http.client.HTTPConnection("127.0.0.1", port), 0
    while time.perf_counter() < end:
        start = time.perf_counter()
        connection.request("POST", "/v1/models/films:predict", bodies[number % len(bodies)])
        response = connection.getresponse()
        answer = response.read()
        waits.append(1000 * (time.perf_counter() - start))
        if response.status != 200:
            raise RuntimeError(f"The server answered {response.status}: {answer[:200]!r}")
        number += 1


def ask_all(port, rows, clients, seconds):
    """The process of all clients; prints JSON of how long each request took, and of its processor time."""
    bodies = [json.dumps({"instances": [row]}) for row in rows]
    waits, end = [[] for _ in range(clients)], time.perf_counter() + seconds
    threads = [
        threading.Thread(target=ask, args=(port, bodies[number * 40 :] + bodies[: number * 40], end, waits[number]))
        for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"waits": list(itertools.chain(*waits)), "processor": used.ru_utime + used.ru_stime}))


def processor(pid):
    """Seconds of processor time that a process has taken."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(server, port, file, options):
    """{figure: value} of one round of the clients."""
    before = processor(server.pid)
    command = [sys.executable, __file__, "--ask", str(port), "--rows", file]
    command += ["--clients", str(options.clients), "--seconds", str(options.seconds)]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    waits = sorted(said["waits"])
    middle, late = statistics.median(waits), waits[int(0.99 * len(waits))]
    return {
        "rows a second": len(waits) / options.seconds,
        "p50 ms": middle,
        "p99 ms": late,
        "p99 / p50": late / middle,
        "server, seconds of processor a second": (processor(server.pid) - before) / options.seconds,
        "clients, seconds of processor a second": said["processor"] / options.seconds,
    }


def rounds(options):
    pipe, df = fitted()
    with tempfile.TemporaryDirectory() as folder:
        pipe.save(f"{folder}/films")
        file = f"{folder}/rows.json"
        pathlib.Path(file).write_text(df[COLUMNS].to_json(orient="records"))
        command = [sys.executable, "-m", "mmkeras", "serve", f"{folder}/films", "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                port = int(re.search(r":(\d+)/", server.stdout.readline())[1])
                measure(server, port, file, options)
                for _ in range(options.rounds):
                    rate, times = bare(pipe, df, options.seconds)
                    alone = {"bare predict, rows a second": rate, "bare predict, ms": statistics.median(times)}
                    yield {**alone, **measure(server, port, file, options)}
            finally:
                server.send_signal(signal.SIGTERM)
                server.communicate()  # it says that it stopped


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ask", type=int, metavar="PORT", help=argparse.SUPPRESS)  # what the process of clients does
    parser.add_argument("--rows", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        ask_all(options.ask, json.loads(pathlib.Path(options.rows).read_text()), options.clients, options.seconds)
        return
    figures = list(rounds(options))
    for name in figures[0]:
        print(f"{name:40} {statistics.median(figure[name] for figure in figures):8.2f}")


if __name__ == "__main__":
    main()
