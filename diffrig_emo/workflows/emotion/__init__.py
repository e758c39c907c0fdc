"""Emotions by label: inverted latents, and the evaluation of the latent emotion model beside the published one."""
