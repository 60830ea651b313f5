#!/usr/bin/env python3
"""Runs `rqat bench` and a peer program on the same work in turns, each time in a process of its own with the same
threads, and prints medians over the rounds and their ratios.

  tools/peers/compare.py kd_step --num-bits 2          distillation step, 2 x 512 tokens (also qat_step, sft_step)
  tools/peers/compare.py generate                      16 prompts of 64 tokens, 64 new ones each: transformers
  tools/peers/compare.py generate_llama_cpp            the same: llama.cpp, on the GGUF file
  tools/peers/compare.py gptq --num-bits 4             128 x 512 tokens: gptqmodel
  tools/peers/compare.py load                          model and tokenizer: transformers

`tools/setup --peers` makes the peers' venv. Nothing else should run meanwhile; where something does, the ratios suffer
less than the figures."""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import quantile

ROOT = Path(__file__).resolve().parents[2]

# Options of both sides: sequences, tokens of each, timed repeats in one process.
SIZES = {
    "kd_step": (2, 512, 3),
    "qat_step": (2, 512, 3),
    "sft_step": (2, 512, 3),
    "generate": (16, 64, 2),
    "generate_llama_cpp": (16, 64, 2),
    "gptq": (128, 512, 1),
    "load": (1, 16, 3),
}
QUANTISED = ("kd_step", "qat_step", "generate", "generate_llama_cpp", "gptq")  # by rqat
PEER_QUANTISES = ("kd_step", "qat_step", "gptq")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=SIZES)
    parser.add_argument("--model", default="models/SmolLM2-135M-Instruct.Q4_1.gguf", help="GGUF file")
    parser.add_argument("--num-bits", type=int, default=4)
    parser.add_argument("--group-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rqat", default="build/rqat", help="the program")
    parser.add_argument("--python", default=".venvs/peers/bin/python", help="of the venv with the peers")
    parser.add_argument("--compile", action="store_true", help="the peer compiles its student (steps)")
    parser.add_argument("--ours", default="", help="more options of `rqat bench`, in quotes: --optimizer adamw_8bit")
    return parser.parse_args()


def run(command, threads, **others):
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), HF_HUB_OFFLINE="1")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, **others)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def write_sequences(options, model, file, number, length):
    """The project's documentation in the model's tokens."""
    text = "\n\n".join(path.read_text() for path in sorted((ROOT / "docs").rglob("*.md")))
    ids = json.loads(run([options.rqat, "tokenize", "--model", model], options.threads, input=json.dumps(text) + "\n"))
    ids = ids * (number * length // len(ids) + 1)
    file.write_text(json.dumps([ids[i * length : (i + 1) * length] for i in range(number)]))


def commands(options, model, ids):
    """Of rqat and of the peer."""
    number, length, repeats = SIZES[options.work]
    sizes = ["--ids", ids, "--batch-size", number, "--sequence-length", length, "--repeats", repeats]
    sizes += ["--threads", options.threads]
    format_options = ["--num-bits", options.num_bits, "--group-size", options.group_size]
    ours = [options.rqat, "bench", options.work.removesuffix("_llama_cpp"), "--model", model, "--json", "--quiet"]
    ours += sizes + (format_options if options.work in QUANTISED else []) + options.ours.split()
    script = {"generate_llama_cpp": "llama_cpp_decode"}.get(options.work, options.work)
    if options.work.endswith("_step"):
        script = "train_step"
        sizes += ["--kind", options.work] + (["--compile"] if options.compile else [])
    peer = [options.python, f"tools/peers/{script}.py"]
    peer += ["--model", options.model if options.work == "generate_llama_cpp" else model]
    peer += sizes + (format_options if options.work in PEER_QUANTISES else [])
    return {"rqat": list(map(str, ours)), "peer": list(map(str, peer))}


def last_json(text):
    return json.loads([line for line in text.splitlines() if line.startswith("{")][-1])


def summary(lines):
    """Median over the rounds: seconds, tokens per second (None without tokens), bytes."""
    series = [line["series"][0] for line in lines]
    seconds = [one["median_seconds"] for one in series]
    rates = [one["per_second"] for one in series if "per_second" in one]
    return {
        "what": lines[0]["what"],
        "seconds": [quantile(seconds, share) for share in (0.5, 0.1, 0.9)],
        "rate": quantile(rates, 0.5) if rates else None,
        "bytes": quantile([line["peak_memory_bytes"] for line in lines], 0.5),
    }


def print_comparison(options, results):
    sides = {name: summary(lines) for name, lines in results.items()}
    print(f"\n{options.work}: {options.rounds} rounds in turns, {options.threads} threads")
    print(f"{'':6}{'median s':>10}{'p10':>10}{'p90':>10}{'tokens/s':>12}{'peak GB':>10}")
    for name, side in sides.items():
        seconds = "".join(f"{value:10.3f}" for value in side["seconds"])
        rate = "-" if side["rate"] is None else f"{side['rate']:.1f}"
        print(f"{name:6}{seconds}{rate:>12}{side['bytes'] / 1e9:10.2f}   {side['what']}")
    ours, peer = sides["rqat"], sides["peer"]
    print(
        f"rqat / peer: speed {peer['seconds'][0] / ours['seconds'][0]:.2f}, "
        f"peak memory {ours['bytes'] / peer['bytes']:.2f}"
    )


def main():
    options = parse_options()
    results = {"rqat": [], "peer": []}
    with tempfile.TemporaryDirectory() as folder:
        model, ids = Path(folder) / "model", Path(folder) / "ids.json"
        run([options.rqat, "convert", options.model, str(model)], options.threads)
        number, length, _ = SIZES[options.work]
        write_sequences(options, str(model), ids, number, length)
        for turn in range(options.rounds):
            for name, command in commands(options, model, ids).items():
                results[name].append(last_json(run(command, options.threads)))
                seconds = results[name][-1]["series"][0]["median_seconds"]
                print(f"round {turn + 1}, {name}: {seconds:.3f} s", file=sys.stderr, flush=True)
    print_comparison(options, results)


if __name__ == "__main__":
    main()
