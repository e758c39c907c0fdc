"""Networks that others trained: read from their files, frozen, and in nobody's checkpoint but theirs."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from typing_extensions import Self

from diffrig_emo.io.checkpoints import read_weights


class FrozenNetwork(nn.Module):
    """A network in eval mode for ever. A subclass ends its constructor with `keep_out_of_checkpoints(self.eval())`."""

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode."""
        return super().train(False)


def load_network(path: Path, network: nn.Module, prefixes: tuple[str, ...] = ("",)) -> None:
    """Give a network its weights; names and shapes must be exactly those of the file.

    Args:
        path: the file.
        network: the network, possibly on the meta device.
        prefixes: how its names begin; others in the file belong to other networks.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: naming the file, when it is damaged or holds another network; nothing is then loaded.
    """
    content = read_weights(path)
    state = content.get("state_dict", content)
    tensors = {n: t for n, t in state.items() if str(n).startswith(prefixes) and isinstance(t, Tensor)}
    wanted = network.state_dict()
    for name in wanted:
        if name.endswith(".num_batches_tracked"):  # files of before PyTorch 0.4.1 have none, and eval mode needs none
            tensors.setdefault(name, torch.zeros((), dtype=torch.long))
    for name, tensor in wanted.items():
        if name not in tensors or tensors[name].shape != tensor.shape:
            got = tuple(tensors[name].shape) if name in tensors else f"none among {', '.join(list(state)[:3])}, ..."
            raise ValueError(f"{path}: expected {name} of shape {tuple(tensor.shape)}, got {got}; this is another file")
    unknown = sorted(tensors.keys() - wanted.keys())
    if unknown:
        raise ValueError(f"{path}: it also holds {', '.join(unknown[:3])}, which the expected network has not")
    # Copies, because what was read may be mapped from the file.
    network.load_state_dict({n: t.clone().to(wanted[n].dtype) for n, t in tensors.items()}, assign=True)


def require_pictures(image: Tensor, name: str = "image", least: int = 1) -> None:
    """Refuse what is no batch of RGB pictures.

    Args:
        image: wanted (batch, 3, height, width), floating point.
        name: the argument, for the message.
        least: smallest height and width in pixels.

    Raises:
        ValueError: naming the argument, what was wanted and what came.
    """
    if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point() or min(image.shape[2:]) < least:
        raise ValueError(
            f"{name}: expected a float tensor of shape (batch, 3, height, width), RGB in [0, 1]"
            f"{f', at least {least} x {least} pixels' if least > 1 else ''}, got "
            f"{str(image.dtype).removeprefix('torch.')} {tuple(image.shape)}"
        )
