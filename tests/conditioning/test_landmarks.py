import torch
from torch import nn

from diffrig_emo.conditioning.landmarks import landmarks_from_codes
from diffrig_emo.morphable import FaceModel
from diffrig_emo.structures import FaceCodes, FaceMesh
from diffrig_emo.transforms.crop import crop_tform
from diffrig_emo.transforms.projection import crop_to_aligned, project


class Points(FaceModel):
    """Has its landmarks where it was told."""

    def __init__(self, landmarks):
        nn.Module.__init__(self)
        self.space, self.n_shape, self.n_exp = "s", 1, 1
        self.landmarks = landmarks

    @property
    def topology(self):
        raise AssertionError("not needed")

    def forward(self, codes):
        points = self.landmarks.expand(codes.batch_size, -1, -1)
        return FaceMesh(vertices=points, landmarks2d=points, landmarks3d=torch.zeros_like(points))


def test_the_middle_and_a_corner_by_hand():
    landmarks = torch.zeros(1, 68, 3)
    landmarks[0, 1] = torch.tensor([0.1, 0.1, 0.0])  # to the right and up
    codes = FaceCodes.zeros(1, n_shape=1, n_tex=1, n_exp=1, space="s")  # camera of scale 8
    points = landmarks_from_codes(codes, Points(landmarks), 224)[0]
    torch.testing.assert_close(points[0], torch.tensor([111.5, 111.5]))
    torch.testing.assert_close(points[1], torch.tensor([111.5 + 0.8 * 112, 111.5 - 0.8 * 112]))
    # a crop of twice the size, whose corner lies at (10, 20) of the aligned picture
    codes = codes.replace(tform=torch.tensor([[[0.5, 0, -5], [0, 0.5, -10], [0, 0, 1]]]))
    points = landmarks_from_codes(codes, Points(landmarks), 224)[0]
    torch.testing.assert_close(points[0], torch.tensor([224 + 10 - 0.5, 224 + 20 - 0.5]))


def test_they_lie_where_the_buffers_show_them():
    generator = torch.Generator().manual_seed(0)
    landmarks = torch.randn(1, 68, 3, generator=generator) * 0.05
    tform = crop_tform(torch.tensor([[70.0, 80.0, 190.0, 200.0], [10.0, 20.0, 60.0, 90.0]]))
    codes = FaceCodes.zeros(2, n_shape=1, n_tex=1, n_exp=1, space="s").replace(tform=tform)
    screen = crop_to_aligned(project(landmarks.expand(2, -1, -1), codes.cam), tform, 224, (192, 256))[..., :2]
    expected = ((screen + 1) * torch.tensor([256.0, 192.0]) - 1) / 2  # pixel j has its centre at (2 j + 1) / W - 1
    torch.testing.assert_close(landmarks_from_codes(codes, Points(landmarks)), expected, atol=1e-3, rtol=1e-5)
