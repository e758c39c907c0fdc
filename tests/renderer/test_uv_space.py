import torch

from diffrig_emo.renderer import resample_to_uv, texture_coordinates
from diffrig_emo.structures import MeshTopology


def test_resampling_is_read_back_by_grid_sample():
    # A folded sheet: what is written to the map at a texture coordinate is found there by the albedo look-up.
    steps = torch.linspace(0, 1, 9, dtype=torch.float64)
    v, u = torch.meshgrid(steps, steps, indexing="ij")
    # Sheared, lest texel centres fall on edges, where they would belong to neither face.
    uvs = torch.stack([u.flatten(), (0.03 + 0.9 * v + 0.05 * u).flatten()], dim=1)
    here = torch.arange(81).view(9, 9)
    a, b, c, d = (corner.flatten() for corner in (here[:-1, :-1], here[:-1, 1:], here[1:, 1:], here[1:, :-1]))
    faces = torch.cat([torch.stack([a, b, c], dim=1), torch.stack([a, c, d], dim=1)])
    positions = torch.stack([uvs[:, 0], uvs[:, 1] ** 2, uvs.prod(1)], dim=1)[None].repeat(2, 1, 1)
    positions[1] *= -3
    texels = resample_to_uv(positions, MeshTopology(faces=faces, uvs=uvs, uv_faces=faces), 96)
    grid = texture_coordinates(uvs)[None, None].expand(2, -1, -1, -1)
    read = torch.nn.functional.grid_sample(texels, grid, align_corners=False, padding_mode="border")[:, :, 0]
    error = (read.transpose(1, 2) - positions).abs().amax((0, 2)).view(9, 9)
    assert error[1:-1, 1:-1].max() < 0.02
