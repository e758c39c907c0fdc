"""The `diffrig-emo` command: Lightning's verbs on configs, and the library's own verbs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

HELP = """usage: diffrig-emo VERB [options]

The whole way at once
  demo                            train a small rig on synthetic faces, edit held-out ones, write a report
  study                           stage one against stage two of expression editing, where the truth is known
  doctor                          versions, device, rasterizers, which official files are found

Official files and other projects' data
  convert   --output FOLDER       official files as npz and safetensors, once
  import-lmdb --lmdb --output     pictures of a DiffusionRig cache into a code store

Photographs
  prepare   --images --output     find the faces of a folder, keep their codes in one file
  edit      --emotion happy       give faces another expression, pose, light or look: photographs, clips
  mesh      --source --output     a face in 3D, with its texture, before and after an edit
  sweep     --output              what steps, sampler, strength, eta and guidance of an edit cost and bring
  compare   --systems --images    systems on the same faces: quality, paired tests, time, a page to look at

Diffusion autoencoders
  diffae    --attribute --output  a photograph with more or less of an attribute, also in 3D
  diffae-interpolate --output     the way from one face to another
  diffae-sample      --output     faces of people who do not exist

Emotions by label, in latent space
  emotion-study   --rig RUN       accuracy and quality of every emotion, beside the published table
  invert-emotions --rig RUN       inverted latents of labelled faces, for finetuning

People's opinion
  user-study-build    --systems   a page that asks which pictures look real, like the person, happy
  user-study-analyse  --key FILE  win rates, strengths and confusions of what comes back

Lightning, on a config (shipped ones by bare name)
  fit       --config FILE         train
  validate  --config FILE         losses on held-out faces
  test      --config FILE         losses on test faces
  predict   --config FILE         codes, buffers or edited photographs

`diffrig-emo VERB --help` explains a verb.
"""


class Verb(NamedTuple):
    """One of the library's own verbs."""

    module: str
    """Where its function is, which has the verb's name, spelt with underscores."""
    example: str
    """How it is called, for its help."""


VERBS = {
    "compare": Verb("compare.verb", "diffrig-emo compare --num_faces 4 --output comparison"),
    "convert": Verb("convert", "diffrig-emo convert --output official"),
    "demo": Verb("demo", "diffrig-emo demo --output demo_output"),
    "diffae": Verb("diffae", "diffrig-emo diffae --attribute happy --output happy"),
    "diffae-interpolate": Verb("diffae_interpolate", "diffrig-emo diffae-interpolate --output way"),
    "diffae-sample": Verb("diffae_sample", "diffrig-emo diffae-sample --count 16 --temperature 0.6 --output people"),
    "doctor": Verb("doctor", "diffrig-emo doctor"),
    "edit": Verb("edit", "diffrig-emo edit --emotion happy --output out"),
    "emotion-study": Verb(
        "emotion.study", "diffrig-emo emotion-study --rig latent --encoder shipped --two_stage shipped"
    ),
    "import-lmdb": Verb("import_lmdb", "diffrig-emo import-lmdb --lmdb ffhq_deca.lmdb --output ffhq.h5"),
    "invert-emotions": Verb("emotion.invert", "diffrig-emo invert-emotions --rig latent --faces 320 --steps 20"),
    "mesh": Verb("mesh", "diffrig-emo mesh --output mesh"),
    "prepare": Verb("prepare", "diffrig-emo prepare --images photos --output faces.h5"),
    "study": Verb("study", "diffrig-emo study --output study --cache study/cache"),
    "sweep": Verb("sweep", "diffrig-emo sweep --steps '[5,10]' --faces 8 --output sweep"),
    "user-study-analyse": Verb(
        "user_study.analyse", "diffrig-emo user-study-analyse --answers answers --key study_key.json"
    ),
    "user-study-build": Verb(
        "user_study.build",
        "diffrig-emo compare --num_faces 4 --output comparison\n"
        "  diffrig-emo user-study-build --pattern '*_edit.png' --output study.html "
        "--systems '{rig: comparison/systems/rig, delta: comparison/systems/render_delta}'",
    ),
}

REPEATED = {"edit": ("--set", "--add", "--region")}
"""Options of a verb that may be given several times; jsonargparse spells that `--set+`."""

SWITCHES = {"edit": ("--paste", "--all_faces", "--residual", "--blend"), "sweep": ("--fresh",)}
"""Options of a verb that need no `true`."""


def main(args: Sequence[str] | None = None) -> None:
    """Parse the command line and call the verb.

    Args:
        args: arguments without the program's name; None takes them from the shell.
    """
    words = list(sys.argv[1:] if args is None else args)
    verb = words[0] if words else "--help"
    if verb in ("-h", "--help"):
        print(HELP, end="")
    elif verb in ("fit", "validate", "test", "predict"):
        from diffrig_emo.workflows.experiment import FaceCLI

        if args is None:
            _own_process()
        FaceCLI(words)
    elif verb in VERBS:
        from jsonargparse import auto_cli

        if args is None:
            _own_process()
        # Only its own verb is imported: `doctor` must work where something else is broken.
        module = importlib.import_module(f"diffrig_emo.workflows.{VERBS[verb].module}")
        function = getattr(module, verb.replace("-", "_"))
        try:
            auto_cli({verb: function}, args=_spelt_out(verb, words), as_positional=False)
        except (OSError, ValueError) as error:  # what users can mend, without a traceback
            raise SystemExit(f"diffrig-emo {verb}: {error}") from error
        finally:
            if {"-h", "--help"} & set(words):
                print(f"\nexample:\n  {VERBS[verb].example}")
    else:
        print(HELP, end="", file=sys.stderr)
        raise SystemExit(f"diffrig-emo: unknown verb {verb!r}")


def _spelt_out(verb: str, words: Sequence[str]) -> list[str]:
    """The words as jsonargparse wants them: `--set+ X` for `--set X`, unless X is a whole list; `--paste=true`."""
    spelt = []
    for word, following in zip(words, [*words[1:], "--"], strict=True):
        option, equals, value = word.partition("=")
        if option in REPEATED.get(verb, ()) and not (value if equals else following).startswith("["):
            word = f"{option}+{equals}{value}"
        elif word in SWITCHES.get(verb, ()) and following.startswith("--"):
            word = f"{word}=true"
        spelt.append(word)
    return spelt


def _own_process() -> None:
    """Called from the shell, the process has no other job than to run networks."""
    from diffrig_emo.utils.malloc import keep_freed_memory

    keep_freed_memory()


if __name__ == "__main__":
    main()
