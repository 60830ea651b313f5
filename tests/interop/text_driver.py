"""Runs the tokenizer and the chat templates of the built tests (tests/text/interop_driver_test.cpp) on Python values."""
import json
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("RQAT_BUILD", ROOT / "build"))
DATA = pathlib.Path(os.environ["RQAT_DATA"]) if "RQAT_DATA" in os.environ else None
MODEL = ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"


def data_path(*parts):
    if DATA is None:
        pytest.skip("RQAT_DATA is not set")
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is missing")
    return path


def run(test, values, folder, **variables):
    """The driver's answer to each value."""
    source, result = pathlib.Path(folder) / "in.jsonl", pathlib.Path(folder) / "out.jsonl"
    source.write_text("".join(json.dumps(value) + "\n" for value in values))
    environment = dict(os.environ, RQAT_DRIVER_IN=str(source), RQAT_DRIVER_OUT=str(result), **variables)
    command = [str(BUILD / "test_text"), "--gtest_also_run_disabled_tests", f"--gtest_filter=DISABLED_InteropDriver.{test}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return [json.loads(line) for line in result.read_text().split("\n") if line]


def encode(model, texts, folder):
    return run("TokenizeLines", texts, folder, RQAT_DRIVER_MODEL=str(model), RQAT_DRIVER_DECODE="0", RQAT_DRIVER_SPECIAL="0")


def decode(model, ids, folder):
    return run("TokenizeLines", ids, folder, RQAT_DRIVER_MODEL=str(model), RQAT_DRIVER_DECODE="1", RQAT_DRIVER_SPECIAL="1")


def render(requests, folder):
    return run("RenderLines", requests, folder)
