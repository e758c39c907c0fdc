from __future__ import annotations

import numpy as np
import pytest
import torch

from diffrig_emo.morphable.texture import FlameTexture

SIDE, COUNT = 8, 5


def flame_arrays():
    rng = np.random.default_rng(0)
    return {"mean": rng.uniform(0, 255, (SIDE, SIDE, 3)), "tex_dir": rng.normal(0, 4, (SIDE, SIDE, 3, COUNT)), "vt": 0}


def save(path, arrays):
    np.savez(path, **arrays)
    return path


@pytest.fixture
def path(tmp_path):
    return save(tmp_path / "FLAME_texture.npz", flame_arrays())


def test_formula(path):
    arrays = flame_arrays()
    tex = torch.randn(2, 3)
    albedo = FlameTexture(path, n_tex=3, image_size=4)(tex)
    assert albedo.shape == (2, 3, 4, 4)
    # one texel by hand: row 2, column 1 of the map is row 4, column 2 of the file; blue comes first there
    for channel, stored in ((0, 2), (1, 1), (2, 0)):
        by_hand = arrays["mean"][4, 2, stored] + arrays["tex_dir"][4, 2, stored, :3] @ tex[1].double().numpy()
        assert albedo[1, channel, 2, 1].item() == pytest.approx(by_hand / 255, abs=1e-6)


def test_nearest_resize_is_torchs(path):
    full, half = FlameTexture(path, n_tex=2, image_size=8), FlameTexture(path, n_tex=2, image_size=4)
    tex = torch.randn(1, 2)
    expected = torch.nn.functional.interpolate(full(tex), size=(4, 4), mode="nearest")
    assert torch.equal(half(tex), expected)


def test_bfm_file_is_told_apart(path, tmp_path):
    arrays = flame_arrays()
    flat = {"MU": arrays["mean"].reshape(1, -1) / 255, "PC": arrays["tex_dir"].reshape(-1, COUNT) / 255}
    bfm = save(tmp_path / "FLAME_albedo_from_BFM.npz", flat)
    tex = torch.randn(2, COUNT)
    a, b = (FlameTexture(p, n_tex=COUNT, image_size=8)(tex) for p in (path, bfm))
    torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


def test_linear_in_the_codes(path):
    texture = FlameTexture(path, n_tex=4, image_size=8).double()
    assert torch.autograd.gradcheck(texture, torch.randn(1, 4, dtype=torch.float64, requires_grad=True))


def test_stays_out_of_checkpoints(path):
    assert not FlameTexture(path, n_tex=2, image_size=8).state_dict()


def test_folder_will_do(path):
    assert FlameTexture(path.parent, n_tex=2, image_size=8).n_tex == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_tex": 6, "image_size": 8}, r"n_tex: expected 1\.\.5"),
        ({"n_tex": 0, "image_size": 8}, r"n_tex: expected 1\.\.5"),
        ({"n_tex": 2, "image_size": 3}, "image_size: expected a divisor of 8"),
        ({"n_tex": 2, "image_size": 16}, "image_size: expected a divisor of 8"),
    ],
)
def test_wrong_options(path, options, message):
    with pytest.raises(ValueError, match=message):
        FlameTexture(path, **options)


def test_wrong_codes(path):
    with pytest.raises(ValueError, match=r"tex: expected a tensor of shape \(batch, 2\), got \(1, 3\)"):
        FlameTexture(path, n_tex=2, image_size=8)(torch.zeros(1, 3))


@pytest.mark.parametrize("image_size", [8, 4])
def test_layouts_in_which_the_arrays_may_be_stored(path, tmp_path, image_size):
    """Column by column, compressed, float32 and big-endian files hold the same numbers."""
    arrays = flame_arrays()
    wanted = FlameTexture(path, n_tex=3, image_size=image_size)
    turned = {name: np.asarray(array, order="F") for name, array in arrays.items()}
    for name, other in (("f", turned), ("e", {key: np.asarray(a).astype(">f8") for key, a in arrays.items()})):
        found = FlameTexture(save(tmp_path / f"{name}.npz", other), n_tex=3, image_size=image_size)
        assert torch.equal(found.mean, wanted.mean)
        assert torch.equal(found.components, wanted.components)
    np.savez_compressed(tmp_path / "c.npz", **arrays)
    assert torch.equal(FlameTexture(tmp_path / "c.npz", n_tex=3, image_size=image_size).components, wanted.components)


def test_either_kind_is_looked_for_and_insisted_on(path, tmp_path):
    arrays = flame_arrays()
    bfm = save(tmp_path / "FLAME_albedo_from_BFM.npz", {"MU": arrays["mean"], "PC": arrays["tex_dir"]})
    options = {"n_tex": 2, "image_size": 8}
    assert FlameTexture(tmp_path, kind="bfm", **options).mean.max() > 1  # it counts from 0 to 1
    assert FlameTexture(tmp_path, kind="flame", **options).mean.max() <= 1
    with pytest.raises(
        ValueError, match=r"BFM\.npz: expected a texture space of kind 'flame', got 'bfm'.*DiffusionRig"
    ):
        FlameTexture(bfm, kind="flame", **options)
    with pytest.raises(ValueError, match=r"FLAME_texture\.npz: expected a texture space of kind 'bfm', got 'flame'"):
        FlameTexture(path, kind="bfm", **options)


def test_not_finite(tmp_path):
    arrays = flame_arrays()
    arrays["tex_dir"][3, 3, 1, 1] = np.inf
    with pytest.raises(ValueError, match=r"a\.npz: expected finite components"):
        FlameTexture(save(tmp_path / "a.npz", arrays), n_tex=2, image_size=8)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mean": np.zeros((8, 8, 3))}, r"expected the arrays mean, tex_dir .* or MU, PC .*, got \['mean'\]"),
        ({"mean": np.zeros((8, 4, 3)), "tex_dir": np.zeros((8, 4, 3, 2))}, "expected mean of shape"),
        ({"mean": np.zeros((8, 8, 3)), "tex_dir": np.zeros((4, 8, 3, 2))}, "expected mean of shape"),
        ({"MU": np.zeros((1, 100)), "PC": np.zeros((100, 2))}, "expected MU of shape .* or both flat"),
        (
            {"mean": np.full((8, 8, 3), None), "tex_dir": np.zeros((8, 8, 3, 1))},
            "'mean' cannot be read .*allow_pickle",
        ),
    ],
)
def test_wrong_file(tmp_path, arrays, message):
    with pytest.raises(ValueError, match=message):
        FlameTexture(save(tmp_path / "a.npz", arrays), n_tex=1, image_size=8)


def test_truncated_file(path):
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"FLAME_texture\.npz: cannot be read as a \.npz file"):
        FlameTexture(path)


def test_another_kind_of_file(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"a\.npy: cannot be read as a \.npz file"):
        FlameTexture(tmp_path / "a.npy")


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"FLAME_texture\.npz.*flame\.is\.tue\.mpg\.de"):
        FlameTexture(tmp_path)
