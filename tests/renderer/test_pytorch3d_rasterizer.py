import sys

import pytest
import torch

from diffrig_emo.renderer import Pytorch3dRasterizer, TorchRasterizer


def test_without_pytorch3d_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch3d.renderer.mesh.rasterize_meshes", None)
    with pytest.raises(ImportError, match=r"Pytorch3dRasterizer needs pytorch3d\..*build it from source"):
        Pytorch3dRasterizer()


@pytest.fixture
def pytorch3d_rasterizer():
    pytest.importorskip("pytorch3d._C", reason="pytorch3d is not installed: its backend is not compared with ours")
    return Pytorch3dRasterizer()


@pytest.mark.parametrize("size", [(48, 48), (30, 44), (44, 30)])
def test_both_backends_see_the_same(pytorch3d_rasterizer, soup, size):
    screen, faces = soup(2, 150)
    screen.requires_grad_()
    theirs, ours = pytorch3d_rasterizer(screen, faces, size), TorchRasterizer()(screen, faces, size)
    same = theirs.pix_to_face == ours.pix_to_face
    assert same.float().mean() >= 0.999
    assert (ours.pix_to_face >= 0).float().mean() > 0.5
    torch.testing.assert_close(ours.bary_coords[same], theirs.bary_coords[same], atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.zbuf[same], theirs.zbuf[same], atol=1e-5, rtol=0)
    weights = torch.randn(*same.shape, 3) * same[..., None]
    gradients = [torch.autograd.grad((f.bary_coords * weights).sum(), screen)[0] for f in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4 * float(gradients[1].abs().max()))
