import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from diffrig_emo.callbacks import WeightEMA
from diffrig_emo.callbacks.ema import trained_tensors

DECAY = 0.9


class Toy(L.LightningModule):
    """A trained layer with BatchNorm beside a frozen one."""

    def __init__(self):
        super().__init__()
        self.trained = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.frozen = nn.Sequential(nn.Linear(4, 1), nn.BatchNorm1d(1)).requires_grad_(False).eval()
        self.seen = []

    def training_step(self, batch, batch_idx):
        torch.manual_seed(self.global_step)
        return self.frozen(self.trained(batch[0] + 0.1 * torch.randn_like(batch[0]))).square().mean()

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.seen.append({name: tensor.detach().clone() for name, tensor in trained_tensors(self).items()})

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.05)


@pytest.fixture
def loader():
    return DataLoader(TensorDataset(torch.randn(8, 3)), batch_size=4)


def fit(model, loader, tmp_path, steps, ckpt_path=None):
    trainer = L.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        callbacks=[WeightEMA(DECAY)],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(model, loader, ckpt_path=ckpt_path)
    return trainer


def test_only_what_is_trained_is_averaged():
    names = set(trained_tensors(Toy()))
    assert {"trained.0.weight", "trained.1.running_mean", "trained.1.num_batches_tracked"} <= names
    assert not any(name.startswith("frozen") for name in names)


def test_average_is_the_recursion_written_out(loader, tmp_path):
    torch.manual_seed(0)
    model = Toy()
    average = {name: tensor.detach().double() for name, tensor in trained_tensors(model).items()}
    fit(model, loader, tmp_path, steps=6)
    for n, weights in enumerate(model.seen, start=1):
        decay = min(DECAY, (1 + n) / (10 + n))
        average = {name: decay * average[name] + (1 - decay) * weights[name].double() for name in average}
    for name, tensor in trained_tensors(model).items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor.double(), average[name], atol=1e-6, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_killed_run_resumes_exactly(loader, tmp_path):
    torch.manual_seed(0)
    whole = Toy()
    start = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    fit(whole, loader, tmp_path, steps=6)

    first = Toy()
    first.load_state_dict(start)
    trainer = L.Trainer(
        max_steps=4,
        accelerator="cpu",
        logger=False,
        callbacks=[WeightEMA(DECAY), L.pytorch.callbacks.ModelCheckpoint(tmp_path, every_n_train_steps=4)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(first, loader)
    path = trainer.checkpoint_callback.best_model_path
    stored = torch.load(path, weights_only=True)
    assert not any(name.startswith("frozen") for name in stored["raw_weights"])
    assert not torch.equal(stored["raw_weights"]["trained.0.weight"], stored["state_dict"]["trained.0.weight"])

    torch.manual_seed(1)
    resumed = Toy()
    fit(resumed, loader, tmp_path, steps=6, ckpt_path=path)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, rtol=0, atol=0)


def test_decay_out_of_range_is_named():
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\), got 1.0"):
        WeightEMA(1.0)
