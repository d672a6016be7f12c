import copy
from pathlib import Path
from typing import ClassVar, NamedTuple

import pytest
import torch
import yaml
from torch import nn
from torch._inductor.utils import run_and_get_code
from torch.nn import functional as F

import train
from fashion.models import cut_network as halves_module
from fashion.models.backbone import BATCH_NORMS, FROZEN_BATCH_NORMS, build_backbone, set_trainable
from fashion.models.cut import Cut, NoCutError, find_cut
from fashion.models.cut_network import CutNetwork, can_compile

MODELS = ("nasnetlarge", "efficientnetv2m", "xception", "inceptionv3", "resnet50", "densenet201")
# Families beside the six, with what trains of them and the input they are tried at.
OTHERS = {
    "vit_tiny_patch16_224": (r"^blocks\.11\.", 64),
    "convnext_atto": (r"^stages\.3\.blocks\.1\.", 64),
    "mobilenetv3_small_050": (r"^blocks\.5\.", 64),
    "regnetx_002": (r"^s4\.b7\.", 64),
}
# Bytes of an image in bfloat16, at the study's input size: what reference figures allow at most.
MOST_KIB = {
    "nasnetlarge": 1429,
    "efficientnetv2m": 706,
    "xception": 514,
    "inceptionv3": 488,
    "resnet50": 196,
    "densenet201": 187,
}


def study(model):
    path = Path(train.__file__).parent / "conf" / "model" / f"{model}.yaml"
    return yaml.safe_load(path.read_text())


def pictures(input_size, number=8):
    """Smooth images: what random weights make of noise hardly differs from image to image."""
    noise = torch.randn(number, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    return F.interpolate(noise, size=input_size, mode="bicubic")


def calibrated(backbone, input_size, num_classes=5):
    """A network of random weights whose BatchNorms know the statistics of these pictures."""
    torch.manual_seed(0)
    network = build_backbone(backbone, num_classes, pretrained=False, input_size=input_size)
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1
        if not norm.weight.any():
            nn.init.constant_(norm.weight, 0.2)  # at 0 no gradient passes
        nn.init.normal_(norm.bias, std=0.1)
    with torch.no_grad():
        network.train()(pictures(input_size))
    for norm in norms:
        norm.momentum = 0.1
    return network


def steps(logits_of, network, optimizer, targets, num_steps):
    """Train and return the first step's logits and gradients and the weights at the end."""
    first = {}
    for step in range(num_steps):
        logits = logits_of()
        F.cross_entropy(logits, targets, label_smoothing=0.1).backward()
        if step == 0:
            first = {"logits": logits.detach()}
            for name, parameter in network.named_parameters():
                if parameter.requires_grad:
                    first[f"gradient of {name}"] = parameter.grad.clone()
        optimizer.step()
        optimizer.zero_grad()
    return first | {name: value.clone() for name, value in network.state_dict().items()}


def assert_equal(cut, whole, tolerance):
    """Compare each tensor by its largest entry.

    A gradient that is 0 but for rounding, as that of a bias in front of a BatchNorm, is measured by
    a tenth of the largest gradient of all.
    """
    assert cut.keys() == whole.keys()
    gradients = [value.abs().max() for name, value in whole.items() if "gradient" in name]
    for name, expected in whole.items():
        if expected.is_floating_point():
            floor = 0.1 * max(gradients) if "gradient" in name else 1e-12
            largest = expected.abs().max().clamp(min=floor)
            assert (cut[name] - expected).abs().max() <= tolerance * largest, name


class WithCut(NamedTuple):
    """A network that tests change in a copy, and where it is cut."""

    network: nn.Module
    cut: Cut
    input_size: int


def with_cut(backbone, unfreeze, input_size):
    network = calibrated(backbone, input_size)
    set_trainable(network, unfreeze)
    return WithCut(network, find_cut(network, input_size), input_size)


@pytest.fixture(scope="module", params=MODELS)
def of_the_six(request):
    conf = study(request.param)
    input_size = 96 if request.param == "inceptionv3" else 64  # which it shrinks to nothing
    return with_cut(conf["backbone"], conf["unfreeze"], input_size)


@pytest.fixture(scope="module", params=OTHERS)
def of_another_family(request):
    unfreeze, input_size = OTHERS[request.param]
    return with_cut(request.param, [unfreeze], input_size)


def compare(made, *, make_optimizer, dtype, tolerance):
    network, cut = copy.deepcopy(made.network).to(dtype), made.cut
    # As the classifier has it; in another layout the kernels would round otherwise.
    whole = copy.deepcopy(network).train().to(memory_format=torch.channels_last)
    images = pictures(made.input_size, 4).to(dtype, memory_format=torch.channels_last)
    targets = torch.arange(4)
    features = cut.frozen(network, dtype, fold=False)(images)
    tail = cut.tail(network.train(), training=True)
    results = []
    for net, logits_of in (
        (network, lambda: tail(*(part.clone() for part in features))),
        (whole, lambda: whole(images)),
    ):
        optimizer = make_optimizer(p for p in net.parameters() if p.requires_grad)
        results.append(steps(logits_of, net, optimizer, targets, 3))
    assert_equal(*results, tolerance)
    evaluated = cut.tail(network.eval(), training=False)(*features)
    assert_equal({"logits": evaluated}, {"logits": whole.eval()(images)}, tolerance)


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=1e-3)


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.004)


