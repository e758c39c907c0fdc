"""Diffusion: schedules, grids of time steps, denoisers, global encoders, samplers as plain functions."""

from diffrig_emo.diffusion.autoencoder import Autoencoder
from diffrig_emo.diffusion.cross_attention_unet import CrossAttentionUNet
from diffrig_emo.diffusion.diffae_code_files import load_semantic_encoder, read_diffae_classifier, read_diffae_prior
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
from diffrig_emo.diffusion.latent_mlp import LatentMLP
from diffrig_emo.diffusion.low_rank import LowRankAdapter, adapter_state, load_adapter, merge_adapter, save_adapter
from diffrig_emo.diffusion.noise import draw_noise, face_generators, face_noise
from diffrig_emo.diffusion.noise_path import NoisePath, Sampler
from diffrig_emo.diffusion.partial_inversion import invert_ahead, partial_timesteps
from diffrig_emo.diffusion.patch_discriminator import PatchDiscriminator
from diffrig_emo.diffusion.samplers import Denoiser, SamplerStep, ddim_invert, ddim_sample, dpm_solver_sample
from diffrig_emo.diffusion.schedules import (
    ConstantSchedule,
    CosineSchedule,
    LinearSchedule,
    NoiseSchedule,
    PredictionType,
    ScaledLinearSchedule,
)
from diffrig_emo.diffusion.semantic_codes import CELEBA_ATTRIBUTES, CodeNormalization, SemanticDirections, slerp
from diffrig_emo.diffusion.semantic_encoder import SemanticEncoder
from diffrig_emo.diffusion.state_dicts import (
    export_diffae,
    export_diffusionrig,
    load_diffae,
    load_diffae_prior,
    load_diffusionrig,
)
from diffrig_emo.diffusion.timesteps import (
    Spacing,
    even_spacing,
    even_timesteps,
    linspace_timesteps,
    log_snr_timesteps,
    squeeze_timesteps,
    strided_spacing,
    strided_timesteps,
)
from diffrig_emo.diffusion.unet import ConditionedUNet, VectorModulation
from diffrig_emo.diffusion.vq_network import Quantised, VQNetwork

__all__ = [
    "CELEBA_ATTRIBUTES",
    "Autoencoder",
    "CodeNormalization",
    "ConditionedUNet",
    "ConstantSchedule",
    "CosineSchedule",
    "CrossAttentionUNet",
    "Denoiser",
    "EditChain",
    "EditSample",
    "InversionEdit",
    "LatentMLP",
    "LinearSchedule",
    "LowRankAdapter",
    "NoisePath",
    "NoiseSchedule",
    "OneStepEdit",
    "PatchDiscriminator",
    "PredictionType",
    "Quantised",
    "ResNet18GlobalEncoder",
    "ResNet50GlobalEncoder",
    "ResNetGlobalEncoder",
    "Sampler",
    "SamplerStep",
    "ScaledLinearSchedule",
    "SemanticDirections",
    "SemanticEncoder",
    "Spacing",
    "TimmGlobalEncoder",
    "TruncatedEdit",
    "VQNetwork",
    "VectorModulation",
    "adapter_state",
    "changing",
    "classifier_free_guidance",
    "ddim_invert",
    "ddim_sample",
    "dpm_solver_sample",
    "draw_noise",
    "even_spacing",
    "even_timesteps",
    "export_diffae",
    "export_diffusionrig",
    "face_generators",
    "face_noise",
    "invert_ahead",
    "linspace_timesteps",
    "load_adapter",
    "load_diffae",
    "load_diffae_prior",
    "load_diffusionrig",
    "load_semantic_encoder",
    "log_snr_timesteps",
    "merge_adapter",
    "partial_timesteps",
    "read_diffae",
    "read_diffae_classifier",
    "read_diffae_prior",
    "read_diffusionrig",
    "released",
    "save_adapter",
    "slerp",
    "squeeze_timesteps",
    "strided_spacing",
    "strided_timesteps",
    "write_diffae",
    "write_diffusionrig",
]
