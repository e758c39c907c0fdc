"""EMOCA-emorec: the perceptron written out."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from diffrig_emo.perception import EmocaCodeRecognizer
from diffrig_emo.structures import FaceCodes, StructError
from tests.perception.conftest import CHECKPOINT


@pytest.fixture(scope="module")
def recognizer(emotion_folder):
    return EmocaCodeRecognizer(emotion_folder / "EMOCA-emorec" / "checkpoints" / CHECKPOINT)


def codes(**sizes):
    zeros = FaceCodes.zeros(3, **{"n_shape": 100, "n_tex": 50, "n_exp": 50, "space": "flame2020", **sizes})
    return zeros.replace(
        shape=torch.randn_like(zeros.shape), exp=torch.randn_like(zeros.exp), pose=torch.randn_like(zeros.pose)
    )


def test_it_is_the_perceptron_of_shape_expression_and_jaw(recognizer, emorec_state):
    face = codes()
    x = torch.cat([face.shape, face.exp, face.pose[:, 3:]], dim=1)
    for layer in range(4):
        weights = {n: emorec_state[f"mlp.model.{3 * layer}.{n}"] for n in ("weight", "bias")}
        norm = {
            n: emorec_state[f"mlp.model.{3 * layer + 1}.{n}"] for n in ("running_mean", "running_var", "weight", "bias")
        }
        x = F.leaky_relu(F.batch_norm(F.linear(x, **weights), **norm), 0.2)
    outputs = F.linear(x, emorec_state["mlp.model.12.weight"], emorec_state["mlp.model.12.bias"])
    seen = recognizer(face)
    torch.testing.assert_close(seen.feature, x)
    torch.testing.assert_close(seen.logits, outputs[:, :8])
    torch.testing.assert_close(seen.va, outputs[:, 8:].clamp(-1, 1))


def test_it_is_frozen_stays_in_eval_and_out_of_checkpoints(recognizer):
    assert not any(module.training for module in recognizer.train().modules())
    assert not any(p.requires_grad for p in recognizer.parameters())
    assert not recognizer.state_dict()


def test_codes_of_another_model_are_refused(recognizer):
    with pytest.raises(StructError, match="flame2020"):
        recognizer(codes(space="synthetic1"))
    with pytest.raises(ValueError, match=r"FaceCodes\.exp: EMOCA-emorec wants 50 coefficients, got 100"):
        recognizer(codes(n_exp=100))
