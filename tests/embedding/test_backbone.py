"""Any timm backbone with weights from a file, the package or the hub; and what is said if there are none."""

from __future__ import annotations

import json
import pickle
import socket
import time
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from defectflow.embedding import backbone as backbone_module
from defectflow.embedding.backbone import Backbone, Weights, build_backbone
from defectflow.errors import SettingsError, WeightsError
from defectflow.recipe.settings import EmbeddingSettings

torch.set_num_threads(1)  # on a busy machine, threads wait for each other in spinning loops
SIDE_PX = 64
NETS = {
    "resnet18": (1, 2, 3),
    "mobilenetv3_small_050": (0, 2),
    "convnext_atto": (0, 1),
    "vit_tiny_patch16_224": (3, 5),
}


def whole(name: str, seed: int = 0, size_px: int = SIDE_PX) -> nn.Module:
    """timm's own model, classifier included, with batch statistics that are not those of an untrained net."""
    torch.manual_seed(seed)
    net = timm.create_model(name, **({"img_size": size_px} if "vit" in name else {}))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return net.eval()


def saved(tensors: dict[str, Tensor], path: Path) -> str:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    else:
        torch.save(tensors, path)
    return str(path)


def build(name: str, weights: str, levels: tuple[int, ...] | None = None) -> tuple[Backbone, Weights]:
    return build_backbone(EmbeddingSettings(backbone=name, levels=levels or NETS[name], weights=weights), SIDE_PX)


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Tensor], str]:
    tensors = whole("resnet18").state_dict()
    return tensors, saved(tensors, tmp_path_factory.mktemp("weights") / "resnet18.safetensors")


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
@torch.no_grad()
def test_features_are_those_of_timms_whole_model(name: str, ending: str, tmp_path: Path) -> None:
    net = whole(name)
    ours, weights = build(name, saved(net.state_dict(), tmp_path / f"weights.{ending}"))
    pixels = 255 * torch.rand(2, 3, SIDE_PX, SIDE_PX)
    config = net.pretrained_cfg
    mean, std = (torch.tensor(config[key])[:, None, None] for key in ("mean", "std"))
    expected = net.forward_intermediates(
        (pixels / 255 - mean) / std, indices=list(NETS[name]), intermediates_only=True, output_fmt="NCHW", norm=False
    )
    features = ours(pixels)
    assert len(features) == len(NETS[name])
    for level, theirs in zip(features, expected, strict=True):
        torch.testing.assert_close(level.permute(0, 3, 1, 2), theirs, atol=1e-4, rtol=1e-4)
        assert level.std() > 0
    assert all(key.startswith(("fc.", "classifier.", "head.", "conv_head")) for key in weights.unused)
    assert not any(parameter.requires_grad for parameter in ours.parameters())