EXACTLY = pytest.mark.parametrize(
    "exactly",
    [
        {"make_optimizer": sgd, "dtype": torch.float32, "tolerance": 1e-5},
        {"make_optimizer": adamw, "dtype": torch.float64, "tolerance": 1e-9},
    ],
    ids=["float32", "float64"],
)


@EXACTLY
def test_the_six_learn_cut_what_they_learn_whole(of_the_six, exactly):
    compare(of_the_six, **exactly)


@EXACTLY
def test_other_families_learn_cut_what_they_learn_whole(of_another_family, exactly):
    compare(of_another_family, **exactly)


def test_folding_batch_norms_changes_no_more_than_rounding(of_the_six):
    network, cut = copy.deepcopy(of_the_six.network).double(), of_the_six.cut
    names = [tensor.name for tensor in cut.boundary]
    images = pictures(of_the_six.input_size, 4).double()
    folded, plain = (
        dict(zip(names, cut.frozen(network, torch.float64, fold=fold)(images), strict=True))
        for fold in (True, False)
    )
    assert_equal(folded, plain, 1e-9)
    assert not any(map(_is_norm, cut.frozen(network, fold=True).modules()))
    assert any(map(_is_norm, cut.frozen(network, fold=False).modules()))


def _is_norm(module):
    return isinstance(module, (*BATCH_NORMS, *FROZEN_BATCH_NORMS))


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_no_more_bytes_cross_than_in_the_reference(model):
    conf = study(model)
    network = build_backbone(conf["backbone"], 54, pretrained=False)
    set_trainable(network, conf["unfreeze"])
    cut = find_cut(network, conf["input_size"])
    numbers = sum(torch.Size(tensor.shape).numel() for tensor in cut.boundary)
    assert 2 * numbers / 1024 <= MOST_KIB[model]


def test_any_unfreeze_moves_the_cut():
    def boundary(unfreeze):
        network = build_backbone("resnet50", 5, pretrained=False)
        set_trainable(network, unfreeze)
        return [tensor.shape for tensor in find_cut(network, 64).boundary]

    assert boundary([]) == [(2048,)]
    assert boundary([r"^layer4\.2\."]) == [(2048, 2, 2)]
    assert boundary([r"^layer4\."]) == [(1024, 4, 4)]
    assert boundary([r"^layer4\.2\.conv3\."]) == [(2048, 2, 2), (512, 2, 2)]


