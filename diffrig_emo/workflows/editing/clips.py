"""Clips: following a face through one, editing its frames, driving a photograph, going from a face to its edit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from diffrig_emo.datasets.detectors import DetectedFaces
from diffrig_emo.datasets.photo_faces import whole_crop
from diffrig_emo.datasets.photos import Align, NoFaceError, crop_faces
from diffrig_emo.datasets.video import FaceTrack, find_cuts, smooth_codes, smooth_track, track_face
from diffrig_emo.io.video import frame_rate, read_frames
from diffrig_emo.modules import FaceDiffusion
from diffrig_emo.structures import FaceCodes, FaceCrop
from diffrig_emo.transforms.alignment import is_ffhq_aligned
from diffrig_emo.workflows.editing.changes import Edit
from diffrig_emo.workflows.editing.faces import Face, FaceReader
from diffrig_emo.workflows.editing.painting import Painting, edit_faces, inverted, paste_faces

CLIPS = (".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".webm")
"""Suffixes that count as clips."""


@dataclasses.dataclass(frozen=True)
class FollowedFace:
    """One person's face through a clip."""

    path: Path
    rate: float
    """Frames per second."""
    usable: Bool[Tensor, " n_frames"]
    """Whether the face is seen there, in the scene that is followed."""
    codes: FaceCodes | None
    """A row per frame, calm over time, of one shape; None for rigs that know no codes. Of unusable frames they are
    those of the frames around."""
    track: FaceTrack | None
    """Where the face is, a row per frame; None where the whole frame is the face."""
    problems: tuple[str, ...]
    """What is not edited, and why."""


def follow(path: Path, reader: FaceReader, window: int = 9, batch_size: int = 8) -> FollowedFace:
    """Follow one face through a clip: the longest scene of it that shows the face counts, the rest is reported.

    The clip is read twice: to find the face, and to read its codes.

    Args:
        path: the clip.
        reader: finds the face and reads its codes.
        window: frames over which places and codes are smoothed; odd.
        batch_size: frames that are read into codes together.

    Raises:
        FileNotFoundError: when there is no such file.
        NoFaceError: when no frame shows a face.
        ValueError: when it is no clip, or the first frame with faces lacks the one asked for.
    """
    rate = frame_rate(path)
    rate = rate if rate > 0 else 24.0
    small: list[Tensor] = []
    size: list[tuple[int, int]] = []

    def watched() -> Iterator[Tensor]:
        for frame in read_frames(path):
            size.append((frame.shape[1], frame.shape[2]))
            small.append(F.adaptive_avg_pool2d(frame, 16))
            yield frame

    frames = watched()
    first = next(frames)
    if reader.takes_whole(size[0]):
        for _ in frames:
            pass
        track, found = None, torch.ones(len(small), dtype=torch.bool)
    else:
        try:
            track = track_face(_again(first, frames), reader.detector, reader.face_policy)
        except NoFaceError as error:
            raise NoFaceError(f"{path}: {error}") from error
        found = track.found
    scenes = _scenes(find_cuts(small), len(small))
    scene = max(scenes, key=lambda s: int(found[s.start : s.stop].sum()))
    usable = torch.zeros_like(found)
    usable[scene.start : scene.stop] = found[scene.start : scene.stop]
    if track is not None:
        track = _within(track, scene, window)
    codes = _codes(path, reader, track, scene, usable, window, batch_size)
    problems = _problems(path, rate, scenes, scene, found)
    return FollowedFace(path, rate, usable, codes, track, tuple(problems))


