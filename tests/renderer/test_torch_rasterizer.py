import numpy as np
import pytest
import torch

from diffrig_emo.renderer import TorchRasterizer

SMALL = torch.tensor([[0, 1, 2]])


def brute_force(screen, faces, size):
    """Every face at every pixel, in float64: depths (F, H, W), and how far each decision is from tipping over."""
    height, width = size
    x = (2 * np.arange(width) + 1) / width - 1
    y = (2 * np.arange(height)[:, None] + 1) / height - 1
    depths, margins = [], []
    for a, b, c in screen.double().numpy()[faces.numpy()]:

        def edge(p, q):
            return (x - p[0]) * (q[1] - p[1]) - (y - p[1]) * (q[0] - p[0])

        area = (c[0] - a[0]) * (b[1] - a[1]) - (c[1] - a[1]) * (b[0] - a[0])
        weights = np.stack([edge(b, c), edge(c, a), edge(a, b)]) / area
        inside = (weights > 0).all(0)
        depths.append(np.where(inside, (weights * np.array([a[2], b[2], c[2]])[:, None, None]).sum(0), np.inf))
        margins.append(np.abs(weights).min(0))
    return np.stack(depths), np.stack(margins)


@pytest.mark.parametrize("size", [(31, 20), (20, 33), (1, 5), (64, 64)])
def test_agrees_with_every_face_at_every_pixel(soup, size):
    screen, faces = soup(1, 150)
    fragments = TorchRasterizer()(screen, faces, size)
    depths, margins = brute_force(screen[0], faces, size)
    ordered = np.sort(depths, axis=0)
    clear = (ordered[1] - np.where(np.isinf(ordered[0]), 0, ordered[0]) > 1e-4) & (margins > 1e-4).all(0)
    expected = np.where(np.isinf(ordered[0]), -1, depths.argmin(0))
    assert clear.mean() > 0.7
    assert (fragments.pix_to_face[0].numpy() == expected)[clear].all()
    seen = clear & (expected >= 0)
    np.testing.assert_allclose(fragments.zbuf[0].numpy()[seen] - 10, ordered[0][seen], atol=2e-4)


def test_result_depends_neither_on_the_batch_nor_on_the_block_size(soup):
    screen, faces = soup(3, 200)
    together = TorchRasterizer()(screen, faces, (40, 56))
    for item in range(3):
        alone = TorchRasterizer()(screen[item : item + 1], faces, (40, 56))
        for name in ("pix_to_face", "bary_coords", "zbuf"):
            assert torch.equal(getattr(together, name)[item : item + 1], getattr(alone, name))
    in_pieces = TorchRasterizer(block_size=1)(screen, faces, (40, 56))
    assert torch.equal(in_pieces.pix_to_face, together.pix_to_face)


def test_on_a_depth_tie_the_lower_face_wins():
    screen = torch.tensor([[[-0.9, -0.9, 0.5], [-0.9, 0.9, 0.5], [0.9, -0.9, 0.5]]])
    screen = torch.cat([screen, screen + torch.tensor([0.0, 0.0, 1.0])], dim=1)
    after_a_farther_face = torch.tensor([[3, 4, 5], [0, 1, 2], [0, 1, 2]])
    seen = TorchRasterizer()(screen, after_a_farther_face, (16, 16))
    assert set(seen.pix_to_face.unique().tolist()) == {-1, 1}


def test_a_centre_on_an_edge_belongs_to_neither_side():
    corners = torch.tensor([[[-1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [-1.0, 1.0, 0.0], [1.0, -1.0, 0.0]]])
    halves = torch.tensor([[0, 1, 2], [0, 3, 1]])  # they share the diagonal
    seen = TorchRasterizer()(corners, halves, (4, 4)).pix_to_face[0]
    diagonal = torch.eye(4, dtype=torch.bool)
    assert (seen[diagonal] == -1).all()
    assert (seen[~diagonal] >= 0).all()
    assert (seen.tril(-1)[torch.ones(4, 4).tril(-1) > 0] == 0).all()


def test_smaller_z_is_nearer_and_back_faces_count():
    near_and_far = torch.tensor([[[-1.0, -1, 0], [-1, 3, 0], [3, -1, 0], [-1, -1, -1], [3, -1, -1], [-1, 3, -1]]])
    seen = TorchRasterizer()(near_and_far, torch.tensor([[0, 1, 2], [3, 4, 5]]), (8, 8))
    assert (seen.pix_to_face == 1).all()
    torch.testing.assert_close(seen.zbuf, torch.full((1, 8, 8), 9.0), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "corners",
    [
        [[5.0, 5.0, 0.0], [6.0, 5.0, 0.0], [5.0, 6.0, 0.0]],  # beside the picture
        [[-1.0, -1.0, -10.0], [3.0, -1.0, -11.0], [-1.0, 3.0, -11.0]],  # behind the camera
        [[-1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]],  # a line
        [[0.1, 0.1, 0.0]] * 3,  # a point
        [[float("nan"), 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
        [[float("inf"), 0.0, 0.0], [-1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]],
    ],
)
def test_faces_that_cannot_be_seen_are_skipped(corners):
    screen = torch.tensor([corners], requires_grad=True)
    fragments = TorchRasterizer()(screen, SMALL, (8, 8))
    assert (fragments.pix_to_face == -1).all()
    assert (fragments.bary_coords == -1).all()
    assert (fragments.zbuf == -1).all()


def test_degenerate_faces_leave_no_trace_in_values_and_gradients(soup):
    screen, faces = soup(1, 60)
    lines = torch.stack([faces[:, 0], faces[:, 1], faces[:, 1]], dim=1)
    screen.requires_grad_()
    clean = TorchRasterizer()(screen, faces, (32, 32))
    fragments = TorchRasterizer()(screen, torch.cat([faces, lines]), (32, 32))
    assert torch.equal(clean.pix_to_face, fragments.pix_to_face)
    (gradient,) = torch.autograd.grad(fragments.bary_coords.sum() + fragments.zbuf.sum(), screen)
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("screen", "faces", "size", "message"),
    [
        (torch.zeros(3, 3), SMALL, (8, 8), r"screen_vertices: expected shape .* got \(3, 3\)"),
        (torch.zeros(0, 3, 3), SMALL, (8, 8), "screen_vertices: expected shape"),
        (torch.zeros(1, 3, 3, dtype=torch.bfloat16), SMALL, (8, 8), "screen_vertices: expected float32 .* autocast"),
        (torch.zeros(1, 3, 3), SMALL.float(), (8, 8), "faces: expected integers"),
        (torch.zeros(1, 3, 3), SMALL[:0], (8, 8), "faces: expected integers of shape"),
        (torch.zeros(1, 3, 3), SMALL + 1, (8, 8), "faces: expected indices of the 3 vertices, got 1 to 3"),
        (torch.zeros(1, 3, 3), SMALL, (0, 8), "size: expected"),
    ],
)
def test_bad_input_is_named(screen, faces, size, message):
    with pytest.raises(ValueError, match=message):
        TorchRasterizer()(screen, faces, size)


def test_block_size_is_checked():
    with pytest.raises(ValueError, match="block_size"):
        TorchRasterizer(block_size=0)


@pytest.mark.gpu
def test_cuda_sees_what_the_cpu_sees(soup):
    screen, faces = soup(2, 200)
    here = TorchRasterizer()(screen, faces, (48, 64))
    there = TorchRasterizer()(screen.cuda(), faces.cuda(), (48, 64)).to("cpu")
    assert (here.pix_to_face == there.pix_to_face).float().mean() > 0.999
