"""What an edited picture or clip says about itself: that a trained model edited it, which, and how.

Pictures carry an XMP packet with IPTC's "Digital Source Type" (IPTC Photo Metadata Standard 2023.1), which picture
agencies, browsers' inspectors and exiftool read, and the same as plain text; clips a title and a comment.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from jaxtyping import Float
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.io.images import to_picture
from diffrig_emo.io.video import CLIP_FORMATS, write_frames

EDITED = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's word for a photograph into which a trained model has painted."""
PICTURE_FORMATS = (".png", ".jpg", ".jpeg")
"""Suffixes that `write_edited_image` knows."""

_TITLE = "AI-edited by diffrig_emo"
_XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\x00"
_XMP_CHUNK = "XML:com.adobe.xmp"
_MOST_XMP = 65535 - 2 - len(_XMP_SEGMENT)
"""Bytes that a JPEG's segment has room for."""
_SPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "diffrig_emo": "urn:diffrig_emo:edit:1/",
}


@dataclasses.dataclass(frozen=True)
class Provenance:
    """By what a picture was edited, and how.

    Example:
        >>> Provenance({"emotion": "happy"}).software.startswith("diffrig_emo ")
        True
    """

    settings: Mapping[str, Any]
    """What the edit was told, as JSON can hold it."""
    software: str = dataclasses.field(default_factory=lambda: f"diffrig_emo {version('diffrig_emo')}")
    """Name and version of the program."""
    digital_source_type: str = EDITED
    """A concept of IPTC's NewsCodes, as its address."""

    def to_json(self) -> str:
        """Everything as one line of ASCII."""
        return json.dumps({**dataclasses.asdict(self), "settings": dict(self.settings)})

    def to_xmp(self) -> str:
        """Everything as an XMP packet."""
        spaces = " ".join(f'xmlns:{name}="{address}"' for name, address in _SPACES.items() if name != "rdf")
        return (
            '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
            f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_SPACES["rdf"]}">'
            f'<rdf:Description rdf:about="" {spaces}>'
            f"<xmp:CreatorTool>{escape(self.software)}</xmp:CreatorTool>"
            f"<Iptc4xmpExt:DigitalSourceType>{escape(self.digital_source_type)}</Iptc4xmpExt:DigitalSourceType>"
            f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{_TITLE}</rdf:li></rdf:Alt></dc:description>'
            f"<diffrig_emo:settings>{escape(json.dumps(dict(self.settings)))}</diffrig_emo:settings>"
            '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
        )


def write_edited_image(path: str | Path, image: Float[Tensor, "3 height width"], provenance: Provenance) -> None:
    """Write an edited picture that says so; the file appears only when it is complete.

    Args:
        path: `NAME.png`, `NAME.jpg` or `NAME.jpeg`; missing folders are made. A JPEG has quality 95, no subsampling.
        image: RGB in [0, 1]; values outside are clamped.
        provenance: by what it was edited, and how.

    Raises:
        ValueError: when `image` has another shape or holds NaN, the suffix is another, or the settings are too long.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_edited_image(f"{folder}/a.png", torch.zeros(3, 4, 4), Provenance({"emotion": "happy"}))
        ...     read_provenance(f"{folder}/a.png").settings
        {'emotion': 'happy'}
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in PICTURE_FORMATS:
        raise ValueError(f"{path}: expected a name that ends in {', '.join(PICTURE_FORMATS)}, got {path.suffix!r}")
    picture = to_picture(path, image)
    xmp = provenance.to_xmp()
    if suffix == ".png":
        info = PngInfo()
        info.add_text("Software", provenance.software)
        info.add_text("Title", _TITLE)
        info.add_text("Comment", provenance.to_json())
        info.add_itxt(_XMP_CHUNK, xmp)
        with atomic_path(path) as temporary:
            picture.save(temporary, pnginfo=info)
        return
    packet = xmp.encode()
    if len(packet) > _MOST_XMP:
        raise ValueError(
            f"{path}: expected settings of at most {_MOST_XMP} bytes for a JPEG, got {len(packet)}; use PNG"
        )
    exif = Image.Exif()
    exif[0x0131], exif[0x010E] = provenance.software, _TITLE  # Software, ImageDescription
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=95, subsampling=0, exif=exif, comment=provenance.to_json().encode())
    data = stream.getvalue()
    segment = b"\xff\xe1" + (len(packet) + len(_XMP_SEGMENT) + 2).to_bytes(2, "big") + _XMP_SEGMENT + packet
    # JFIF's own segment has to stay the first.
    first = 4 + int.from_bytes(data[4:6], "big") if data[2:4] == b"\xff\xe0" else 2
    with atomic_path(path) as temporary:
        temporary.write_bytes(data[:first] + segment + data[first:])


def write_edited_clip(
    path: str | Path, frames: Iterable[Float[Tensor, "3 height width"]], rate: float, provenance: Provenance
) -> None:
    """Write an edited clip that says so; arguments and errors as for `write_frames`."""
    write_frames(path, frames, rate, title=_TITLE, comment=provenance.to_json())


def read_provenance(path: str | Path) -> Provenance | None:
    """Read what a picture or clip says about its edit.

    Args:
        path: PNG, JPEG, GIF or MP4.

    Returns:
        What was written by this module; None when the file says nothing of the kind.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is no such file, or what it says is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a picture or clip, but there is no such file")
    try:
        if path.suffix.lower() in CLIP_FORMATS:
            return _of_json(_clip_comment(path))
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            packet = _packet(image)
        return None if packet is None else _of_xmp(packet)
    except (OSError, ValueError, KeyError, TypeError, ElementTree.ParseError) as error:
        raise ValueError(f"{path}: expected a picture or clip with sound metadata ({error})") from error


def _packet(image: Image.Image) -> bytes | None:
    if image.format == "PNG":
        text = getattr(image, "text", {}).get(_XMP_CHUNK)
        return None if text is None else str(text).encode()
    segments = [data for name, data in getattr(image, "applist", ()) if name == "APP1" and data[:29] == _XMP_SEGMENT]
    return segments[0][len(_XMP_SEGMENT) :] if segments else None


def _of_xmp(packet: bytes) -> Provenance | None:
    found = {}
    for element in ElementTree.fromstring(packet).iter():
        found[element.tag] = element.text or ""
    wanted = [f"{{{_SPACES[space]}}}{name}" for space, name in (
        ("diffrig_emo", "settings"), ("xmp", "CreatorTool"), ("Iptc4xmpExt", "DigitalSourceType"))]  # fmt: skip
    if wanted[0] not in found:
        return None
    return Provenance(json.loads(found[wanted[0]]), found[wanted[1]], found[wanted[2]])


def _of_json(comment: str) -> Provenance | None:
    if '"digital_source_type"' not in comment:
        return None
    said = json.loads(comment)
    return Provenance(said["settings"], said["software"], said["digital_source_type"])


def _clip_comment(path: Path) -> str:
    if path.suffix.lower() == ".gif":
        with Image.open(path, formats=("GIF",)) as image:
            comment = image.info.get("comment", b"")
        return comment.decode() if isinstance(comment, bytes) else str(comment)
    import av  # here, as in `io.video`

    try:
        with av.open(str(path)) as container:
            return str(container.metadata.get("comment", ""))
    except av.error.FFmpegError as error:
        raise ValueError(str(error)) from error
