"""Runs on a Ray cluster of two nodes on this machine: the bytes of the local run, whatever is killed meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from onnxray.cli.files.images import write
from onnxray.cli.main import main
from onnxray.cli.tasks.cluster import on_ray as module
from onnxray.engine.errors import RuntimeUnavailable
from onnxray.tests.cli.tasks.test_joined import same

if sys.platform == "win32":
    pytest.skip("Ray's clusters of several nodes do not run on Windows", allow_module_level=True)
ray = pytest.importorskip("ray", reason="Ray is not installed: it has no wheel for this Python")
cluster_utils = pytest.importorskip("ray.cluster_utils")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

# Of each command: its options, and those of the whole run alone.
COMMANDS = {
    "predict": ("--batch", "2"),
    "explain": ("-m", "grad-cam", "--threshold", "0.5"),
    "activations": ("--layer", "features", "--stats"),
    "evaluate": ("--methods", "grad-cam,gradient", "--metrics", "sparseness"),
    "top": ("-k", "2", "--layer", "features", "--channel", "0-1"),
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one processor each, besides a head without any."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    about = {"include_dashboard": False, "object_store_memory": 80 << 20}
    found = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **about})
    for _ in range(2):
        found.add_node(num_cpus=1, object_store_memory=80 << 20)
    found.wait_for_nodes()
    yield found
    ray.shutdown()
    found.shutdown()


@pytest.fixture
def joined(cluster: Any) -> Iterator[Any]:
    """This process has joined the cluster."""
    if not ray.is_initialized():
        ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
    return cluster


@pytest.fixture
def data(photos: Path) -> Path:
    """Seven files: six pictures, one that is broken; two of them have the same name."""
    (photos / "broken.png").write_text("nothing to see")
    for number, name in enumerate(("ramp", "a", "b")):
        pixels = np.random.default_rng(number).integers(0, 256, (24, 24, 3), np.uint8)
        write(photos / "more" / f"{name}.png", pixels)
    return photos


def call(*args: object) -> Result:
    return CliRunner(catch_exceptions=False).invoke(main, [str(a) for a in args])


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_equals_the_local_run(joined: Any, model: Path, data: Path, tmp_path: Path, command: str) -> None:
    images = (data, data / "more") if command == "top" else (data, "-r")
    asked = (command, model, *images, *COMMANDS[command], "-q")
    local = call(*asked, "-o", tmp_path / "local")
    done = call(*asked, "-o", tmp_path / "ray", "--on", "ray:auto", "--block", "2")
    assert done.exit_code == local.exit_code == 1, done.stderr
    assert "cannot be read as an image" in done.stderr
    assert done.stderr.splitlines()[-1] == "onnxray: 1 of 7 images failed"
    assert len(done.stderr.splitlines()) == 2  # nothing of Ray's own
    same(tmp_path / "local", tmp_path / "ray")


def test_a_site_equals_the_local_one(joined: Any, model: Path, data: Path, tmp_path: Path) -> None:
    asked = (
        "microscope",
        model,
        data / "more",
        "--layer",
        "features",
        "--units",
        "0-1",
        "--steps",
        "2",
        "--no-diverse",
    )
    assert call(*asked, "-q", "-o", tmp_path / "local").exit_code == 0
    done = call(*asked, "-q", "-o", tmp_path / "ray", "--on", "ray:auto")
    assert done.exit_code == 0, done.stderr
    same(tmp_path / "local", tmp_path / "ray")


def test_results_stay_in_parts_until_they_are_merged(joined: Any, model: Path, data: Path, tmp_path: Path) -> None:
    import pyarrow.parquet

    asked = ("explain", model, data, "-r", "-m", "gradient", "-q")
    call(*asked, "-o", tmp_path / "local")
    done = call(*asked, "-o", tmp_path / "ray", "--on", "ray:auto", "--block", "3", "--parts")
    assert done.exit_code == 1, done.stderr
    said = json.loads((tmp_path / "ray" / "manifest.json").read_text())
    assert said["parts"] == {"blocks": 3, "images": 7, "failed": 1}
    tables = [pyarrow.parquet.read_table(tmp_path / "ray" / "parts" / f"0000000{n}.parquet") for n in range(3)]
    assert sum(table["status"].to_pylist().count("failed") for table in tables) == 1
    assert call("merge", tmp_path / "ray", "-o", tmp_path / "merged").exit_code == 0
    same(tmp_path / "local", tmp_path / "merged")


def test_too_many_failures_end_the_run(joined: Any, model: Path, data: Path, tmp_path: Path) -> None:
    asked = ("predict", model, data, "-r", "-q", "--on", "ray:auto", "--block", "1", "--batch", "1")
    done = call(*asked, "-o", tmp_path / "ray", "--max-failures", "0")
    assert done.exit_code == 1
    assert "1 images failed, more than the 0 of --max-failures" in done.stderr
    again = call(*asked, "-o", tmp_path / "ray")
    assert "holds an unfinished run: give --resume to go on" in again.stderr
    other = call(*asked, "-o", tmp_path / "ray", "--resume", "--top", "2")
    assert "holds parts of another run" in other.stderr
    assert call(*asked, "-o", tmp_path / "ray", "--resume").exit_code == 1
    call(*asked[:5], "-q", "--batch", "1", "-o", tmp_path / "local")
    same(tmp_path / "local", tmp_path / "ray")
    assert "holds a finished run: give --force" in call(*asked, "-o", tmp_path / "ray", "--resume").stderr


def test_wrong_options_leave_nothing_behind(joined: Any, model: Path, data: Path, tmp_path: Path) -> None:
    done = call("explain", model, data, "-m", "grad-cma", "-q", "-o", tmp_path / "ray", "--on", "ray:auto")
    assert done.exit_code == 1
    assert "no method named 'grad-cma'; nearest: 'grad-cam'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "ray").exists()


def run_of(cluster: Any, folder: Path, *asked: object) -> subprocess.Popen[str]:
    """A run in a process of its own."""
    line = [sys.executable, "-m", "onnxray.cli.main", *map(str, asked), "-q", "--on", f"ray:{cluster.address}"]
    return subprocess.Popen([*line, "-o", str(folder)], stderr=subprocess.PIPE, text=True)


def wait_for_blocks(run: subprocess.Popen[str], folder: Path, count: int) -> None:
    """Until so many are done, or the run is over."""
    due = time.monotonic() + 120
    while len([*folder.glob("parts/0*.parquet")]) < count and run.poll() is None:
        assert time.monotonic() < due
        time.sleep(0.05)


def many(tmp_path: Path, count: int = 60) -> Path:
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (24, 24, 3), np.uint8)
        write(tmp_path / "many" / f"{number}.png", pixels)
    return tmp_path / "many"


def test_nodes_actors_and_the_driver_are_killed(cluster: Any, model: Path, tmp_path: Path) -> None:
    images, out = many(tmp_path), tmp_path / "ray"
    asked = ("explain", model, images, "-m", "occlusion", "--format", "npy")
    call(*asked, "-q", "-o", tmp_path / "local")
    first = run_of(cluster, out, *asked, "--block", "1")
    wait_for_blocks(first, out, 4)
    first.send_signal(signal.SIGKILL)
    first.wait()
    done = len([*out.glob("parts/0*.parquet")])
    assert 4 <= done < 60
    ours = [(path, path.stat().st_mtime_ns) for path in sorted(out.glob("parts/0*.parquet"))]
    second = run_of(cluster, out, *asked, "--block", "1", "--resume")
    wait_for_blocks(second, out, done + 4)
    kill_an_actor(cluster)
    wait_for_blocks(second, out, done + 8)
    now = [(path, path.stat().st_mtime_ns) for path, _ in ours if path.exists()]
    assert set(now) <= set(ours)  # what was done is not done again
    cluster.remove_node(sorted(cluster.worker_nodes, key=id)[0], allow_graceful=False)
    _, said = second.communicate(timeout=240)
    cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
    assert second.returncode == 0, said
    same(tmp_path / "local", out)


def test_an_image_that_ends_the_process_fails_alone(model: Path, data: Path, tmp_path: Path) -> None:
    """As often as Ray starts the process again, until it is known which image ends it."""
    from onnxray.cli.sources.share import Block
    from onnxray.cli.tasks.cluster.attempts import one_by_one
    from onnxray.cli.tasks.cluster.store import Store

    class Ended(BaseException):
        pass

    def work(block: Block, folder: Path) -> None:
        if block.paths[0].name == "b.png":
            raise Ended
        folder.mkdir(parents=True)
        entry = {"path": str(block.paths[0]), "status": "done"}
        (folder / f"{block.names[0]}.txt").write_text("here")
        document = {"format": 1, "command": "predict", "images": [entry], "files": []}
        (folder / "manifest.json").write_text(json.dumps(document))

    store = Store(str(tmp_path / "parts"))
    block = Block(tuple(Path(f"{name}.png") for name in "abc"), (None,) * 3, ("a", "b", "c"), 0, 3)
    for number in range(2):
        with pytest.raises(Ended):
            one_by_one(store, 0, block, tmp_path / str(number) / "part", work)
    head, entries = one_by_one(store, 0, block, tmp_path / "2" / "part", work)
    assert head["command"] == "predict"
    assert [entry["status"] for entry in entries] == ["done", "failed", "done"]
    assert "the process that worked on it has ended 2 times" in entries[1]["error"]
    assert sorted(path.name for path in (tmp_path / "2" / "part").iterdir()) == ["a.txt", "c.txt"]


def kill_an_actor(cluster: Any) -> None:
    """The process of one of Ray Data's actors, of this cluster alone: there may be others on the machine."""
    session = Path(cluster.head_node.get_session_dir_path()).name.encode()
    due = time.monotonic() + 60
    while time.monotonic() < due:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                line = (folder / "cmdline").read_bytes()
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                if line.startswith(b"ray::MapWorker") and session in Path("/proc", parent, "cmdline").read_bytes():
                    os.kill(int(folder.name), signal.SIGKILL)
                    return
            except OSError:
                continue
        time.sleep(0.2)
    raise AssertionError("no actor of this cluster runs")


