"""Makes the weights of the built-in backbone, as they are until trained ones replace them: an untrained resnet18.

    python scripts/make_builtin_backbone.py

Orthogonal filters, and batch normalisation whose statistics were measured on drawn pictures of spectral noise, so
that every channel is alive and of one size. Of plain, orthogonal and Gabor first layers, with and without measured
statistics, this did best on the development sets. Stages 1 to 3 only, as fp16.
"""

from pathlib import Path

import safetensors.torch
import timm
import torch
from torch import Tensor, nn

OUT = Path(__file__).parents[1] / "defectflow" / "weights" / "resnet18.safetensors"
SIDE_PX = 256


def spectral_noise(pictures: int) -> Tensor:
    """Coloured noise with power laws from white to smooth, as a network sees normalised pictures: (N, 3, S, S)."""
    rows = SIDE_PX * torch.fft.fftfreq(SIDE_PX)[:, None]
    columns = SIDE_PX * torch.fft.rfftfreq(SIDE_PX)[None]
    frequency = torch.sqrt(rows**2 + columns**2) + 1
    exponent = 0.5 + 1.5 * torch.rand(pictures, 1, 1, 1)
    spectrum = torch.fft.rfft2(torch.randn(pictures, 3, SIDE_PX, SIDE_PX)) * frequency**-exponent
    noise = torch.fft.irfft2(spectrum, s=(SIDE_PX, SIDE_PX))
    return noise / noise.std((1, 2, 3), keepdim=True)


def main() -> None:
    torch.manual_seed(0)
    net = timm.create_model("resnet18", features_only=True, out_indices=(1, 2, 3))
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.orthogonal_(module.weight, gain=2**0.5)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)  # timm starts residual branches at zero, which would leave them out
            module.momentum = None  # a plain average over the batches below
    net.train()
    with torch.no_grad():
        for _ in range(8):
            net(spectral_noise(16))
    tensors = {name: tensor.half() for name, tensor in net.state_dict().items() if tensor.is_floating_point()}
    safetensors.torch.save_file(tensors, OUT)
    print(f"{OUT}: {len(tensors)} tensors, {OUT.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
