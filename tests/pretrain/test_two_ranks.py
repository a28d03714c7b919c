"""Two processes that the command line starts learn what one learns, write everything once, and end together."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from jepa_wm.manifest import read_manifest
from pretrain.cli import main
from pretrain.loggers.json_lines import read_records

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default::UserWarning")]

STEPS = 30
OPTIONS = (f"--trainer.max_steps={STEPS}", "--trainer.val_check_interval=15", "--resume.steps=12")

WATCH = """
import os, sys

def note(event, args):
    if event in ("os.rename", "os.remove"):
        path = os.fspath(args[event == "os.rename"])
        os.write(LOG, f"{os.environ.get('LOCAL_RANK', '0')} {event} {path}\\n".encode())

LOG = os.open(os.environ["WATCHED"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)
sys.addaudithook(note)
"""
"""Each process runs it when it starts: it notes which rank gives files their names, and which removes them."""


class Ended(NamedTuple):
    """A run after the end of its processes."""

    run: Path
    code: int
    said: str


@contextmanager
def begun(recipe: Path, run: Path, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    argv = [sys.executable, "-m", "jepa_wm", "pretrain", f"--config={recipe}", f"--run={run}", *OPTIONS]
    argv += ["--trainer.devices=2", "--data.batch_size=4"]
    process = subprocess.Popen(
        argv, stderr=subprocess.PIPE, text=True, start_new_session=True, env=os.environ | environment
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def end(process: "subprocess.Popen[str]", run: Path) -> Ended:
    said = process.communicate(timeout=120)[1]
    return Ended(run, process.returncode, said)


@pytest.fixture(scope="module")
def ended(recipes: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """A run that is watched and nothing else, and one whose first rank is told to end; both at a time."""
    folder, recipe = tmp_path_factory.mktemp("ranks"), recipes["pretrain"]
    (folder / "sitecustomize.py").write_text(WATCH)
    path = os.pathsep.join([str(folder), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    watched = {"PYTHONPATH": path, "WATCHED": str(folder / "watched")}
    whole, stopped = folder / "whole", folder / "stopped"
    with begun(recipe, whole, **watched) as one, begun(recipe, stopped) as other:
        deadline = time.monotonic() + 120
        while len(read_records(stopped / "metrics.jsonl")) < 2:
            assert other.poll() is None and time.monotonic() < deadline, other.stderr and other.stderr.read()
            time.sleep(0.02)
        other.send_signal(signal.SIGTERM)
        return {"stopped": end(other, stopped), "whole": end(one, whole)}


def weights(run: Path) -> dict[str, torch.Tensor]:
    files = sorted((run / "model").rglob("model.safetensors"))
    return {f"{file.parent.name}.{key}": value for file in files for key, value in load_file(file).items()}


def test_two_ranks_learn_what_one_process_learns(
    ended: dict[str, Ended], recipes: dict[str, Path], tmp_path: Path
) -> None:
    run, code, said = ended["whole"]
    assert code == 0, said
    alone = tmp_path / "alone"
    main([f"--config={recipes['pretrain']}", f"--run={alone}", *OPTIONS, "--data.batch_size=8"])
    two, one = read_records(run / "metrics.jsonl"), read_records(alone / "metrics.jsonl")
    assert list(two) == list(one) == list(range(STEPS))
    # The loss in the log is that of the first rank's half; these are of the whole batch, by all weights so far.
    for name in ("optimizer/gradient_norm", "optimizer/lr", "train/text/sigreg"):
        found, expected = [two[step][name] for step in two], [one[step][name] for step in one]
        assert found == pytest.approx(expected, rel=1e-4), name
    assert two[STEPS - 1]["health/rankme"] == pytest.approx(one[STEPS - 1]["health/rankme"], rel=1e-4)
    learned, expected_weights = weights(run), weights(alone)
    assert learned.keys() == expected_weights.keys() and learned
    for name, weight in expected_weights.items():
        # Attention does not depend on the keys' bias: its gradient is rounding, and AdamW makes steps of it.
        if not name.endswith(("qkv.bias", "in_proj_bias")):
            torch.testing.assert_close(learned[name], weight, rtol=1e-4, atol=1e-5)
    (drawn,), (expected_drawn,) = (read_manifest(folder)["data"].values() for folder in (run, alone))
    assert drawn["train_samples"] == expected_drawn["train_samples"] > 0


def test_everything_is_written_once_and_by_the_first_rank(ended: dict[str, Ended]) -> None:
    run = ended["whole"].run
    noted = [line.split(" ", 2) for line in (run.parent / "watched").read_text().splitlines()]
    of_the_run = [(rank, event, path) for rank, event, path in noted if path.startswith(f"{run}/")]
    assert {rank for rank, *_ in of_the_run} == {"0"}
    named = [path.removeprefix(f"{run}/") for _, event, path in of_the_run if event == "os.rename"]
    count = Counter(named)
    once = ["config.json", "config.yaml", "model", "final.ckpt", "manifest.json"]
    once += [f"checkpoints/step-{step:06d}" for step in (0, STEPS // 2, STEPS)]
    assert {name: count[name] for name in once} == dict.fromkeys(once, 1) and count["resume.ckpt"] == 2
    # What says that the run is complete comes last; only then is there nothing to resume.
    assert named[-1] == "manifest.json" and of_the_run[-1][1:] == ("os.remove", f"{run}/resume.ckpt")
    assert not list(run.rglob(".*"))


def test_a_run_goes_on_bit_for_bit_though_one_rank_alone_was_told_to_end(
    ended: dict[str, Ended], recipes: dict[str, Path]
) -> None:
    run, code, said = ended["stopped"]
    assert code == 143 and said.count("stopped by SIGTERM after step") == 1, said
    state = torch.load(run / "resume.ckpt", weights_only=True)
    assert 0 < state["global_step"] < STEPS and not (run / "manifest.json").exists()
    with begun(recipes["pretrain"], run) as process:
        code, said = end(process, run)[1:]
    assert code == 0, said
    resumed, whole = weights(run), weights(ended["whole"].run)
    assert resumed.keys() == whole.keys() and resumed
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
