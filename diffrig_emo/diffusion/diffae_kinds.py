"""What a file of weights is, where another one of Diffusion Autoencoders was expected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def describe_file(content: Mapping[Any, Any], give: str) -> str:
    """What a file is, and what to give instead.

    Args:
        content: what the file holds.
        give: what to give instead, for messages.

    Example:
        >>> describe_file({"conds": 0}, "give a classifier")
        'its codes of a data set (`latent.pkl`); give a classifier'
    """
    state = content.get("state_dict", content)
    names = {str(name).removeprefix("ema_model.") for name in (state if isinstance(state, Mapping) else content)}
    if "classifier.weight" in names:
        return f"its classifier, which holds no network; {give}"
    if "conds" in names:
        return f"its codes of a data set (`latent.pkl`); {give}"
    if any(name.startswith("denoisingUNet.") for name in names):
        return f"DiffusionRig's model, which `read_diffusionrig` reads; {give}"
    if any(name.startswith(("denoiser.", "network.", "directions.")) for name in names):
        return "a checkpoint of ours; load it with `load_from_checkpoint` of its module"
    if "time_embed.time_embed.0.weight" in names:
        prior = "with" if any(name.startswith("latent_net.") for name in names) else "without"
        return f"its autoencoder, {prior} a latent prior; {give}"
    if "time_embed.0.weight" in names:
        return f"its plain DDIM, which has no encoder; {give}"
    return f"a file without `ema_model.encoder.*` ({len(names)} entries: {', '.join(sorted(names)[:4])}, ...); {give}"