@torch.no_grad()
def test_a_transformers_weights_serve_another_picture_size(tmp_path: Path) -> None:
    net = whole("vit_tiny_patch16_224", size_px=224)
    ours, _ = build("vit_tiny_patch16_224", saved(net.state_dict(), tmp_path / "vit.safetensors"))
    level = ours(torch.rand(1, 3, SIDE_PX, SIDE_PX))[0]
    assert level.shape == (1, SIDE_PX // 16, SIDE_PX // 16, 192)
    resized = timm.create_model("vit_tiny_patch16_224", img_size=224)
    resized.load_state_dict(net.state_dict())
    resized.set_input_size(img_size=SIDE_PX)  # timm's own way
    theirs = resized.eval().forward_intermediates(
        (torch.zeros(1, 3, SIDE_PX, SIDE_PX) - 0.5) / 0.5, indices=[3], intermediates_only=True, norm=False
    )[0]
    torch.testing.assert_close(
        ours(torch.zeros(1, 3, SIDE_PX, SIDE_PX))[0].permute(0, 3, 1, 2), theirs, atol=1e-3, rtol=1e-3
    )


@torch.no_grad()
def test_weights_in_half_precision_and_in_a_training_checkpoint(resnet, tmp_path: Path) -> None:
    tensors, path = resnet
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    torch.save({"state_dict": half, "epoch": 3}, tmp_path / "checkpoint.pth")
    ours, _ = build("resnet18", str(tmp_path / "checkpoint.pth"))
    exact, _ = build("resnet18", path)
    pixels = 255 * torch.rand(1, 3, SIDE_PX, SIDE_PX)
    assert all(tensor.dtype != torch.float16 for tensor in ours.state_dict().values())
    torch.testing.assert_close(ours(pixels)[2], exact(pixels)[2], atol=0.02, rtol=0.02)


def test_what_a_file_lacks_is_counted_and_named(resnet, tmp_path: Path) -> None:
    tensors, _ = resnet
    gone = ["layer2.0.conv1.weight", "layer2.0.bn1.weight", "layer2.1.bn2.running_mean"]
    path = saved({name: t for name, t in tensors.items() if name not in gone}, tmp_path / "part.safetensors")
    with pytest.raises(WeightsError, match=r"part\.safetensors: lacks 3 tensors .*first layer2\.0\.conv1\.weight"):
        build("resnet18", path)


def test_levels_that_are_not_used_need_no_weights(resnet, tmp_path: Path) -> None:
    tensors, _ = resnet
    path = saved({n: t for n, t in tensors.items() if not n.startswith(("layer3", "layer4"))}, tmp_path / "part.pt")
    ours, _ = build("resnet18", path, levels=(1, 2))
    assert not ours(torch.zeros(1, 3, SIDE_PX, SIDE_PX))[1].isnan().any()
    with pytest.raises(WeightsError, match=r"lacks \d+ tensors that levels \[1, 3\].*layer3"):
        build("resnet18", path, levels=(1, 3))


def test_what_a_file_has_too_much_is_returned(resnet, tmp_path: Path) -> None:
    tensors, _ = resnet
    path = saved(tensors | {"ema.decay": torch.zeros(1)}, tmp_path / "more.safetensors")
    assert build("resnet18", path)[1].unused == ("ema.decay", "fc.bias", "fc.weight")


def test_another_shape_is_named_with_both_shapes(resnet, tmp_path: Path) -> None:
    tensors, _ = resnet
    path = saved(tensors | {"layer1.0.conv1.weight": torch.zeros(64, 64, 5, 5)}, tmp_path / "other.safetensors")
    with pytest.raises(
        WeightsError, match=r"1 tensors .*layer1\.0\.conv1\.weight: \(64, 64, 5, 5\) instead of \(64, 64, 3, 3\)"
    ):
        build("resnet18", path)


@pytest.mark.parametrize("name", [name for name in NETS if name != "resnet18"])
def test_the_weights_of_another_net_are_refused(name: str, resnet) -> None:
    with pytest.raises(WeightsError, match="resnet18"):
        build(name, resnet[1])


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_file_that_holds_code_is_refused_and_the_code_not_run(how: str, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    trapped = {"conv1.weight": Trap(sprung)}
    if how == "torch":
        torch.save(trapped, tmp_path / "weights.pt")
    else:
        (tmp_path / "weights.pt").write_bytes(pickle.dumps(trapped))
    with pytest.raises(WeightsError, match=r"weights\.pt: not a safetensors file or a plain torch state dict"):
        build("resnet18", str(tmp_path / "weights.pt"))
    assert not sprung.exists()
    pickle.loads(pickle.dumps(trapped))  # the trap is real
    assert sprung.exists()


@pytest.mark.parametrize(
    ("name", "content"), [("a.safetensors", b"nonsense"), ("a.pt", b"\x80nonsense"), ("a.pt", b"")]
)
def test_a_damaged_file_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=r"a\.\w+: not a safetensors file or a plain torch state dict"):
        build("resnet18", str(tmp_path / name))


@pytest.mark.parametrize("content", [{"epoch": 3, "optimizer": {"lr": 1.0}}, [torch.zeros(3)], torch.zeros(3)])
def test_a_torch_file_of_something_else_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"a\.pt: "):
        build("resnet18", str(tmp_path / "a.pt"))


