"""How far the pictures are, at a glance: the same few faces, painted again and again during training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import lightning as L
import numpy as np
import torch
from jaxtyping import Float
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.utils import make_grid

from diffrig_emo.callbacks.diffusion_module import DiffusionModule, as_diffusion
from diffrig_emo.conditioning.buffers import BufferConditioner
from diffrig_emo.io.images import write_image
from diffrig_emo.perception.base import EmotionRecognizer
from diffrig_emo.structures import FaceBatch
from diffrig_emo.structures.base import TensorStruct
from diffrig_emo.transforms.edits import transfer_expression


class ImageGrid(Callback):
    """Paint some validation faces after every validation: `grids/step=….png` in the folder of the run, and TensorBoard.

    A row for each face; columns, where the model and the faces have what they need:

    - source: the photograph;
    - render: its physical buffers, shaded;
    - reconstruction: painted from its own inverted latent and conditions;
    - edit: the same with the expression of the face below (the last row has that of the first);
    - difference: |edit - source|, three times as strong.

    The faces are the first of the validation. With `WeightEMA` the averaged weights paint after a validation, and the
    raw ones between two.

    Args:
        num_faces: rows.
        every_n_steps: paint also every so many optimizer steps, from the first validation on, with the weights as they
            are then; None paints after validation only.

    Raises:
        ValueError: when a number is not positive; at the start of training, when the module is no `FaceDiffusion`.
    """

    def __init__(self, num_faces: int = 4, every_n_steps: int | None = None) -> None:
        for name, value in {"num_faces": num_faces, "every_n_steps": every_n_steps}.items():
            if value is not None and value < 1:
                raise ValueError(f"ImageGrid: {name} must be at least 1, got {value}")
        self.num_faces = num_faces
        self.every_n_steps = every_n_steps
        self._faces: FaceBatch | None = None
        self._folder = Path("grids")
        self._painted_step = -1

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Find the folder of the run; refuse what does not paint."""
        as_diffusion(pl_module, self)
        self._folder = Path(trainer.log_dir or trainer.default_root_dir) / "grids"

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first faces."""
        if batch_idx == 0 and dataloader_idx == 0:
            self._faces = first_faces(batch, self.num_faces)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Paint, while the averaged weights are still in place."""
        if not trainer.sanity_checking:
            self._paint(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Paint when it is time."""
        step = trainer.global_step
        if self.every_n_steps is None or step % self.every_n_steps or step == self._painted_step:
            return
        training = [part for part in pl_module.modules() if part.training]
        pl_module.eval()
        self._paint(trainer, pl_module)
        for part in training:  # frozen parts stay as they were
            part.training = True

    @torch.no_grad()
    def _paint(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._faces is None or not trainer.is_global_zero:
            return
        self._painted_step = step = trainer.global_step
        with trainer.precision_plugin.forward_context():
            columns = paint_faces(as_diffusion(pl_module, self), self._faces)
        picture = labelled_grid(columns)
        write_image(self._folder / f"step={step:06d}.png", picture)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("faces", picture, step)


def paint_faces(module: DiffusionModule, faces: FaceBatch) -> dict[str, Tensor]:
    """Pictures (B, 3, H, W) in [0, 1] by column, as `ImageGrid` shows them."""
    source = faces["image"]
    columns = {"source": source}
    for conditioner in module.conditioners:
        if isinstance(conditioner, BufferConditioner):
            columns["render"] = conditioner.render(faces["codes"]).rendered
    own = module.condition(faces)
    latent = module.invert(source, own)
    columns["reconstruction"] = module.sample(own, latent)
    wanted = FaceBatch(**faces)
    if any(isinstance(part, EmotionRecognizer) for part in module.conditioners.modules()):
        wanted["target_image"] = source.roll(-1, 0)
    elif "label" in faces:
        wanted["target_label"] = faces["label"].roll(-1, 0)
    if "label" in faces and "va" in faces:  # for conditioners that see no expression in a picture
        wanted["target_label"], wanted["target_va"] = faces["label"].roll(-1, 0), faces["va"].roll(-1, 0)
    if "codes" in faces:
        following = faces["codes"][torch.arange(len(source)).roll(-1)]
        columns["edit"] = module.edit(wanted, codes=transfer_expression(faces["codes"], following), latent=latent)
    else:
        columns["edit"] = module.sample(module.condition(wanted), latent)
    columns["difference"] = 3 * (columns["edit"] - source).abs()
    return {name: pictures.float().clamp(0, 1).cpu() for name, pictures in columns.items()}


def first_faces(batch: Mapping[str, Any], num_faces: int) -> FaceBatch:
    """The first faces of a batch."""
    sized = (Tensor, TensorStruct, list)
    found: dict[str, Any] = {key: v[:num_faces] if isinstance(v, sized) else v for key, v in batch.items()}
    return cast(FaceBatch, found)


def labelled_grid(columns: Mapping[str, Float[Tensor, "batch 3 height width"]]) -> Float[Tensor, "3 rows columns"]:
    """Join pictures of equal sizes, in [0, 1], to one: a row per face, and the names of the columns above them.

    Example:
        >>> labelled_grid({"source": torch.zeros(2, 3, 64, 64), "edit": torch.ones(2, 3, 64, 64)}).shape
        torch.Size([3, 150, 134])
    """
    pad, header = 2, 16
    pictures = torch.stack([column[i] for i in range(len(next(iter(columns.values())))) for column in columns.values()])
    grid = make_grid(pictures, nrow=len(columns), padding=pad, pad_value=1.0)
    width = pictures.shape[-1] + pad
    label = Image.new("RGB", (grid.shape[2], header), "white")
    font = ImageFont.load_default()
    for number, name in enumerate(columns):
        short = name
        while font.getlength(short) > width - pad:
            short = short[:-1]
        ImageDraw.Draw(label).text((number * width + pad, 2), short, fill="black", font=font)
    text = torch.from_numpy(np.array(label)).permute(2, 0, 1).float() / 255
    return torch.cat([text, grid], dim=1)
