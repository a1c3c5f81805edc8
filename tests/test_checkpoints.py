import io
from pathlib import Path

import pytest
import torch

from hvt_bench.errors import HvtBenchError
from hvt_bench.training import checkpoints
from hvt_bench.training.checkpoints import Checkpoint, checkpoint_path, forget

STATE = {"network": {"weight": torch.ones(3)}, "progress": {"losses": [0.1 + 0.2]}}


def test_a_state_comes_back_as_it_was(tmp_path):
    path = checkpoint_path(tmp_path / "run.checkpoints", "abc", 2)
    assert path == tmp_path / "run.checkpoints" / "abc.2.pt"
    checkpoint = Checkpoint(path, {"seed": 2})
    assert checkpoint.load() is None
    checkpoint.save(STATE)
    found = checkpoint.load()
    assert torch.equal(found["network"]["weight"], torch.ones(3))
    assert found["progress"] == STATE["progress"]
    assert [file.name for file in path.parent.iterdir()] == ["abc.2.pt"]


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:100], lambda content: b"", lambda content: b"x" * 100, lambda content: content[:-50]],
)
def test_a_damaged_state_is_none(tmp_path, damage):
    path = tmp_path / "a.pt"
    Checkpoint(path, {}).save(STATE)
    path.write_bytes(damage(path.read_bytes()))
    assert Checkpoint(path, {}).load() is None


def test_the_state_of_another_training_is_none(tmp_path):
    Checkpoint(tmp_path / "a.pt", {"torch_version": "2.11"}).save(STATE)
    assert Checkpoint(tmp_path / "a.pt", {"torch_version": "2.15"}).load() is None


def test_a_full_disk_keeps_the_state_before_and_says_what_to_do(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    Checkpoint(path, {}).save(STATE)

    def fail(content, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.torch, "save", fail)
    with pytest.raises(HvtBenchError) as full:
        Checkpoint(path, {}).save({"progress": {}})
    assert str(full.value) == (
        f"{path}: the state of the training cannot be written: No space left on device; free some space, "
        "and --retry error goes on from the epoch before"
    )
    monkeypatch.undo()
    assert Checkpoint(path, {}).load()["progress"] == STATE["progress"]
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]


def test_a_file_too_large_is_told_in_the_words_of_the_system(tmp_path, monkeypatch):
    """PyTorch's writer hides them behind a line of its own source."""

    class Limited(io.BytesIO):
        def write(self, content):
            if self.tell() + len(content) > 1000:
                raise OSError(27, "File too large")
            return super().write(content)

    monkeypatch.setattr(Path, "open", lambda *_: Limited())
    with pytest.raises(HvtBenchError, match=r"cannot be written: File too large; free some space, and --retry error "):
        Checkpoint(tmp_path / "a.pt", {}).save({"weight": torch.zeros(5000)})


def test_a_folder_that_is_none_is_no_full_disk(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(HvtBenchError) as refused:
        Checkpoint(tmp_path / "taken" / "a.pt", {}).save(STATE)
    assert str(refused.value) == (
        f"{tmp_path}/taken/a.pt: the state of the training cannot be written: File exists: {tmp_path}/taken; make it a "
        "folder that can be written into, and --retry error begins anew: nothing was kept yet"
    )


def test_the_state_of_a_finished_round_goes_and_the_folder_with_the_last(tmp_path):
    folder = tmp_path / "run.checkpoints"
    for number in (0, 1):
        Checkpoint(checkpoint_path(folder, "abc", number), {}).save(STATE)
    forget(folder, "abc", 0)
    assert [file.name for file in folder.iterdir()] == ["abc.1.pt"]
    forget(folder, "abc", 1)
    forget(folder, "abc", 1)
    assert not folder.exists()