def test_no_such_file_names_the_ways_out() -> None:
    with pytest.raises(WeightsError, match=r"no file nowhere/w\.safetensors; .*builtin.*copy its cache.*path/to/file"):
        build("resnet18", "nowhere/w.safetensors")


def test_an_unknown_backbone_is_reported_the_nearest() -> None:
    with pytest.raises(
        SettingsError, match=r"embedding\.backbone: timm has no model 'resnet81'.*did you mean .*resnet18"
    ):
        build("resnet81", "builtin", (1,))


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_a_level_that_is_not_there(name: str, tmp_path: Path) -> None:
    path = saved(whole(name).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(SettingsError, match=rf"embedding\.levels: \[1, 99\].*does not suit '{name}'"):
        build(name, path, (1, 99))


def test_builtin_is_for_one_backbone_only() -> None:
    ours, weights = build("resnet18", "builtin")
    assert weights.unused == () and ours(torch.zeros(1, 3, SIDE_PX, SIDE_PX))[0].isfinite().all()
    with pytest.raises(WeightsError, match=r"builtin is there for resnet18, not for 'resnet34'; .*path/to/file"):
        build("resnet34", "builtin", (1,))


@torch.no_grad()
def test_it_stays_frozen_whatever_its_owner_does(resnet) -> None:
    ours, _ = build("resnet18", resnet[1])
    pixels = 255 * torch.rand(4, 3, SIDE_PX, SIDE_PX)
    alone = ours(pixels[:1])[1]
    before = ours.digest()
    owner = nn.Sequential(ours).train()
    assert not any(module.training for module in ours.modules())
    torch.testing.assert_close(owner(pixels)[1][:1], alone, atol=1e-4, rtol=1e-4)  # no batch statistics
    assert ours.digest() == before


@torch.no_grad()
def test_the_digest_follows_the_weights(resnet) -> None:
    ours, again = build("resnet18", resnet[1])[0], build("resnet18", resnet[1])[0]
    assert ours.digest() == again.digest()
    again.net.layer3[1].bn2.running_var[7] += 1e-3
    assert ours.digest() != again.digest()
    assert build("resnet18", resnet[1], levels=(1,))[0].digest() != ours.digest()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and a hub at an address where nobody answers."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    return tmp_path / "hub"


def expect_ways_out(within_s: float) -> None:
    started = time.perf_counter()
    with pytest.raises(WeightsError) as error:
        build("resnet18", "hub")
    assert time.perf_counter() - started < within_s
    said = str(error.value)
    assert said.startswith("embedding.weights: hub: no weights for 'resnet18' could be fetched (")
    assert "embedding.weights: builtin" in said and "copy its cache here" in said and "path/to/file" in said


def test_a_hub_that_refuses_is_given_up_at_once(hub: Path) -> None:
    expect_ways_out(within_s=10)


def test_a_hub_that_never_answers_is_given_up_soon(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(backbone_module, "HUB_TIMEOUT_S", 0.5)
        expect_ways_out(within_s=10)


@torch.no_grad()
def test_a_copied_hub_cache_works_without_the_hub(hub: Path, resnet) -> None:
    repository = timm.get_pretrained_cfg("resnet18").hf_hub_id
    folder = hub / f"models--{repository.replace('/', '--')}"
    commit = "c" * 40
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True)
    saved(resnet[0], folder / "snapshots" / commit / "model.safetensors")
    (folder / "snapshots" / commit / "config.json").write_text(json.dumps({"architecture": "resnet18"}))
    started = time.perf_counter()
    ours, _ = build("resnet18", "hub")
    assert time.perf_counter() - started < 10
    pixels = 255 * torch.rand(1, 3, SIDE_PX, SIDE_PX)
    expected = build("resnet18", resnet[1])[0](pixels)
    for level, theirs in zip(ours(pixels), expected, strict=True):
        np.testing.assert_allclose(level, theirs, atol=1e-6)
