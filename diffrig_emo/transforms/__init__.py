"""Functions between spaces: value ranges, projection, crops, edits of codes."""

from diffrig_emo.transforms.affect import affect_strengths, express
from diffrig_emo.transforms.edits import transfer_expression, transfer_light, transfer_pose
from diffrig_emo.transforms.projection import crop_to_aligned, project
from diffrig_emo.transforms.ranges import to_signed, to_unit

__all__ = [
    "affect_strengths",
    "crop_to_aligned",
    "express",
    "project",
    "to_signed",
    "to_unit",
    "transfer_expression",
    "transfer_light",
    "transfer_pose",
]
