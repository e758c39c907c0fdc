"""`diffrig-emo edit`: faces of photographs and clips with another expression, pose, light or look."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from diffrig_emo.datasets.detectors import FaceDetector
from diffrig_emo.datasets.photos import list_photos
from diffrig_emo.io.mean_shape import read_mean_shape
from diffrig_emo.morphable import MorphableEncoder
from diffrig_emo.utils.devices import choose_device
from diffrig_emo.workflows.editing.changes import Mode, Request, plan
from diffrig_emo.workflows.editing.clips import CLIPS, follow
from diffrig_emo.workflows.editing.faces import Face, FaceReader, bundled_face, read_face
from diffrig_emo.workflows.editing.painting import EditedFace, Painting, edit_face
from diffrig_emo.workflows.editing.rigs import Reach, buffer_bridge, choose_reader, choose_rig
from diffrig_emo.workflows.editing.runs import Run
from diffrig_emo.workflows.editing.writing import Writer

__all__ = ["EditedFace", "Face", "Mode", "buffer_bridge", "edit", "edit_face", "read_face"]


def edit(
    source: Path | None = None,
    target: Path | None = None,
    rig: Path | None = None,
    output: Path = Path("edits"),
    modes: list[Mode] = ["exp"],  # noqa: B006
    targets: dict[Mode, Path] | None = None,
    emotion: str | None = None,
    strength: float = 1.0,
    valence: float | None = None,
    arousal: float | None = None,
    set: list[str] = [],  # noqa: B006
    add: list[str] = [],  # noqa: B006
    region: list[str] = [],  # noqa: B006
    prototypes: Path | None = None,
    interpolate: int | None = None,
    driving: Path | None = None,
    clip: Literal["gif", "mp4"] | None = None,
    paste: bool = False,
    all_faces: bool = False,
    face: int = 0,
    source_encoder: MorphableEncoder | Path | None = None,
    target_encoder: MorphableEncoder | Path | None = None,
    target_encoders: dict[Mode, MorphableEncoder | Path] | None = None,
    detector: FaceDetector | None = None,
    face_policy: Literal["largest", "center"] | int = "largest",
    start: Literal["inverted", "noise"] = "inverted",
    temperature: float = 1.0,
    release: float = 0.5,
    sampler: Literal["ddim", "dpm"] = "ddim",
    steps: int = 20,
    eta: float = 0.0,
    t0: float = 1.0,
    residual: bool = False,
    blend: bool = False,
    guidance_scale: float = 1.0,
    mean_shape: Path | None = None,
    adapter: Path | None = None,
    image_format: Literal["png", "jpg"] = "png",
    smoothing: int = 9,
    batch_size: int = 8,
    seed: int = 0,
) -> None:
    """Edit faces: expression, pose, light, look.

    That example edits a synthetic face with the models that come with the package; a photograph is edited by
    `diffrig-emo edit --source me.jpg --target smile.jpg --paste`.

    What changes is applied in this order: the driving clip, targets, the emotion or valence and arousal, `set`, `add`;
    a region then keeps the source's expression elsewhere. Writes `SOURCE_EDIT.png` per edit (or a clip), `grid.png`
    with everything side by side, `edit.json` with the settings, and `skipped.csv` with the photographs that could not
    be used. Every picture and clip says in its metadata that it is AI-edited.

    Args:
        source: the photograph to edit, a folder of them, or a clip. None: a synthetic face.
        target: the photograph that gives what `modes` name, one edit each.
        rig: DiffusionRig's model file, or a run of ours (`demo_output/rig`). None is DiffusionRig's among the assets if
            it is found and there is a source, else the small rig of synthetic faces that comes with the package.
        output: folder for the results.
        modes: what to take from the target, one edit each: exp, pose, light, latent (the look: the global code).
        targets: photographs that give one thing each, all in one edit: `--targets.exp a.png --targets.light b.png`.
        emotion: neutral, happy, sad, surprise, fear, disgust, anger or contempt.
        strength: of the emotion: 0 neutral, 1 as its examples, at most 1.5.
        valence: unpleasant -1 to pleasant 1; with `arousal` a place in the plane of emotions. Left out, it is 0.
        arousal: calm -1 to excited 1.
        set: numbers of the codes, repeatable: `--set exp[3]=1.5 --set light[0,2]=3`. Groups: shape, tex, exp, pose,
            cam, light, detail, eye_pose. Names: jaw_open, jaw_side, head_nod, head_turn, head_tilt (radians),
            camera_scale, and for the synthetic head its own, such as smile or exp[jaw_open].
        add: the same, added to what is there.
        region: where the expression may change, repeatable: mouth (with the jaw), eyes, brows. None is everywhere.
        prototypes: what emotions look like in codes of FLAME (`expression_prototypes(...).write(FILE)`).
        interpolate: so many pictures from the source to the edit, as a strip, or with `clip` as an animation.
        driving: a clip whose expression, frame by frame, the photograph gets.
        clip: format of animations and edited clips; None is mp4 for clips.
        paste: put the edited face back into its photograph, of which only the face changes, at full size.
        all_faces: edit every face of a photo.
        face: which synthetic face, where there is no source.
        source_encoder: reads the source's codes: a class such as DECA or EMOCA (both find their files among the
            assets; or `--source_encoder.path FILE`), or a run of ours (`demo_output/encoder`), to which a square photo
            is the face. None is DECA, or for synthetic faces the encoder that comes with the package.
        target_encoder: reads the targets' codes, of the same code space. None is the source's encoder.
        target_encoders: another one for some modes: `--target_encoders.exp RUN`.
        detector: finds faces; None is `CascadeDetector`. Landmarks beside a photo (`.txt`, `.mat`) come first.
        face_policy: which face of a photo with several: largest, center, or its number from the left.
        start: "inverted" keeps what the codes do not describe; "noise" paints anew, as DiffusionRig does. Mode latent
            always starts from noise, for the source's latent holds the source's background.
        temperature: factor of the noise, 0 to 1, where painting starts from noise; lower is smoother.
        release: how far the inverted latent lets go of the source where the edit changes it, 0 to 1.
        sampler: ddim, or dpm (DPM-Solver++), which needs fewer steps.
        steps: steps of the sampler.
        eta: how random DDIM is, 0 to 1.
        t0: share of the noise schedule at which painting starts, above 0, at most 1; less changes less.
        residual: add to the source what the edit changes, so that what the rig cannot paint stays.
        blend: keep the source's pixels where the edit leaves the rendering alone.
        guidance_scale: classifier-free guidance, for rigs trained with dropped conditions; 1 is none.
        mean_shape: a person's `mean_shape.pkl`, which replaces the sources' shape codes (DiffusionRig's stage two).
        adapter: a person's low-rank adapter for this rig (`adapter.safetensors`).
        image_format: of the pictures: png or jpg.
        smoothing: frames of a clip over which places and codes are smoothed, odd; 1 smooths nothing.
        batch_size: faces or frames painted together; the results do not depend on it.
        seed: with the source's number, fixes the noise.

    Raises:
        FileNotFoundError: when a photograph or a model is missing.
        ValueError: when a photograph, a model or a setting cannot be used, before any editing starts; and in the end,
            when some photographs or frames could not be used, after all others are done.
    """
    request = Request(
        target=target,
        modes=modes,
        targets=targets or {},
        emotion=emotion,
        strength=strength,
        valence=valence,
        arousal=arousal,
        set=set,
        add=add,
        region=region,
        prototypes=prototypes,
        driven=driving is not None,
    )
    painting = Painting(
        start=start,
        temperature=temperature,
        release=release,
        sampler=sampler,
        eta=eta,
        t0=t0,
        residual=residual,
        blend=blend,
        guidance_scale=guidance_scale,
    )
    moving = source is not None and source.is_file() and source.suffix.lower() in CLIPS
    _check_clips(moving, interpolate, driving, clip)
    if moving and all_faces:
        raise ValueError("all_faces: of a clip one face is followed; choose it with face_policy")
    _check_numbers(batch_size=batch_size, steps=steps, smoothing=smoothing)
    sources = [] if source is None else list_photos(source)
    shape = None if mean_shape is None else read_mean_shape(mean_shape)
    device = choose_device()
    model, rig_name = choose_rig(rig, adapter, photographs=source is not None)
    model = model.to(device)
    model.set_steps(steps)
    model.seed = seed
    reach = Reach.of(model)
    encoder, encoder_name = choose_reader(source_encoder, reach.space)
    encoder = None if encoder is None else encoder.to(device)
    reader = FaceReader(reach, encoder, detector, face_policy, all_faces, device)

    others: dict[object, FaceReader] = {}
    goals: list[Face] = []

    def target_reader(mode: Mode) -> FaceReader:
        given = (target_encoders or {}).get(mode, target_encoder)
        key = given if given is None or isinstance(given, Path) else id(given)
        if key not in others:
            chosen = encoder if given is None else choose_reader(given, reach.space)[0]
            moved = None if chosen is None else chosen.to(device)
            others[key] = FaceReader(reach, moved, detector, face_policy, device=device)
        return others[key]

    def read_target(path: Path, mode: Mode) -> Face:
        (goal,) = target_reader(mode).read(path)
        goals.append(goal)
        return goal

    edits = plan(request, reach, read_target)
    settings: dict[str, Any] = {
        "source": f"synthetic face {face}" if source is None else source,
        "target": target,
        "targets": targets or {},
        "rig": rig_name if rig is None else rig,
        "source_encoder": _told(source_encoder) or encoder_name,
        "target_encoder": _told(target_encoder) or _told(source_encoder) or encoder_name,
        "target_encoders": {mode: _told(given) for mode, given in (target_encoders or {}).items()},
        "modes": modes,
        "emotion": emotion,
        "strength": None if emotion is None else strength,
        "valence": valence,
        "arousal": arousal,
        "set": set,
        "add": add,
        "region": region,
        "prototypes": prototypes,
        "interpolate": interpolate,
        "driving": driving,
        "paste": paste,
        "all_faces": all_faces,
        "start": start,
        "temperature": temperature,
        "release": release,
        "sampler": sampler,
        "steps": steps,
        "eta": eta,
        "t0": t0,
        "residual": residual,
        "blend": blend,
        "guidance_scale": guidance_scale,
        "mean_shape": mean_shape,
        "adapter": adapter,
        "smoothing": smoothing if moving or driving is not None else None,
        "seed": seed,
    }
    run = Run(
        model, reader, edits, painting, shape, Writer(output, settings, f".{image_format}"), paste, batch_size, clip
    )
    if moving and source is not None:
        run.edit_clip(source, smoothing)
    else:
        shown = goals[0] if target is not None and not targets else None
        followed = None
        if driving is not None:
            followed = follow(driving, target_reader("exp"), smoothing, batch_size)
        faces = None if source is not None else [bundled_face(face, reader)]
        run.edit_photos(sources, faces, shown, followed, interpolate)


def _told(encoder: MorphableEncoder | Path | None) -> Path | str | None:
    return encoder if encoder is None or isinstance(encoder, Path) else type(encoder).__name__


def _check_clips(moving: bool, interpolate: int | None, driving: Path | None, clip: str | None) -> None:
    if interpolate is not None and interpolate < 2:
        raise ValueError(f"interpolate: expected 2 pictures or more, got {interpolate}")
    if interpolate is not None and driving is not None:
        raise ValueError("interpolate: it and driving both make frames of one photograph; give one of them")
    if moving and (interpolate is not None or driving is not None):
        raise ValueError("source: interpolate and driving want a photograph, got a clip")
    if clip is not None and not (moving or interpolate is not None or driving is not None):
        raise ValueError("clip: one picture is no clip; give interpolate, driving, or a clip as the source")


def _check_numbers(**numbers: int) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"{name}: expected 1 or more, got {value}")
    if numbers["smoothing"] % 2 == 0:
        raise ValueError(f"smoothing: expected an odd number of frames, got {numbers['smoothing']}")
