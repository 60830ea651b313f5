#!/usr/bin/env python3
"""Several processes of the rqat program: the same losses as one, faults told by rank, two hosts (network namespaces).

usage: test_ranks.py RQAT_PROGRAM [unittest options]
"""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

RQAT = os.path.abspath(sys.argv.pop(1))
HOST = socket.gethostname()
STEPS = 4
RECIPE = """
name: ranks
seed: 7
output_dir: out
device: cpu
models:
  base: {path: tiny}
  other: {path: other}
quant: {w3: {num_bits: 3, group_size: 16}}
data:
  train: {generators: [comparison, one_step_word], num_examples: 24}
stages:
  - {id: gptq, type: quantize, model: base, quant: w3, initializer: gptq,
     calibration: {data: train, num_samples: 12, max_tokens_per_batch: 200}}
"""
TRAIN = """
  - {id: %s, type: train, model: gptq, data: train, max_steps: %d, batch_size: 5, max_tokens_per_micro_batch: 150,
     estimator: lsq, freeze: [], optimizer: {adamw: {learning_rate: 1.0e-2, adam_epsilon: 1.0e-3}}, objective: %s%s}
"""
REINFORCE = """
  - {id: grpo, type: reinforce, model: gptq, data: train, reference: other, max_steps: 3, prompts_per_step: 5,
     num_generations: 3, num_iterations: 2, mini_batches: 2, max_completion_length: 24, temperature: 1.2,
     max_tokens_per_micro_batch: 300, reward: {format: {weight: 1, marker: e, require_finished: false}},
     objective: {grpo: {beta: 0.1}}, optimizer: {adamw: {learning_rate: 1.0e-2, adam_epsilon: 1.0e-3}}}
"""
OBJECTIVES = ["cross_entropy", "kl_forward", "kl_reverse", "jsd", "mix"]


def supervised(name, steps=STEPS, more=""):
    objective = "{mix: {parts: [kl_forward, cross_entropy], weights: [1, 0.2]}}" if name == "mix" else name
    teacher = "" if name == "cross_entropy" else ", teacher: other"
    return TRAIN % (name, steps, objective, teacher + more)


def environment(**more):
    clean = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")}
    return {**clean, "OMP_NUM_THREADS": "1", **more}


def rows(folder, stage):
    return [json.loads(line) for line in (folder / "out" / stage / "metrics.jsonl").read_text().splitlines()]


class RanksTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="rqat_ranks_"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        for name, seed in (("tiny", 1), ("other", 2)):
            subprocess.run([RQAT, "init", "--family", "llama", "--hidden-size", "32", "--num-layers", "2", "--seed", str(seed),
                            "--dtype", "float32", "--out", name], cwd=self.folder, check=True, capture_output=True)

    def write(self, stages, name="recipe.yaml"):
        (self.folder / name).write_text(RECIPE + stages)

    def command(self, ranks, *more, launch=()):
        train = ["train", "--config", "recipe.yaml", *more]
        return [RQAT, *train] if ranks == 0 else [RQAT, "launch", "--nproc-per-node", str(ranks), *launch, "--", *train]

    def run_ranks(self, ranks, *more):
        done = subprocess.run(self.command(ranks, *more), cwd=self.folder, env=environment(), text=True, capture_output=True,
                              timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        return done

    def assert_same(self, expected, found, tolerance=2e-4):
        self.assertEqual(len(expected), len(found))
        for a, b in zip(expected, found):
            for key in ("step", "loss", "grad_norm", "reward", "target_tokens", "trained_groups", "kl", "cross_entropy"):
                self.assertEqual(key in a, key in b, key)
                if key in a:
                    self.assertLessEqual(abs(a[key] - b[key]), tolerance * max(1, abs(a[key])), (key, a["step"]))

    def start(self, ranks, *more, launch=(), **env):
        process = subprocess.Popen(self.command(ranks, *more, launch=launch), cwd=self.folder, env=environment(**env), text=True,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.addCleanup(lambda: (process.poll() is None and process.kill(), process.stderr.close(), process.wait()))
        return process

    def plain_ranks(self, environments, folders=None):
        """Ranks without a launcher, each with variables and a folder of its own."""
        port = str(free_port())
        processes = []
        for rank, more in enumerate(environments):
            env = environment(RANK=str(rank), WORLD_SIZE=str(len(environments)), MASTER_ADDR="127.0.0.1", MASTER_PORT=port, **more)
            process = subprocess.Popen(self.command(0), cwd=folders[rank] if folders else self.folder, env=env, text=True,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            self.addCleanup(lambda p=process: (p.poll() is None and p.kill(), p.stderr.close(), p.wait()))
            processes.append(process)
        return processes

    def wait_for_steps(self, process, stage, steps, limit=60):
        path = self.folder / "out" / stage / "metrics.jsonl"
        deadline = time.time() + limit
        while time.time() < deadline and process.poll() is None:
            if path.exists() and len(path.read_text().splitlines()) >= steps:
                return
            time.sleep(0.02)
        self.fail(f"no {steps} steps of {stage}: {process.stderr.read()[-3000:] if process.poll() is not None else ''}")

    def rank_pid(self, process, rank):
        for child in subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split():
            if f"\0RANK={rank}\0".encode() in b"\0" + pathlib.Path(f"/proc/{child}/environ").read_bytes():
                return int(child)
        self.fail(f"rank {rank} does not run")


class SameAsOne(RanksTest):
    def test_losses_of_all_objectives(self):
        self.write("".join(supervised(name) for name in OBJECTIVES) + REINFORCE)
        self.run_ranks(0, "output_dir=one")
        for ranks in (2, 3):
            self.run_ranks(ranks)
            for stage in OBJECTIVES + ["grpo"]:
                with self.subTest(ranks=ranks, stage=stage):
                    expected = [json.loads(line) for line in (self.folder / "one" / stage / "metrics.jsonl").read_text().splitlines()]
                    self.assertGreater(max(abs(row.get("loss", 0)) for row in expected), 1e-4)
                    self.assert_same(expected, rows(self.folder, stage))
            reports = [json.loads((self.folder / folder / "gptq" / "quant_report.json").read_text()) for folder in ("one", "out")]
            for a, b in zip(*reports):
                self.assertAlmostEqual(a["error"], b["error"], places=5)
            shutil.rmtree(self.folder / "out")

    def test_zero_1(self):
        self.write(supervised("kl_forward"))
        self.run_ranks(0, "output_dir=one")
        self.run_ranks(2, "output_dir=two")
        self.run_ranks(2, "stages.kl_forward.zero=1")
        expected = [json.loads(line) for line in (self.folder / "one/kl_forward/metrics.jsonl").read_text().splitlines()]
        self.assert_same(expected, rows(self.folder, "kl_forward"))
        # Masters, scales and codes are those of two ranks without it.
        for name in ("model.safetensors", "rqat_state.safetensors"):
            files = [(self.folder / run / "kl_forward" / name).read_bytes() for run in ("two", "out")]
            self.assertEqual(*files)

    def test_layers_with_an_input_order_solved_by_different_ranks(self):
        self.write(supervised("cross_entropy"))
        spread = "stages.gptq.initializer.gptq.static_groups=false"
        self.run_ranks(0, "output_dir=one", spread)
        self.run_ranks(2, spread)
        formats = [(self.folder / run / "gptq/rqat_quant.json").read_bytes() for run in ("one", "out")]
        self.assertEqual(*formats)
        self.assertIn(b"act_order", formats[0])
        expected = [json.loads(line) for line in (self.folder / "one/cross_entropy/metrics.jsonl").read_text().splitlines()]
        self.assert_same(expected, rows(self.folder, "cross_entropy"))
        self.run_ranks(2, spread, "output_dir=zero", "stages.cross_entropy.zero=1")
        for name in ("model.safetensors", "rqat_state.safetensors"):
            files = [(self.folder / run / "cross_entropy" / name).read_bytes() for run in ("out", "zero")]
            self.assertEqual(*files)

    def test_layers_solved_by_different_ranks(self):
        self.write("  - {id: rtn, type: quantize, model: base, quant: w3, initializer: {rtn: {search: mse}}}\n")
        self.run_ranks(0, "output_dir=one")
        self.run_ranks(3)
        for name in ("model.safetensors", "rqat_state.safetensors"):
            files = [(self.folder / run / "rtn" / name).read_bytes() for run in ("one", "out")]
            self.assertEqual(*files)
        reports = [json.loads((self.folder / run / "rtn/quant_report.json").read_text()) for run in ("one", "out")]
        for report in reports:
            for row in report:
                row.pop("seconds")
        self.assertEqual(*reports)

    def test_evaluation(self):
        self.write("  - {id: scores, type: evaluate, models: [base, gptq], tasks: [train], teacher: base, "
                   "sampling: {max_new_tokens: 12}}\n")
        self.run_ranks(0, "output_dir=one")
        self.run_ranks(3)
        tables = [json.loads((self.folder / folder / "scores/results.json").read_text()) for folder in ("one", "out")]
        for a, b in zip(tables[0]["models"], tables[1]["models"]):
            a, b = a["tasks"]["train"], b["tasks"]["train"]
            self.assertEqual((a["correct"], a["overall"]), (b["correct"], b["overall"]))
            self.assertAlmostEqual(a["perplexity"] / b["perplexity"], 1, places=5)
            self.assertAlmostEqual(a["mean_response_tokens"], b["mean_response_tokens"])


class Resume(RanksTest):
    def test_saved_by_two_resumed_by_one_and_three(self):
        steps = 60
        self.write(supervised("kl_forward", steps, ", zero: 1"))
        self.run_ranks(0, "output_dir=one")
        expected = [json.loads(line) for line in (self.folder / "one/kl_forward/metrics.jsonl").read_text().splitlines()]
        process = self.start(2)
        self.wait_for_steps(process, "kl_forward", 3)
        process.send_signal(signal.SIGINT)
        _, text = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, text[-3000:])
        self.assertIn("stopped after step", text)
        self.assertLess(len(rows(self.folder, "kl_forward")), steps)
        shutil.copytree(self.folder / "out", self.folder / "saved")
        for ranks in (0, 3):
            with self.subTest(ranks=ranks):
                shutil.rmtree(self.folder / "out")
                shutil.copytree(self.folder / "saved", self.folder / "out")
                self.assertIn("going on after step", self.run_ranks(ranks).stderr)
                self.assert_same(expected, rows(self.folder, "kl_forward"), 5e-3)


class Faults(RanksTest):
    def end_after(self, action, ranks=3, **env):
        self.write(supervised("kl_forward", 100000))
        process = self.start(ranks, **env)
        self.wait_for_steps(process, "kl_forward", 2)
        start = time.time()
        action(process)
        _, text = process.communicate(timeout=60)
        self.assertLess(time.time() - start, 30)
        self.assertEqual(process.returncode, 1, text[-3000:])
        return text

    def test_a_killed_rank(self):
        text = self.end_after(lambda process: os.kill(self.rank_pid(process, 2), signal.SIGKILL))
        self.assertIn(f"rank 2 of 3 on {HOST}: ended with signal 9", text)

    def test_a_killed_main_rank(self):
        text = self.end_after(lambda process: os.kill(self.rank_pid(process, 0), signal.SIGKILL))
        self.assertIn(f"rank 0 of 3 on {HOST}: ended with signal 9", text)

    def test_a_stopped_rank(self):
        text = self.end_after(lambda process: os.kill(self.rank_pid(process, 1), signal.SIGSTOP), RQAT_HEARTBEAT_TIMEOUT="6")
        self.assertIn(f"rank 1 on {HOST} has given no sign of life", text)

    def test_a_rank_in_an_endless_loop(self):
        self.write(supervised("kl_forward", 100000))
        processes = self.plain_ranks([{}, {"RQAT_FAULT": "spin:20"}])
        start = time.time()
        for process in processes:
            _, text = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 1, text[-3000:])
            self.assertIn(f"rank 1 on {HOST} hangs: it computes, but nothing has come of it", text)
        # Start and first steps take a while, too.
        self.assertLess(time.time() - start, 40)

    def test_bad_batches_of_several_ranks(self):
        stages = supervised("cross_entropy", 6).replace("learning_rate: 1.0e-2", "learning_rate: 1.0e+30")
        self.write(stages.replace("initializer: gptq", "initializer: rtn"))
        done = subprocess.run(self.command(2), cwd=self.folder, env=environment(), text=True, capture_output=True, timeout=120)
        self.assertEqual(done.returncode, 1, done.stderr[-3000:])
        self.assertIn("finite", done.stderr)
        files = sorted(path.name for path in (self.folder / "out/cross_entropy").glob("bad_batch_*"))
        step = files[0].split("step_")[1].split(".")[0]
        self.assertEqual(files, [f"bad_batch_step_{step}.jsonl", f"bad_batch_step_{step}_rank_1.jsonl"])
        for name in files:
            batch = [json.loads(line) for line in (self.folder / "out/cross_entropy" / name).read_text().splitlines()]
            self.assertEqual(len(batch), 5)

    def test_ranks_go_with_their_launcher(self):
        self.write(supervised("kl_forward", 100000))
        process = self.start(2)
        self.wait_for_steps(process, "kl_forward", 2)
        pids = [self.rank_pid(process, rank) for rank in (0, 1)]
        process.kill()
        deadline = time.time() + 30
        while time.time() < deadline and any(os.path.exists(f"/proc/{pid}/fd") for pid in pids):
            time.sleep(0.1)
        self.assertFalse([pid for pid in pids if os.path.exists(f"/proc/{pid}/fd")])

    def test_a_rank_whose_output_folder_is_another(self):
        self.write(supervised("kl_forward"))
        elsewhere = self.folder / "elsewhere"
        elsewhere.mkdir()
        for name in ("tiny", "other", "recipe.yaml"):
            (elsewhere / name).symlink_to(self.folder / name)
        for process in self.plain_ranks([{}, {}], [self.folder, elsewhere]):
            _, text = process.communicate(timeout=60)
            self.assertIn(f"rank 1 of 2 on {HOST} does not see the files of rank 0", text)
            self.assertEqual(process.returncode, 2)

    def check_launch(self, launch, words, code):
        self.write(supervised("kl_forward"))
        done = subprocess.run(self.command(1, launch=launch), cwd=self.folder, env=environment(), text=True, capture_output=True,
                              timeout=60)
        self.assertIn(words, done.stderr)
        self.assertEqual(done.returncode, code)

    def test_launch_that_cannot_start(self):
        with socket.socket() as taken:
            taken.bind(("", 0))
            taken.listen()
            port = taken.getsockname()[1]
            self.check_launch(["--rdzv-endpoint", f"127.0.0.1:{port}"], f"port {port} on {HOST} is in use", 1)
        self.check_launch(["--nnodes", "2", "--node-rank", "1", "--rdzv-timeout", "1", "--rdzv-endpoint", f"127.0.0.1:{free_port()}"],
                          "cannot reach the master 127.0.0.1", 1)
        self.check_launch(["--nnodes", "2", "--rdzv-timeout", "1", "--rdzv-endpoint", f"127.0.0.1:{free_port()}"],
                          "node rank 1 of 2 did not come", 1)
        self.check_launch(["--nnodes", "2"], "need --rdzv-endpoint", 2)
        self.check_launch(["--node-rank", "1"], "--node-rank 1 is outside 0..0", 2)
        self.check_launch(["--rdzv-endpoint", "host:none"], "expected HOST:PORT", 2)
        self.check_launch(["--standalone", "--nnodes", "2"], "--standalone is one host", 2)


class TwoHosts(RanksTest):
    """Two network namespaces with an Ethernet pair between them."""

    def setUp(self):
        if os.geteuid() != 0 or shutil.which("ip") is None:
            self.skipTest("network namespaces need root and the program ip")
        super().setUp()
        self.names = [f"rqat{os.getpid()}{side}" for side in "ab"]
        for name in self.names:
            if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode != 0:
                self.skipTest("this machine does not let root make network namespaces")
            self.addCleanup(subprocess.run, ["ip", "netns", "del", name], capture_output=True)
        a, b = self.names
        if subprocess.run(["ip", "link", "add", "rqa", "netns", a, "type", "veth", "peer", "name", "rqb", "netns", b],
                          capture_output=True).returncode != 0:
            self.skipTest("this machine has no veth devices")
        for name, device, address in ((a, "rqa", "10.77.0.1/24"), (b, "rqb", "10.77.0.2/24")):
            for words in (["link", "set", "lo", "up"], ["addr", "add", address, "dev", device], ["link", "set", device, "up"]):
                subprocess.run(["ip", "-n", name, *words], check=True)

    def node(self, rank):
        # A host name of its own, as on another machine.
        launch = [RQAT, "launch", "--nnodes", "2", "--node-rank", str(rank), "--rdzv-endpoint", "10.77.0.1:29555",
                  "--nproc-per-node", "1", "--", "train", "--config", "recipe.yaml"]
        script = f'hostname host-{"ab"[rank]} && exec "$@"'
        return subprocess.Popen(["ip", "netns", "exec", self.names[rank], "unshare", "--uts", "sh", "-c", script, "sh", *launch],
                                cwd=self.folder, env=environment(), text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def test_train_together(self):
        self.write(supervised("kl_forward"))
        self.run_ranks(0, "output_dir=one")
        for node in [self.node(0), self.node(1)]:
            _, text = node.communicate(timeout=100)
            self.assertEqual(node.returncode, 0, text[-3000:])
        expected = [json.loads(line) for line in (self.folder / "one/kl_forward/metrics.jsonl").read_text().splitlines()]
        self.assert_same(expected, rows(self.folder, "kl_forward"))

    def test_a_rank_that_dies_on_the_other_host(self):
        self.write(supervised("kl_forward", 100000))
        nodes = [self.node(0), self.node(1)]
        self.wait_for_steps(nodes[0], "kl_forward", 2)
        os.kill(self.rank_pid(nodes[1], 1), signal.SIGKILL)
        start = time.time()
        for node in nodes:
            _, text = node.communicate(timeout=60)
            self.assertIn("rank 1 of 2 on host-b: ended with signal 9", text)
            self.assertEqual(node.returncode, 1)
        self.assertLess(time.time() - start, 30)

    def test_a_host_that_is_cut_off(self):
        self.write(supervised("kl_forward", 100000))
        nodes = [self.node(0), self.node(1)]
        self.wait_for_steps(nodes[0], "kl_forward", 2)
        subprocess.run(["ip", "-n", self.names[1], "link", "set", "rqb", "down"], check=True)
        start = time.time()
        _, text = nodes[0].communicate(timeout=60)
        self.assertIn("rank 1 on host-b has given no sign of life", text)
        _, text = nodes[1].communicate(timeout=60)
        self.assertIn("host-b", text)
        self.assertLess(time.time() - start, 45)


def free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    unittest.main(verbosity=2)
