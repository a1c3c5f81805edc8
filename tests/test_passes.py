import pytest
import torch
from torch import nn

from hvt_bench.errors import UnsupportedError
from hvt_bench.metrics.passes import PHASES, Passes, network, use_precision
from hvt_bench.models import parse_model
from hvt_bench.point import Point

TINY = "hvt:img_size=32,embed_dim=64,depth=2,num_classes=10"


def passes(model=TINY, **changes):
    fields = {"device": "cpu", "batch_size": 2, "warmup_s": 0.0}
    return Passes(Point(model="m", config=parse_model(model), **fields | changes))


def grads(model):
    return [weight.grad for weight in model.parameters()]


@pytest.mark.parametrize(
    ("dtype", "weights", "products"),
    [
        ("float32", torch.float32, torch.float32),
        ("float16", torch.float16, torch.float16),
        ("bfloat16", torch.bfloat16, torch.bfloat16),
        ("amp_float16", torch.float32, torch.float16),
        ("amp_bfloat16", torch.float32, torch.bfloat16),
    ],
)
@pytest.mark.parametrize("mode", ["infer", "train"])
def test_dtype_is_that_of_weights_and_products(dtype, weights, products, mode):
    run = passes(dtype=dtype, mode=mode)
    seen = []
    run.model.blocks[0].mlp.fc1.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    run()
    assert {p.dtype for p in run.model.parameters()} == {weights}
    assert {image.dtype for image in run.images} == {weights}
    assert seen == [products]


def test_a_forward_pass_keeps_no_gradients_and_marks_nothing():
    run = passes()
    marks = []
    run(lambda: marks.append(1))
    assert not marks
    assert not run.model.training
    assert not any(p.requires_grad for p in run.model.parameters())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_network_on_meta_is_the_one_that_passes_would_build(attention):
    point = Point(
        model="m", config=parse_model(TINY), device="cpu", batch_size=2, warmup_s=0.0, mode="train",
        attention=attention, checkpointing=True,
    )  # fmt: skip
    on_meta, built = network(point, on_meta=True), Passes(point).model
    assert all(weight.is_meta for weight in on_meta.parameters())
    assert {key: w.shape for key, w in on_meta.named_parameters()} == {k: w.shape for k, w in built.named_parameters()}
    assert (
        [block.attn.path for block in on_meta.blocks] == [block.attn.path for block in built.blocks] == [attention] * 2
    )
    assert "forward" in vars(on_meta.blocks[0])  # the one that computes again


def test_a_network_that_is_given_is_the_one_that_passes_go_through():
    point = Point(model="m", config=parse_model(TINY), device="cpu", batch_size=2, warmup_s=0.0)
    given = network(point)
    run = Passes(point, model=given)
    assert run.model is given
    assert not run.model.training
    run()


def test_a_training_step_marks_each_phase_and_moves_the_weights():
    run = passes(mode="train")
    before = [p.detach().clone() for p in run.model.parameters()]
    seen = []

    def mark():
        moved = any(not torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))
        seen.append((any(g is not None for g in grads(run.model)), moved))

    run(mark)
    assert PHASES == ("forward", "backward", "step")
    assert seen == [(False, False), (True, False), (False, True)]
    assert all(not torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))
    assert len(run.optimizer.state) == len(before)


@pytest.mark.parametrize("attention", ["sdpa", "sdpa_flash", "sdpa_math", "eager"])
def test_all_kernels_and_checkpointing_train_the_same_network(attention):
    def weights(**changes):
        run = passes(mode="train", **changes)
        run()
        return [p.detach() for p in run.model.parameters()]

    plain = weights()
    for checkpointing in (False, True):
        for a, b in zip(plain, weights(attention=attention, checkpointing=checkpointing), strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "amp_float16", "amp_bfloat16"])
def test_every_step_is_a_real_one(dtype):
    """In float16 AdamW's own eps is 0; a GradScaler of PyTorch's own scale skips its first steps."""
    run = passes("deit_tiny:depth=2,img_size=64", mode="train", dtype=dtype, batch_size=1)
    for _ in range(3):
        before = run.model.head.weight.detach().clone()
        run()
        assert not torch.equal(before, run.model.head.weight)
    assert len(run.optimizer.state) == len(list(run.model.parameters()))
    assert all(torch.isfinite(p).all() for p in run.model.parameters())


def test_checkpointing_enters_each_block_twice():
    for checkpointing, times in ((False, 1), (True, 2)):
        run = passes(mode="train", checkpointing=checkpointing)
        entered = []
        run.model.blocks[1].norm1.register_forward_hook(lambda *_, entered=entered: entered.append(1))
        run()
        assert len(entered) == times


def test_a_distilled_deit_learns_by_both_heads():
    run = passes("deit_tiny_distilled", mode="train", batch_size=1)
    before = run.model.head_dist.weight.detach().clone()
    run()
    assert not torch.equal(before, run.model.head_dist.weight)


def test_labels_and_images_are_the_same_every_time():
    one, other = passes(mode="train"), passes(mode="train")
    for run in (one, other):
        run()
        run()
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))


class Maps(nn.Module):
    """Puts out a feature map and a number that is no float."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return {"map": self.conv(x), "shape": torch.tensor(x.shape)}


class Indices(Maps):
    def forward(self, x):
        return self.conv(x).argmax(dim=1)


@pytest.fixture
def outside(monkeypatch):
    """Networks of others, by the name of a module."""
    monkeypatch.setitem(__import__("sys").modules, "my_nets", type("my_nets", (), {"Maps": Maps, "Indices": Indices}))


def test_an_output_that_is_no_table_of_classes_is_trained_on_its_squares(outside):
    run = passes("my_nets:Maps", mode="train")
    before = run.model.conv.weight.detach().clone()
    run()
    assert not torch.equal(before, run.model.conv.weight)


def test_a_network_that_puts_out_no_floats_cannot_be_trained(outside):
    with pytest.raises(UnsupportedError, match="puts out no tensor of floating-point numbers"):
        passes("my_nets:Indices", mode="train")()


def test_blocks_of_others_are_checkpointed_by_their_own_switch(outside):
    assert passes("timm:vit_tiny_patch16_224", mode="train", checkpointing=True).model.grad_checkpointing
    with pytest.raises(UnsupportedError, match="has no set_grad_checkpointing"):
        passes("my_nets:Maps", mode="train", checkpointing=True)


@pytest.fixture
def precision():
    before = torch.backends.fp32_precision
    yield
    torch.backends.fp32_precision = before


@pytest.mark.parametrize(
    ("dtype", "found"), [("float32", "ieee"), ("tf32", "tf32"), ("bfloat16", "ieee"), ("amp_bfloat16", "ieee")]
)
def test_products_and_convolutions_round_alike(precision, dtype, found):
    for before in ("tf32", "ieee"):
        torch.backends.fp32_precision = before
        use_precision(dtype)
        parts = torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn, torch.backends.cudnn.rnn
        assert {part.fp32_precision for part in parts} == {found}


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["infer", "train"])
@pytest.mark.parametrize("attention", ["sdpa", "sdpa_efficient", "eager"])
@pytest.mark.parametrize("dtype", ["float32", "tf32", "bfloat16", "amp_float16"])
def test_a_gpu_makes_passes(dtype, attention, mode):
    run = passes(device="cuda:0", dtype=dtype, attention=attention, mode=mode)
    run()
    run()
    torch.cuda.synchronize()
    assert all(torch.isfinite(p).all() for p in run.model.parameters())
