"""What the peer programs share: options, clock, peak of resident memory, and the line of JSON that `rqat bench --json`
prints too."""
import argparse
import ctypes
import json
import os
import time


def parse_options(description, **others):
    """Options of every peer program, and `others`: name = (default, help)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", required=True, help="Hugging Face folder (for llama.cpp a GGUF file)")
    parser.add_argument("--ids", help="JSON file: a list of lists of token ids")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--sequence-length", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    for name, (default, help_text) in others.items():
        option = "--" + name.replace("_", "-")
        if default is False:
            parser.add_argument(option, action="store_true", help=help_text)
        else:
            parser.add_argument(option, type=type(default), default=default, help=help_text)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    return options


def read_sequences(options):
    """batch_size lists of sequence_length ids."""
    with open(options.ids) as file:
        lists = json.load(file)
    lists = [ids[: options.sequence_length] for ids in lists[: options.batch_size]]
    if len(lists) < options.batch_size or min(map(len, lists)) < options.sequence_length:
        raise SystemExit(f"{options.ids}: {options.batch_size} lists of {options.sequence_length} ids are needed")
    return lists


class PeakMemory:
    """Peak of this process's resident memory since the object was made."""

    def __init__(self):
        ctypes.CDLL(None).malloc_trim(0)
        try:
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")
        except OSError:  # then it is the peak since the process began
            pass

    def bytes(self):
        with open("/proc/self/status") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM:"))


def time_repeats(work, repeats, warm_up=True):
    """Seconds of each call of `work`; a first one that warms up is not among them."""
    seconds = []
    for i in range(repeats + warm_up):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds[warm_up:]


def quantile(values, share):
    """By linear interpolation between the sorted values."""
    values = sorted(values)
    place = share * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (place - below) * (values[above] - values[below])


def report(name, what, options, seconds, peak, tokens=None):
    median = quantile(seconds, 0.5)
    series = {
        "name": name,
        "repeats": len(seconds),
        "median_seconds": median,
        "p10_seconds": quantile(seconds, 0.1),
        "p90_seconds": quantile(seconds, 0.9),
    }
    if tokens:
        series.update(unit="tokens", amount=tokens, per_second=tokens / median)
    print(
        json.dumps(
            {
                "benchmark": name,
                "what": what,
                "threads": options.threads,
                "peak_memory_bytes": peak.bytes(),
                "series": [series],
            }
        ),
        flush=True,
    )
