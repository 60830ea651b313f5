#!/usr/bin/env python3
"""Runs the examples of the documentation in a copy of the project's layout whose models are tiny and whose recipes are short.

usage: test_examples.py RQAT_PROGRAM [unittest options]
"""
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

import tiny_gguf
from markdown import ROOT, Document, documents

RQAT = os.path.abspath(sys.argv.pop(1))
# Sizes that the recipes get here.
SHORT = {"max_steps": 1, "num_examples": 4, "num_samples": 2, "batch_size": 2, "prompts_per_step": 2, "num_generations": 2,
         "max_completion_length": 4, "max_new_tokens": 4, "num_problems": 2, "eval_steps": 1, "likelihood_examples": 2}
# `wait` alone succeeds whatever its jobs did; the trap notes each of them before the next command starts.
PRELUDE = """set -euo pipefail
: & started=""
trap '[[ " $started " == *" $! "* ]] || started+=" $!"' DEBUG
wait() { local job failed=0; for job in $started; do builtin wait "$job" || failed=1; done; return $failed; }
"""
# Examples of the commands' help that need other numbers, or have no place on one small machine.
REPLACED = {
    "--num-examples 100": "--num-examples 4",
    "[19556, 665]": "[72, 101]",  # ids of the tiny vocabulary
    "--sequence-length 512": "--sequence-length 32",
    "--batch-size 64": "--batch-size 4 --repeats 1 --max-new-tokens 4",
    "rqat bench kd_step": "rqat bench kd_step --repeats 1",
    "--raw": "--raw --max-new-tokens 8",
    "--prompt \"Tom": "--max-new-tokens 8 --prompt \"Tom",
    "rqat evaluate": "rqat evaluate --max-new-tokens 4",
    "rqat recipes cp quickstart mine.yaml": "rqat recipes cp quickstart mine.yaml --overwrite",
}
ONE_HOST_EACH = "--node-rank"  # told in docs/howto/cluster.md, where both run together


