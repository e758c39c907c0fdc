"""The network behind LPIPS, from files that are on disk."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffrig_emo.io.checkpoints import read_weights
from diffrig_emo.perception.frozen import FrozenNetwork, require_pictures
from diffrig_emo.utils.assets import locate_asset
from diffrig_emo.utils.licensed import keep_out_of_checkpoints

_TRUNKS: dict[tuple[int, ...], str] = {(64, 3, 11, 11): "alex", (64, 3, 3, 3): "vgg"}
"""Shape of the first convolution, and lpips' name for the network that has it."""
_LEAST_SIDE = 32


class LPIPSNetwork(FrozenNetwork):
    """Learned perceptual distance of two pictures (Zhang et al. 2018, "The Unreasonable Effectiveness", LPIPS 0.1).

    The network is that of the `lpips` package, whose wheel holds the calibrated linear layers but not the trunk below
    them. The trunk is read from disk: AlexNet, which the authors advise for evaluation, or VGG-16, told apart by what
    the file holds. Nothing is downloaded, and there is no distance by an untrained trunk.

    Args:
        path: torchvision's `alexnet-owt-7be5be79.pth` or `vgg16-397923af.pth`, or a folder to search for the former.
            None: it is looked for where `diffrig_emo.utils.assets` looks, and in PyTorch's own cache.

    Raises:
        FileNotFoundError: saying where the trunk was looked for and where to get it.
        ValueError: when the file is damaged or holds another network.

    Example:
        ```python
        network = LPIPSNetwork("vgg16-397923af.pth")
        distance = network(pred, target)  # (B, 3, H, W), RGB in [0, 1], to (B,)
        ```
    """

    def __init__(self, path: str | Path | None = None) -> None:
        super().__init__()
        path = locate_asset("lpips_trunk", path)
        trunk = read_weights(path)
        first = trunk.get("features.0.weight")
        kind = _TRUNKS.get(tuple(first.shape)) if isinstance(first, Tensor) else None
        if kind is None:
            raise ValueError(
                f"{path}: expected torchvision's AlexNet or VGG-16, whose features.0.weight has the shape "
                f"{' or '.join(map(str, _TRUNKS))}, got {'none' if first is None else tuple(first.shape)}"
            )
        self.network = _with_heads(kind, trunk, path)
        keep_out_of_checkpoints(self.eval())

    def forward(
        self, pred: Float[Tensor, "batch 3 height width"], target: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, " batch"]:
        """Distance of each pair of pictures, RGB in [0, 1]; 0 for equal ones. Gradients reach the pictures.

        Raises:
            ValueError: when these are no pictures of one shape, or smaller than 32 pixels.
        """
        for name, image in {"pred": pred, "target": target}.items():
            require_pictures(image, name, _LEAST_SIDE)
        if pred.shape != target.shape:
            raise ValueError(
                f"pred and target: expected equal shapes, got {tuple(pred.shape)} and {tuple(target.shape)}"
            )
        distance: Tensor = self.network(pred, target, normalize=True)
        return distance.flatten(1).mean(dim=1)


def _with_heads(kind: str, trunk: dict[str, Any], path: Path) -> nn.Module:
    """The package's network, with this trunk and its own linear layers."""
    import lpips  # it imports much

    with warnings.catch_warnings(), torch.device("meta"):
        warnings.filterwarnings("ignore", module="torchvision")  # it uses an argument that torchvision deprecates
        network: nn.Module = lpips.LPIPS(net=kind, pretrained=False, pnet_rand=True, verbose=False)
    heads = read_weights(Path(lpips.__file__).parent / "weights" / "v0.1" / f"{kind}.pth")
    wanted = network.state_dict()
    given: dict[str, Tensor] = {}
    for name, tensor in wanted.items():
        part, _, rest = name.partition(".")
        if part == "scaling_layer":
            given[name] = tensor
            continue
        # net.slice2.3.weight is features.3.weight of torchvision; lins.0 is lin0 under a second name.
        source, key = (trunk, f"features.{rest.partition('.')[2]}") if part == "net" else (heads, name)
        if part == "lins":
            key = f"lin{rest}"
        found = source.get(key)
        if not isinstance(found, Tensor) or found.shape != tensor.shape:
            got = tuple(found.shape) if isinstance(found, Tensor) else "none"
            raise ValueError(f"{path}: expected {key} of shape {tuple(tensor.shape)}, got {got}; this is another file")
        given[name] = found.float().clone()
    network.load_state_dict(given, assign=True)
    return network.eval()