@pytest.mark.parametrize(
    ("address", "words"),
    [("127.0.0.1:1", "there is no Ray cluster at '127.0.0.1:1' ("), ("nonsense", "is no address of a Ray cluster")],
)
def test_no_cluster_at_the_address(
    monkeypatch: pytest.MonkeyPatch, model: Path, data: Path, tmp_path: Path, address: str, words: str
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    done = call("predict", model, data, "-o", tmp_path / "out", "--on", f"ray:{address}")
    assert done.exit_code == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_another_cluster_than_the_one_that_is_joined(joined: Any, model: Path, data: Path, tmp_path: Path) -> None:
    done = call("predict", model, data, "-o", tmp_path / "out", "--on", "ray:127.0.0.1:1")
    assert done.exit_code == 1
    assert "this process has joined the Ray cluster at" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_errors_of_ray_are_one_line() -> None:
    said = r"^Ray has ended the run \(WorkerCrashedError.*--resume"
    with pytest.raises(RuntimeUnavailable, match=said), module._one_line(ray):
        raise ray.exceptions.WorkerCrashedError


def test_a_cluster_of_other_versions(joined: Any, monkeypatch: pytest.MonkeyPatch, model: Path, data: Path) -> None:
    monkeypatch.setattr(module, "__version__", "9.9.9")
    done = call("predict", model, data, "-o", data / "out", "--on", "ray:auto")
    assert "and onnxray 9.9.9: use the same versions in both places" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    text = (
        "Version mismatch: The cluster was started with:\n    Ray: 2.59.0\n    Python: 3.12.1\n"
        "This process on node was started with:\n    Ray: 2.60.0\n    Python: 3.11.7\n"
    )
    said = module._refused("head:6379", RuntimeError(text))
    assert said.startswith(
        "the cluster at 'head:6379' has Python 3.12.1 and Ray 2.59.0, this process Python 3.11.7 and"
    )


def test_without_ray_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, model: Path, data: Path, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "ray.data", None)
    asked = ("predict", model, data, "-o", tmp_path / "out", "--on", "ray")
    done = call(*asked)
    assert "`pip install 'onnxray[ray]'`" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    monkeypatch.setattr(module, "WHEELS", ("3.9",))
    assert "Ray has no wheel for Python 3." in call(*asked).stderr


def test_a_bucket_that_cannot_be_read(joined: Any, model: Path, tmp_path: Path) -> None:
    bucket = "s3://bucket/images?endpoint_override=127.0.0.1:1&scheme=http&region=x"
    for more in ((), ("--on", "ray:auto")):
        done = call("predict", model, bucket, "-o", tmp_path / "out", *more)
        assert done.exit_code == 1
        assert "cannot read 's3://bucket/images?" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_options_that_do_not_go_together(model: Path, data: Path) -> None:
    for arguments, words in (
        (("predict", model, data, "--on", "ray"), "give a folder that all processes see with --out"),
        (("evaluate", model, data, "--on", "ray", "--parts", "-o", "x"), "--parts is about"),
        (("microscope", model, "--on", "ray", "--time", "3s"), "--time and --live are about runs on one machine"),
        (("explain", model, data, "--on", "ray", "--range", "shared"), "colours are not shared"),
    ):
        done = call(*arguments)
        assert done.exit_code == 2
        assert words in done.stderr


def test_ray_is_not_imported_unless_asked_for(model: Path, photo: Path) -> None:
    code = "import sys; from onnxray.cli.main import main\ntry: main()\nfinally: assert 'ray' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code, "predict", model, photo, "-q"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