class Sandbox:
    """Recipes and configs of the project, tiny models under the names of the real ones, the program in build/."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="rqat_docs_"))
        shutil.copytree(ROOT / "configs", self.folder / "configs")
        for path in (ROOT / "recipes").rglob("*.yaml"):
            self.write(path.relative_to(ROOT), shortened(path.read_text()))
        for name in ("build", "bin", "models", "docs/reference", ".zfunc"):
            (self.folder / name).mkdir(parents=True)
        # A copy, because the program finds its recipes from where it lies.
        shutil.copy(RQAT, self.folder / "build/rqat")
        self.write("bin/ssh", "#!/bin/bash\nshift\nexec bash -c \"$*\"\n").chmod(0o755)
        tiny_gguf.write(self.folder / "models/SmolLM2-135M-Instruct.Q4_1.gguf")
        shutil.copy(self.folder / "models/SmolLM2-135M-Instruct.Q4_1.gguf", self.folder / "models/smollm2.gguf")
        self.write("data/gsm8k/train.jsonl", 3 * (json.dumps({"question": "1 + 1?", "answer": "It is 2.\n#### 2"}) + "\n"))
        self.write("ids.json", json.dumps([[72, 101, 108], [108, 111, 33]]))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, script, timeout=180):
        """None when the script succeeds, else what it printed last."""
        clean = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")}
        path = f"{self.folder}/bin:{self.folder}/build:{os.environ['PATH']}"
        done = subprocess.run(["bash", "-c", PRELUDE + script], cwd=self.folder, text=True, stdin=subprocess.DEVNULL, timeout=timeout,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env={**clean, "PATH": path, "HOME": str(self.folder), "OMP_NUM_THREADS": "1", "TEST_PORT": str(self.port)})
        return None if done.returncode == 0 else f"exit code {done.returncode}\n{script.strip()}\n{done.stdout[-2000:]}"


def shortened(recipe):
    for key, value in SHORT.items():
        recipe = re.sub(rf"\b{key}: *\d+", f"{key}: {value}", recipe)
    return re.sub(r"\bdtype: bfloat16", "dtype: float32", recipe)


def replaced(text, pairs):
    for pair in filter(None, (p.strip() for p in pairs.split(";"))):
        old, arrow, new = pair.partition(" => ")
        if not arrow or old not in text:
            raise ValueError(f"'{pair}' replaces nothing")
        text = text.replace(old, new)
    return text


def keys_of_fragment(text, path):
    """Overrides that put the keys of a piece of YAML at a place of a recipe."""
    return [f"{path}.{part.strip()}".replace(":", "=", 1) for part in re.split(r"^(?=[a-z_]+:)", text, flags=re.M) if part.strip()]


def runnable(span):
    """A whole command without placeholders (RUN, FILE, ...)."""
    return re.match(r"rqat \w+ \S", span) and not re.search(r"(?<![\w=])[A-Z]+\b|\.\.\.", span)


class Examples(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sandbox = Sandbox()
        cls.addClassCleanup(shutil.rmtree, cls.sandbox.folder, ignore_errors=True)
        cls.sandbox.write("recipe.yaml", (cls.sandbox.folder / "recipes/debug/qwen3.yaml").read_text().replace("debug-qwen3", "recipe"))
        fault = cls.sandbox.run("rqat init --family qwen3 --out models/recipe && rqat train --config recipes/quickstart.yaml")
        if fault:
            raise AssertionError(fault)

    def assert_runs(self, where, script):
        with self.subTest(where):
            self.assertIsNone(self.sandbox.run(script))

    def run_block(self, block):
        with self.subTest(block.where):
            if block.kind == "run":
                shutil.rmtree(self.sandbox.folder / "runs/recipe", ignore_errors=True)
                self.assertIsNone(self.sandbox.run(replaced(block.text, block.argument)))
            elif block.argument:
                path = block.argument.removeprefix("in ")
                overrides = " ".join("'" + o.replace("'", "'\\''") + "'" for o in keys_of_fragment(block.text, path))
                self.assertIsNone(self.sandbox.run(f"rqat validate --config recipes/quickstart.yaml {overrides}"))
            else:
                self.sandbox.write("example.yaml", block.text)
                self.assertIsNone(self.sandbox.run("rqat validate --config example.yaml"))

    def test_blocks_and_commands_in_the_text(self):
        ran = 0
        for document in documents():
            for block in document.blocks:
                if block.kind in ("run", "validate"):
                    self.run_block(block)
                    ran += 1
            for where, span in document.inline_code():
                if not document.generated and runnable(span) and not any(name in span for name in document.foreign):
                    self.assert_runs(where, span)
        self.assertGreater(ran, 8)

    def test_files_of_the_quickstart(self):
        named = 0
        for name in ("README.md", "docs/quickstart.md"):
            for where, span in Document(ROOT / name).inline_code():
                for path in re.findall(r"\b(?:runs/quickstart/[\w./]+|\w+/responses\w+\.jsonl)", span):
                    named += 1
                    with self.subTest(where):
                        self.assertTrue(any((self.sandbox.folder / "runs/quickstart").glob(path.removeprefix("runs/quickstart/"))), path)
        self.assertGreater(named, 2)

    def test_examples_of_the_commands_help(self):
        text = (ROOT / "docs/reference/commands.md").read_text()
        examples = [line.strip() for part in re.findall(r"^Examples?:\n(.*?)^```", text, flags=re.M | re.S) for line in part.splitlines()]
        examples = [example for example in examples if example and ONE_HOST_EACH not in example]
        self.assertGreater(len(examples), 30)
        # The others use what this one writes.
        examples.sort(key=lambda example: not example.startswith("rqat convert"))
        for name in ("a", "b"):
            self.assertIsNone(self.sandbox.run(f"rqat train --config recipe.yaml output_dir=runs/{name}"))
        for example in examples:
            script = example + "\n"
            for old, new in REPLACED.items():
                script = script.replace(old, new)
            self.assert_runs(example, script)


class Checks(unittest.TestCase):
    """The harness sees what fails."""

    def test_a_failing_line_fails_its_block(self):
        class Shell(Sandbox):
            def __init__(self, folder):
                self.folder, self.port = pathlib.Path(folder), 0

        with tempfile.TemporaryDirectory() as folder:
            shell = Shell(folder)
            self.assertIsNone(shell.run("true\nfor n in 0 1; do true & done; wait"))
            for script in ("false\ntrue", "false | cat", "for n in 0 1; do test $n = 1 & done; wait", "ehco hello"):
                self.assertIn("exit code", shell.run(script), script)

    def test_replacements_and_fragments(self):
        self.assertEqual(replaced("a 8 b 8", "8 => 2; a => c"), "c 2 b 2")
        with self.assertRaises(ValueError):
            replaced("a", "8 => 2")
        self.assertEqual(keys_of_fragment("objective: {a: 1}\noptimizer:\n  adamw: {}\n", "stages.kd"),
                         ["stages.kd.objective= {a: 1}", "stages.kd.optimizer=\n  adamw: {}"])
        self.assertEqual(shortened("max_steps: 200, seed: 7"), "max_steps: 1, seed: 7")
        self.assertTrue(runnable("rqat list objectives grpo"))
        for span in ("rqat train", "rqat train --config R", "rqat report RUN...", "rqat validate --config FILE"):
            self.assertFalse(runnable(span), span)


if __name__ == "__main__":
    unittest.main()