def edited_frames(
    rig: FaceDiffusion,
    followed: FollowedFace,
    reader: FaceReader,
    edit: Edit,
    painting: Painting,
    mean_shape: Float[Tensor, " n_shape"] | None = None,
    paste: bool = False,
    batch_size: int = 8,
) -> Iterator[Float[Tensor, "3 height width"]]:
    """Edit every frame of a clip: calm codes, one shape, the same noise for all; unusable frames stay as they are.

    Args:
        rig: the model, in eval mode.
        followed: the face, from `follow`.
        reader: the same that followed it.
        edit: what becomes of it.
        painting: how it is painted.
        mean_shape: replaces the shape code.
        paste: put each face back into its frame, of which an odd last row or column is doubled, as MP4 needs it.
        batch_size: frames painted together.

    Yields:
        RGB in [0, 1]: whole frames with `paste`, else aligned pictures.
    """
    numbered = enumerate(_crops(followed.path, reader, followed.track))
    while chunk := list(islice(numbered, batch_size)):
        pictures: dict[int, Tensor] = {}
        faces: dict[int, Face] = {}
        for number, crop in chunk:
            assert crop.aligned is not None
            assert crop.photo is not None
            assert crop.photo_to_aligned is not None
            codes = None if followed.codes is None else followed.codes[number].replace(tform=_tform(crop, reader))
            faces[number] = Face(
                followed.path, crop.aligned.to(reader.device), codes, crop.photo[0], crop.photo_to_aligned[0]
            )
        wanted = [number for number in faces if followed.usable[number]]
        if wanted:
            done = edit_faces(rig, [faces[n] for n in wanted], [edit], painting, mean_shape, indices=[0] * len(wanted))
            pictures = {n: e.pictures[0] for n, e in zip(wanted, done, strict=True)}
        for number, face in faces.items():
            if not paste:
                yield pictures.get(number, face.aligned[0].cpu())
            elif number in pictures:
                yield _even(paste_faces([face], [pictures[number]]))
            else:
                assert face.photo is not None
                yield _even(face.photo)


def driven_frames(
    rig: FaceDiffusion,
    face: Face,
    driving: FollowedFace,
    edit: Edit,
    painting: Painting,
    mean_shape: Float[Tensor, " n_shape"] | None = None,
    paste: bool = False,
    batch_size: int = 8,
    index: int = 0,
) -> Iterator[Float[Tensor, "3 height width"]]:
    """Reenact a photograph: each frame has the expression of a frame of the driving clip, and the photo's own latent.

    Args:
        rig: the model, in eval mode.
        face: the photograph's face.
        driving: the face that gives, from `follow`.
        edit: what becomes of the face besides.
        painting: how it is painted.
        mean_shape: replaces the shape code.
        paste: put the face back into its photograph.
        batch_size: frames painted together.
        index: number of the photo; with the rig's seed it fixes the noise.

    Yields:
        RGB in [0, 1], one for each frame of the clip; the photo itself where the clip's face is not usable.

    Raises:
        ValueError: when the driving clip has no codes.
    """
    if driving.codes is None:
        raise ValueError(f"{driving.path}: this rig has no face model, so no clip can drive it")
    latent = inverted(rig, [face], painting, mean_shape)
    for start in range(0, len(driving.usable), batch_size):
        rows = list(range(start, min(start + batch_size, len(driving.usable))))
        wanted = [n for n in rows if driving.usable[n]]
        pictures: dict[int, Tensor] = {}
        if wanted:
            done = edit_faces(
                rig,
                [face] * len(wanted),
                [edit],
                painting,
                mean_shape,
                indices=[index] * len(wanted),
                driving=driving.codes[wanted],
                latent=None if latent is None else latent.expand(len(wanted), -1, -1, -1),
            )
            pictures = {n: e.pictures[0] for n, e in zip(wanted, done, strict=True)}
        for number in rows:
            picture = pictures.get(number, face.aligned[0].cpu())
            yield _even(paste_faces([face], [picture])) if paste else picture


def interpolated_frames(
    rig: FaceDiffusion,
    face: Face,
    edit: Edit,
    count: int,
    painting: Painting,
    mean_shape: Float[Tensor, " n_shape"] | None = None,
    paste: bool = False,
    index: int = 0,
) -> list[Float[Tensor, "3 height width"]]:
    """From a face to its edit in equal steps of the codes, all from one latent.

    Args:
        rig: the model, in eval mode.
        face: the photograph's face.
        edit: what becomes of it in the end.
        count: pictures, at least 2; the first has the face's own codes.
        painting: how they are painted.
        mean_shape: replaces the shape code.
        paste: put each face back into its photograph.
        index: number of the photo; with the rig's seed it fixes the noise.

    Returns:
        RGB in [0, 1].

    Raises:
        ValueError: when there are fewer than two, or the edit is not one of codes alone.
    """
    if count < 2:
        raise ValueError(f"interpolate: expected 2 pictures or more, got {count}")
    if face.codes is None or edit.donor is not None or edit.wish.label is not None or edit.wish.va is not None:
        raise ValueError(
            "interpolate: it goes along a line between codes; leave out mode latent, and take a rig of codes without "
            "conditioners of expression"
        )
    edits = [dataclasses.replace(edit, share=float(share)) for share in torch.linspace(0, 1, count)]
    pictures = edit_faces(rig, [face], edits, painting, mean_shape, [index])[0].pictures
    return [_even(paste_faces([face], [picture])) if paste else picture for picture in pictures]


