"""CLIP, from weights that are on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.transforms.functional import resize

from diffrig_emo.perception.frozen import FrozenNetwork, require_pictures
from diffrig_emo.perception.text_image import TextImageEmbedder
from diffrig_emo.utils.imports import require
from diffrig_emo.utils.licensed import keep_out_of_checkpoints

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class ClipEmbedder(FrozenNetwork, TextImageEmbedder):
    """CLIP (Radford et al. 2021), loaded by open_clip from a file; nothing is downloaded.

    Pictures are resized to the network's size, whole, and normalised as in its training.

    Args:
        path: weights as OpenAI or open_clip give them out, such as `ViT-B-16.pt`.
        model_name: open_clip's name of the network; OpenAI's weights want one that ends in `-quickgelu`.

    Raises:
        FileNotFoundError: when there is no such file.
        ImportError: when open_clip is missing, with the command that installs it.
        ValueError: when open_clip does not know the name, or the file is of another network.

    Example:
        ```python
        clip = ClipEmbedder("assets/ViT-B-16.pt")
        likeness = clip.embed_image(faces) @ clip.embed_text(["happy face"]).T
        ```
    """

    def __init__(self, path: str | Path, model_name: str = "ViT-B-16-quickgelu") -> None:
        super().__init__()
        path = Path(path).expanduser()
        if not path.is_file():
            raise FileNotFoundError(
                f"path: expected CLIP's weights for {model_name}, but {path} does not exist. Get ViT-B-16.pt from "
                "https://github.com/openai/CLIP (MIT) and give its path, or inject another TextImageEmbedder"
            )
        open_clip: Any = require("open_clip", purpose="ClipEmbedder", install='pip install "diffrig_emo[latent]"')
        try:
            network = open_clip.create_model(model_name, pretrained=str(path), precision="fp32")
        except Exception as error:  # its errors have no common base but this
            raise ValueError(f"{path}: open_clip cannot read it as {model_name} ({error})") from error
        size = network.visual.image_size
        self.image_size: int = size if isinstance(size, int) else size[0]
        self.network: Any = network
        self._tokenize = open_clip.get_tokenizer(model_name)
        keep_out_of_checkpoints(self.eval())

    def embed_image(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Embeddings of pictures, RGB in [0, 1].

        Raises:
            ValueError: when `image` is no batch of RGB pictures.
        """
        require_pictures(image)
        image = resize(image, [self.image_size, self.image_size], antialias=True)
        mean, std = (image.new_tensor(numbers).view(3, 1, 1) for numbers in (_MEAN, _STD))
        embedding: Tensor = self.network.encode_image((image - mean) / std)
        return embedding

    @torch.no_grad()
    def embed_text(self, texts: Sequence[str]) -> Float[Tensor, "texts dim"]:
        """Embeddings of texts."""
        device = next(self.network.parameters()).device
        embedding: Tensor = self.network.encode_text(self._tokenize(list(texts)).to(device))
        return embedding
