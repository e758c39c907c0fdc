"""Diffusion: schedules, grids of time steps, denoisers, global encoders, samplers as plain functions."""

from diffrig_emo.diffusion.diffae_files import read_diffae, write_diffae
from diffrig_emo.diffusion.diffusionrig_files import read_diffusionrig, write_diffusionrig
from diffrig_emo.diffusion.edit_chains import EditChain, EditSample, InversionEdit, OneStepEdit, TruncatedEdit
from diffrig_emo.diffusion.editing import changing, released
from diffrig_emo.diffusion.global_encoder import (
    ResNet18GlobalEncoder,
    ResNet50GlobalEncoder,
    ResNetGlobalEncoder,
    TimmGlobalEncoder,
)
from diffrig_emo.diffusion.guidance import classifier_free_guidance
from diffrig_emo.diffusion.low_rank import LowRankAdapter, adapter_state, load_adapter, merge_adapter, save_adapter
from diffrig_emo.diffusion.noise import draw_noise, face_generators, face_noise
from diffrig_emo.diffusion.noise_path import NoisePath, Sampler
from diffrig_emo.diffusion.samplers import Denoiser, SamplerStep, ddim_invert, ddim_sample, dpm_solver_sample
from diffrig_emo.diffusion.schedules import (
    CosineSchedule,
    LinearSchedule,
    NoiseSchedule,
    PredictionType,
    ScaledLinearSchedule,
)
from diffrig_emo.diffusion.semantic_encoder import SemanticEncoder
from diffrig_emo.diffusion.state_dicts import export_diffae, export_diffusionrig, load_diffae, load_diffusionrig
from diffrig_emo.diffusion.timesteps import (
    even_timesteps,
    linspace_timesteps,
    log_snr_timesteps,
    squeeze_timesteps,
    strided_timesteps,
)
from diffrig_emo.diffusion.unet import ConditionedUNet, VectorModulation

__all__ = [
    "ConditionedUNet",
    "CosineSchedule",
    "Denoiser",
    "EditChain",
    "EditSample",
    "InversionEdit",
    "LinearSchedule",
    "LowRankAdapter",
    "NoisePath",
    "NoiseSchedule",
    "OneStepEdit",
    "PredictionType",
    "ResNet18GlobalEncoder",
    "ResNet50GlobalEncoder",
    "ResNetGlobalEncoder",
    "Sampler",
    "SamplerStep",
    "ScaledLinearSchedule",
    "SemanticEncoder",
    "TimmGlobalEncoder",
    "TruncatedEdit",
    "VectorModulation",
    "adapter_state",
    "changing",
    "classifier_free_guidance",
    "ddim_invert",
    "ddim_sample",
    "dpm_solver_sample",
    "draw_noise",
    "even_timesteps",
    "export_diffae",
    "export_diffusionrig",
    "face_generators",
    "face_noise",
    "linspace_timesteps",
    "load_adapter",
    "load_diffae",
    "load_diffusionrig",
    "log_snr_timesteps",
    "merge_adapter",
    "read_diffae",
    "read_diffusionrig",
    "released",
    "save_adapter",
    "squeeze_timesteps",
    "strided_timesteps",
    "write_diffae",
    "write_diffusionrig",
]
