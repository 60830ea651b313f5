"""Event files of a training run as TensorBoard's own reader sees them.

Environment: RQAT_BIN = the rqat program.
"""
import json
import os
import subprocess

import pytest

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

RECIPE = """
models: {base: {path: model}}
quant: {w4: {num_bits: 4, group_size: 16}}
data: {train: {generators: [comparison], num_examples: 8}}
stages:
  - {id: sft, type: train, model: base, data: train, max_steps: 5, batch_size: 2}
  - {id: rtn, type: quantize, model: sft, quant: w4, initializer: rtn}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    program = os.environ.get("RQAT_BIN")
    if not program:
        pytest.skip("RQAT_BIN is not set")
    work = tmp_path_factory.mktemp("run")
    (work / "r.yaml").write_text(RECIPE)
    for arguments in ("init --out model --hidden-size 16 --num-heads 2 --num-key-value-heads 1 --num-layers 1",
                      "train --quiet --config r.yaml output_dir=out"):
        done = subprocess.run([program, *arguments.split()], cwd=work, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return work / "out"


def scalars(folder):
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def test_training_metrics(run):
    rows = [json.loads(line) for line in (run / "sft/metrics.jsonl").read_text().splitlines()]
    seen = scalars(run / "sft/tensorboard")
    assert len(rows) == 5
    assert set(seen) == set(rows[0]) - {"step"}
    for row in rows:
        for name, value in row.items():
            if name != "step":
                assert seen[name][row["step"]] == pytest.approx(value, rel=1e-6), name


def test_quantization_errors_by_layer(run):
    layers = json.loads((run / "rtn/quant_report.json").read_text())
    seen = scalars(run / "rtn/tensorboard")
    assert len(layers) == 7
    for index, layer in enumerate(layers):
        assert seen["error"][index] == pytest.approx(layer["error"], rel=1e-6, abs=1e-12)