def _again(first: Tensor, rest: Iterable[Tensor]) -> Iterator[Tensor]:
    yield first
    yield from rest


def _scenes(cuts: Sequence[int], count: int) -> list[range]:
    ends = [0, *cuts, count]
    return [range(a, b) for a, b in pairwise(ends)]


def _within(track: FaceTrack, scene: range, window: int) -> FaceTrack:
    """The track of one scene, calmed; frames outside of it have the place of its nearest frame."""
    part = slice(scene.start, scene.stop)
    landmarks = track.landmarks
    calm = smooth_track(
        FaceTrack(track.boxes[part], track.scores[part], track.kind, None if landmarks is None else landmarks[part]),
        window,
    )
    rows = (torch.arange(len(track.boxes)) - scene.start).clamp(0, len(scene) - 1)
    return FaceTrack(
        calm.boxes[rows], track.scores, track.kind, None if calm.landmarks is None else calm.landmarks[rows]
    )


def _crops(path: Path, reader: FaceReader, track: FaceTrack | None) -> Iterator[FaceCrop]:
    """The face of every frame, where the track has it."""
    align: Align = reader.align
    for number, frame in enumerate(read_frames(path)):
        if track is None:
            yield whole_crop(frame, reader.reach.size, reader.crop_size).replace(photo=(frame,))
            continue
        points = None if track.landmarks is None else track.landmarks[number : number + 1]
        if align == "auto":  # once for the whole clip, so that it does not jump
            aligned = points is None or is_ffhq_aligned(points[0], (frame.shape[1], frame.shape[2]))
            align = "window" if aligned else "ffhq"
        faces = DetectedFaces(track.boxes[[number]], track.scores[[number]], track.kind, points)
        yield crop_faces(frame, faces, [0], reader.reach.size, reader.crop_size, align)


def _tform(crop: FaceCrop, reader: FaceReader) -> Tensor | None:
    """Where the codes' camera looks: none for encoders of whole pictures."""
    return None if reader.reads_whole or crop.tform is None else crop.tform.to(reader.device)


def _codes(
    path: Path,
    reader: FaceReader,
    track: FaceTrack | None,
    scene: range,
    usable: Bool[Tensor, " n_frames"],
    window: int,
    batch_size: int,
) -> FaceCodes | None:
    """Calm codes of every frame; those outside the scene are those of its nearest frame."""
    if reader.encoder is None or reader.reach.space is None:
        return None
    rows: list[FaceCodes] = []
    crops = islice(_crops(path, reader, track), scene.start, scene.stop)
    while chunk := [crop.replace(photo=None) for crop in islice(crops, batch_size)]:
        codes = reader.encode(FaceCrop.cat(chunk))
        assert codes is not None
        rows.append(codes)
    calm = smooth_codes(FaceCodes.cat(rows), usable[scene.start : scene.stop], window)
    return calm[(torch.arange(len(usable)) - scene.start).clamp(0, len(scene) - 1).to(calm.exp.device)]


def _problems(
    path: Path, rate: float, scenes: Sequence[range], scene: range, found: Bool[Tensor, " n_frames"]
) -> list[str]:
    """One line for each cut and each stretch without the face; frames count from 0."""
    lines = []
    for other in scenes[1:]:
        lines.append(f"{path.name}: the scene is cut at frame {other.start} ({other.start / rate:.2f} s)")
    for other in scenes:
        if other is not scene:
            lines.append(f"{path.name}: {_stretch(other, rate)} belong to another scene and stay as they are")
    lost = [n for n in scene if not found[n]]
    while lost:
        end = next((i for i in range(1, len(lost)) if lost[i] != lost[0] + i), len(lost))
        stretch = range(lost[0], lost[end - 1] + 1)
        lines.append(f"{path.name}: the face is lost in {_stretch(stretch, rate)}, which stay as they are")
        lost = lost[end:]
    return lines


def _stretch(frames: range, rate: float) -> str:
    first, last = frames.start, frames.stop - 1
    return f"frames {first} to {last} ({first / rate:.2f} to {last / rate:.2f} s)"


def _even(frame: Float[Tensor, "3 height width"]) -> Float[Tensor, "3 even_height even_width"]:
    """A frame of even sides: the last row or column is doubled where needed."""
    height, width = frame.shape[1:]
    if height % 2 == 0 and width % 2 == 0:
        return frame
    return F.pad(frame[None], (0, width % 2, 0, height % 2), mode="replicate")[0]
