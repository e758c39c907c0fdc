"""Diffusion: schedules, grids of time steps, denoisers, global encoders, samplers as plain functions."""

from diffrig_emo.diffusion.diffusionrig_files import read_diffusionrig, write_diffusionrig
from diffrig_emo.diffusion.global_encoder import (
    ResNet18GlobalEncoder,
    ResNet50GlobalEncoder,
    ResNetGlobalEncoder,
    TimmGlobalEncoder,
)
from diffrig_emo.diffusion.guidance import classifier_free_guidance
from diffrig_emo.diffusion.noise import draw_noise, face_generators, face_noise
from diffrig_emo.diffusion.samplers import Denoiser, SamplerStep, ddim_invert, ddim_sample, dpm_solver_sample
from diffrig_emo.diffusion.schedules import (
    CosineSchedule,
    LinearSchedule,
    NoiseSchedule,
    PredictionType,
    ScaledLinearSchedule,
)
from diffrig_emo.diffusion.state_dicts import export_diffusionrig, load_diffusionrig
from diffrig_emo.diffusion.timesteps import even_timesteps, linspace_timesteps, strided_timesteps
from diffrig_emo.diffusion.unet import ConditionedUNet, VectorModulation

__all__ = [
    "ConditionedUNet",
    "CosineSchedule",
    "Denoiser",
    "LinearSchedule",
    "NoiseSchedule",
    "PredictionType",
    "ResNet18GlobalEncoder",
    "ResNet50GlobalEncoder",
    "ResNetGlobalEncoder",
    "SamplerStep",
    "ScaledLinearSchedule",
    "TimmGlobalEncoder",
    "VectorModulation",
    "classifier_free_guidance",
    "ddim_invert",
    "ddim_sample",
    "dpm_solver_sample",
    "draw_noise",
    "even_timesteps",
    "export_diffusionrig",
    "face_generators",
    "face_noise",
    "linspace_timesteps",
    "load_diffusionrig",
    "read_diffusionrig",
    "strided_timesteps",
    "write_diffusionrig",
]
