"""The emotion network that EMOCA was trained with."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import ResNet, resnet50
from torchvision.models.resnet import Bottleneck
from typing_extensions import Self

from diffrig_emo.perception.base import N_EMOTIONS, EmotionPrediction, EmotionRecognizer
from diffrig_emo.perception.emoca_files import find_checkpoint
from diffrig_emo.perception.frozen import load_network
from diffrig_emo.utils.licensed import keep_out_of_checkpoints

_VGGFACE2_PEOPLE = 8631
"""Outputs of the classifier that comes with the backbone and is not used."""


class EmocaEmotionRecognizer(EmotionRecognizer):
    """EMOCA's emotion ResNet-50 (Danecek et al., "EMOCA", 2022, section 3.2), from the authors' file.

    Its 2048 pooled features are what EMOCA's emotion-consistency loss compares. The weights are licensed, so they are
    frozen, always in eval mode, left out of checkpoints and read again.

    Args:
        path: the `.ckpt`; the model's folder (`ResNet50`), whose best checkpoint is found by its name; or a folder to
            search for it. None: it is looked for where `diffrig_emo.utils.assets` looks.

    Raises:
        FileNotFoundError: saying where the model was looked for and where to get it.
        ValueError: when the file is damaged, tries to run code, or does not hold exactly this network.

    Example:
        ```python
        recognizer = EmocaEmotionRecognizer("assets/EmotionRecognition/image_based_networks/ResNet50")
        seen = recognizer(pictures)  # (B, 3, H, W), RGB in [0, 1]
        ```
    """

    def __init__(self, path: str | Path | None = None) -> None:
        super().__init__()
        self.image_size, self.feature_dim = 224, 2048
        with torch.device("meta"):
            network = _Network()
        load_network(find_checkpoint("emoca_emotion", path), network, ("backbone.", "linear."))
        self.network = network
        keep_out_of_checkpoints(self.eval())

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode."""
        return super().train(False)

    def recognize(self, image: Float[Tensor, "batch 3 224 224"]) -> EmotionPrediction:
        """Emotions of faces of 224 x 224 pixels, RGB in [0, 1]: the network wants no other normalisation."""
        feature = self.network.features(image)
        outputs = self.network.linear(feature)
        # Its outputs are not bounded by themselves.
        va = outputs[:, N_EMOTIONS:].clamp(-1, 1)
        return EmotionPrediction(logits=outputs[:, :N_EMOTIONS], va=va, feature=feature)


class _Network(nn.Module):
    """The two parts, under the authors' names."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = caffe_resnet50(_VGGFACE2_PEOPLE)
        self.linear = nn.Linear(2048, N_EMOTIONS + 2)

    def features(self, image: Tensor) -> Tensor:
        net = self.backbone
        x = net.maxpool(net.relu(net.bn1(net.conv1(image))))
        pooled: Tensor = net.avgpool(net.layer4(net.layer3(net.layer2(net.layer1(x)))))
        return pooled.flatten(1)


def caffe_resnet50(num_classes: int = 1000) -> ResNet:
    """ResNet-50 as Caffe had it, with torchvision's names.

    A block that halves the picture does so in its first 1 x 1 convolution, not in the 3 x 3 one, and the max-pooling
    is not padded, but covers an incomplete last window. Weights of one kind load into the other, and are wrong there.

    Args:
        num_classes: outputs of the classifier `fc`.
    """
    network: ResNet = resnet50(weights=None, num_classes=num_classes)
    network.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=0, ceil_mode=True)
    for block in network.modules():
        if isinstance(block, Bottleneck):
            block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride
    return network
