import pytest
import torch

from diffrig_emo.diffusion import LinearSchedule, ddim_sample, draw_noise, face_generators, face_noise


def test_the_batch_never_changes_a_faces_noise():
    together = face_noise(5, torch.tensor([10, 11, 12]), (3, 5, 7))
    for position, index in enumerate([10, 11, 12]):
        assert torch.equal(face_noise(5, [index], (3, 5, 7))[0], together[position])


def test_seeds_and_faces_differ():
    noise = torch.cat([face_noise(seed, range(3), (3, 8, 8)) for seed in (0, 1)]).flatten(1)
    correlation = torch.corrcoef(noise) - torch.eye(6)
    assert correlation.abs().max() < 0.3


def test_it_is_standard_normal():
    noise = face_noise(0, range(100), (1000,)).double()
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01
    assert abs((noise**4).mean() - 3) < 0.1


def test_stochastic_sampling_with_each_faces_generator_does_not_depend_on_the_batch():
    def sample(indices):
        return ddim_sample(
            lambda x_t, t: 0.3 * x_t,
            face_noise(1, indices, (3, 4, 4)),
            LinearSchedule(),
            [0, 300, 600, 900],
            eta=1.0,
            generator=face_generators(2, indices),
        )

    assert torch.equal(sample([4, 9])[1:], sample([9]))


def test_one_generator_for_all():
    ours = draw_noise((2, 3), torch.Generator().manual_seed(3))
    assert torch.equal(ours, torch.randn(2, 3, generator=torch.Generator().manual_seed(3)))


@pytest.mark.parametrize("call", [lambda: face_noise(-1, [0], (3,)), lambda: face_noise(0, [2, -5], (3,))])
def test_negative_numbers_are_refused(call):
    with pytest.raises(ValueError, match="must not be negative"):
        call()


def test_a_generator_per_face():
    with pytest.raises(ValueError, match="3 faces needs 3 generators, got 2"):
        draw_noise((3, 4), face_generators(0, [1, 2]))
