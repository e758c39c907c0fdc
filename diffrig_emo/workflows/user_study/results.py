"""The statistics of a study, as numbers that JSON can hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from diffrig_emo.metrics.functional import (
    EMOTIONS,
    binomial_share,
    bradley_terry,
    choice_confusion,
    comparable_groups,
)
from diffrig_emo.workflows.user_study.answers import Choice
from diffrig_emo.workflows.user_study.questions import CHOICES


def pair_results(choices: Sequence[Choice], confidence: float) -> dict[str, Any]:
    """What questions about two pictures tell.

    Returns:
        `pairs`: how often each system was preferred to each other one; `systems`: to all others together;
        `bradley_terry`: strengths in logits, or under `none` why there are none; `left`: how often the left picture
        was chosen, about half.
    """
    systems = sorted({system for choice in choices for system in choice.systems})
    wins = torch.zeros(len(systems), len(systems), dtype=torch.int64)
    for choice in choices:
        (loser,) = set(choice.systems) - {choice.choice}
        wins[systems.index(choice.choice), systems.index(loser)] += 1
    pairs = []
    for i, j in combinations(range(len(systems)), 2):
        won, total = int(wins[i, j]), int(wins[i, j] + wins[j, i])
        if total:
            pairs.append({"system": systems[i], "over": systems[j], **_share(won, total, confidence)})
    overall = {
        system: _share(int(wins[i].sum()), int(wins[i].sum() + wins[:, i].sum()), confidence)
        for i, system in enumerate(systems)
    }
    left = [choice.chose_left for choice in choices]
    return {
        "pairs": pairs,
        "systems": overall,
        "bradley_terry": _strengths(wins, systems, confidence),
        "left": _share(left.count(True), len(left), confidence),
    }


def emotion_results(choices: Sequence[Choice], confidence: float) -> dict[str, Any]:
    """What questions about emotions tell, of each system.

    Returns:
        `accuracy` over all answers, `emotions`: that of each emotion, and `confusion`: answers (columns) by the emotion
        that the picture shall show (rows).
    """
    results: dict[str, Any] = {}
    for system in sorted({choice.systems[0] for choice in choices}):
        own = [choice for choice in choices if choice.systems[0] == system]
        true = torch.tensor([EMOTIONS.index(str(choice.answer)) for choice in own])
        chosen = torch.tensor([CHOICES.index(choice.choice) for choice in own])
        confusion = choice_confusion(true, chosen, len(EMOTIONS), len(CHOICES))
        right, asked = confusion.diagonal().tolist(), confusion.sum(dim=1).tolist()
        results[system] = {
            "accuracy": _share(sum(right), sum(asked), confidence),
            "emotions": {
                name: _share(r, n, confidence) for name, r, n in zip(EMOTIONS, right, asked, strict=True) if n
            },
            "confusion": {"rows": list(EMOTIONS), "columns": list(CHOICES), "answers": confusion.tolist()},
        }
    return results


def check_results(choices: Iterable[Choice]) -> dict[str, int]:
    """How many checks of attention were answered, and how many rightly."""
    checks = [choice for choice in choices if choice.is_check]
    return {"asked": len(checks), "passed": sum(choice.choice == choice.answer for choice in checks)}


def _strengths(wins: Tensor, systems: Sequence[str], confidence: float) -> dict[str, Any]:
    groups = comparable_groups(wins)
    if len(groups) > 1:
        named = " | ".join(", ".join(systems[i] for i in group) for group in groups)
        return {"none": f"no finite strengths, for one side of | never lost to the other: {named}"}
    found = bradley_terry(wins, confidence)
    return {
        system: {"strength": float(found.strength[i]), "low": float(found.low[i]), "high": float(found.high[i])}
        for i, system in enumerate(systems)
    }


def _share(successes: int, trials: int, confidence: float) -> dict[str, float]:
    return binomial_share(successes, trials, confidence)._asdict()