class Small(nn.Module):
    """A frozen convolution, cheap frozen operators and a trainable layer."""

    pretrained_cfg: ClassVar = {"classifier": "head"}

    def __init__(self, chance=0.0):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.drop = nn.Dropout(chance)
        self.late = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Conv2d(16, 5, 1)
        self.requires_grad_(False).head.requires_grad_(True)

    def forward(self, x):
        y = self.late(self.drop(self.stem(x)))
        both = torch.cat([y, torch.relu(y)], dim=1)
        return self.head(torch.cat([both, both + 1], dim=1)).mean((2, 3))


class Pooled(Small):
    """The same, whose trainable layer sees the mean of each of the 16 channels."""

    def forward(self, x):
        y = self.late(self.drop(self.stem(x)))
        both = torch.cat([y, torch.relu(y)], dim=1)
        means = torch.cat([both, both + 1], dim=1).mean((2, 3), keepdim=True)
        return self.head(means).flatten(1)


def test_of_all_places_the_one_that_fewest_bytes_cross_is_taken():
    cut = find_cut(Small(), 8)
    assert [tensor.shape for tensor in cut.boundary] == [(4, 8, 8)]  # not (16, 8, 8)
    assert len(cut.again) == 4  # both cats, the ReLU and the sum are cheap
    cut = find_cut(Pooled(), 8)
    assert [tensor.shape for tensor in cut.boundary] == [(16, 1, 1)]
    assert cut.again == ()


def test_what_chance_acts_on_stays_on_the_trainable_side():
    network = Small(chance=0.5)
    cut = find_cut(network, 8)
    assert [tensor.name for tensor in cut.boundary] == ["stem"]


def test_a_network_without_a_frozen_front_says_so():
    network = build_backbone("test_resnet", 5, pretrained=False)
    with pytest.raises(NoCutError, match="all its layers train"):
        find_cut(network, 64)
    set_trainable(network, [r"^conv1\.0\."])
    with pytest.raises(NoCutError, match="nothing in front of its first trainable layer"):
        find_cut(network, 64)


def test_a_network_that_decides_by_its_input_says_so():
    class Deciding(Small):
        def forward(self, x):
            return super().forward(-x if x.mean() < 0 else x)

    with pytest.raises(NoCutError, match=r"torch\.fx can't trace it"):
        find_cut(Deciding(), 8)


def test_a_network_that_computes_something_else_once_traced_is_not_cut():
    class Counting(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return x * self.calls

    class Stateful(Small):
        def __init__(self):
            super().__init__()
            self.drop = Counting()

    with pytest.raises(NoCutError, match="compute something else"):
        find_cut(Stateful(), 8)


def test_finding_the_cut_leaves_network_and_chance_alone():
    network = build_backbone("test_resnet", 5, pretrained=False, dropout=0.3)
    set_trainable(network, [r"^layer4\."])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    find_cut(network, 64)
    assert torch.equal(torch.get_rng_state(), state)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_digest_tells_frozen_weights_and_cuts_apart():
    network = build_backbone("test_resnet", 5, pretrained=False)
    set_trainable(network, [r"^layer4\."])
    cut = find_cut(network, 64)
    digest = cut.digest(network)
    with torch.no_grad():
        network.get_parameter("fc.bias").add_(1)
        assert cut.digest(network) == digest
        network.get_parameter("conv1.0.weight").view(-1)[0] += 1e-3
    assert cut.digest(network) != digest
    set_trainable(network, [r"^layer3\."])
    assert find_cut(network, 64).digest(network) != digest


def small_halves(drop_rate=0.0):
    """Return a small network's two sides; it takes photos of 64 px."""
    network = calibrated("test_resnet", 64)
    network.drop_rate = drop_rate
    set_trainable(network, [r"^layer4\."])
    mean, std = torch.full((1, 3, 1, 1), 0.5), torch.full((1, 3, 1, 1), 0.25)
    return CutNetwork(network, find_cut(network, 64), mean, std)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_halves_follow_the_network_to_new_weights(compiled):
    if compiled and not can_compile(torch.device("cpu"), torch.float32):
        pytest.skip("there is no C++ compiler")
    cut_network = small_halves()
    photos = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)

    def difference():
        cut_network.prepare(torch.device("cpu"), torch.float32, compiled=compiled)
        expected = cut_network.network.eval()((photos / 255 - cut_network.mean) / cut_network.std)
        logits = cut_network.trainable(cut_network.frozen(photos), training=False)
        return ((logits - expected).abs().max() / expected.abs().max()).item()

    assert difference() < 1e-5
    first = cut_network.frozen(photos)
    cut_network.network.load_state_dict(calibrated("test_resnet", 64).state_dict(), strict=False)
    with torch.no_grad():
        cut_network.network.get_parameter("conv1.0.weight").mul_(-1)
    assert difference() < 1e-5
    assert not torch.allclose(first[0], cut_network.frozen(photos)[0])


