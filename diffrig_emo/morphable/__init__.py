"""Morphable models and their encoders: codes, meshes, textures."""