@pytest.mark.slow
def test_a_compiled_side_in_bfloat16_is_frozen():
    if not can_compile(torch.device("cpu"), torch.bfloat16):
        pytest.skip("there is no C++ compiler")
    cut_network = small_halves()
    photos = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    cut_network.prepare(torch.device("cpu"), torch.bfloat16)
    expected = cut_network.frozen(photos)
    cut_network.prepare(torch.device("cpu"), torch.bfloat16, compiled=True)
    features, (code,) = run_and_get_code(cut_network.frozen, photos)
    for part, wanted in zip(features, expected, strict=True):
        close = 8 * torch.finfo(torch.bfloat16).eps * wanted.abs().max().item()
        torch.testing.assert_close(part, wanted, rtol=0, atol=close)
    assert "_frozen_param" in code


@pytest.mark.slow
def test_a_compiled_tail_trains_as_an_eager_one_does_dropout_included():
    if not can_compile(torch.device("cpu"), torch.bfloat16):
        pytest.skip("there is no C++ compiler")
    cut_network = small_halves(drop_rate=0.5)
    cut_network.prepare(torch.device("cpu"), torch.bfloat16)
    features = cut_network.frozen(torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8))

    def train():
        cut_network.network.train().zero_grad()
        torch.manual_seed(3)
        with torch.autocast("cpu", torch.bfloat16):
            logits = cut_network.trainable(features, training=True)
        torch.nn.functional.cross_entropy(logits.float(), torch.arange(8) % 5).backward()
        trained = [p.grad.clone() for p in cut_network.network.parameters() if p.grad is not None]
        return [logits.detach(), *trained]

    eager = train()
    cut_network.prepare(torch.device("cpu"), torch.bfloat16, compiled_tail=True)
    compiled, codes = run_and_get_code(train)
    assert len(codes) >= 2  # forward and backward
    for part, wanted in zip(compiled, eager, strict=True):
        difference = (part - wanted).norm() / wanted.norm()
        assert difference < 0.05
    cut_network.prepare(torch.device("cpu"), torch.float32, compiled_tail=True)
    _, codes = run_and_get_code(train)
    assert not codes


@pytest.mark.parametrize(
    ("photos", "threads", "dtype", "calls"),
    [
        (8, 2, torch.float32, [2] * 4),
        (8, 2, torch.bfloat16, [4] * 2),
        (9, 4, torch.float32, [3] * 3),
        (7, 2, torch.float32, [1] * 7),
        (6, 1, torch.float32, [2] * 3),
    ],
)
def test_a_cpu_computes_a_few_photos_at_once(photos, threads, dtype, calls, monkeypatch):
    cut_network = small_halves()
    cut_network.prepare(torch.device("cpu"), dtype)
    whole, seen = cut_network._frozen, []
    batch = torch.randint(0, 256, (photos, 3, 64, 64), dtype=torch.uint8)
    expected = whole(batch)
    monkeypatch.setattr(cut_network, "_frozen", lambda part: seen.append(len(part)) or whole(part))
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(halves_module, "PIXELS_A_THREAD", 64 * 64)
    for part, wanted in zip(cut_network.frozen(batch), expected, strict=True):
        close = max(1e-5, 8 * torch.finfo(dtype).eps) * wanted.abs().max().item()
        torch.testing.assert_close(part, wanted, rtol=0, atol=close)
        assert part.is_contiguous(memory_format=torch.channels_last)
    assert seen == calls
