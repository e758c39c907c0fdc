import sys
import types

import pytest
import torch

from diffrig_emo.perception import ClipEmbedder, EmotionWordEmbedder, TimmEmotionRecognizer
from diffrig_emo.perception.text_templates import PHOTO_TEMPLATES


def test_words_of_emotions_are_found_in_sentences():
    embedder = EmotionWordEmbedder(TimmEmotionRecognizer("test_resnet", image_size=32))
    texts = [PHOTO_TEMPLATES[0].format(f"{word} face") for word in ("happy", "scared", "surprised", "angry")]
    embedded = embedder.embed_text(texts)
    assert embedded.argmax(dim=1).tolist() == [1, 4, 3, 6]
    torch.testing.assert_close(embedded.sum(dim=1), torch.zeros(4))


def test_pictures_are_read_as_the_recogniser_reads_them():
    recognizer = TimmEmotionRecognizer("test_resnet", image_size=32)
    embedder = EmotionWordEmbedder(recognizer)
    image = torch.rand(2, 3, 32, 32, requires_grad=True)
    embedded = embedder.train().embed_image(image)
    logits = recognizer.eval()(image).logits
    torch.testing.assert_close(embedded, logits - logits.mean(dim=1, keepdim=True))
    embedded.sum(dim=0)[1].backward()
    assert image.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in embedder.parameters())


def test_the_sentences_are_different_and_have_a_place():
    assert len(set(PHOTO_TEMPLATES)) == 80
    assert all(template.count("{}") == 1 for template in PHOTO_TEMPLATES)


class Network(torch.nn.Module):
    """As open_clip's: `visual.image_size`, `encode_image`, `encode_text`."""

    def __init__(self):
        super().__init__()
        self.visual = types.SimpleNamespace(image_size=(8, 8))
        self.weight = torch.nn.Parameter(torch.ones(1))

    def encode_image(self, image):
        return self.weight * image.flatten(1)

    def encode_text(self, tokens):
        return self.weight * tokens.float()


@pytest.fixture
def open_clip(monkeypatch):
    asked = {}

    def create_model(name, pretrained, precision):
        asked.update(name=name, pretrained=pretrained, precision=precision)
        return Network()

    module = types.ModuleType("open_clip")
    module.create_model = create_model
    module.get_tokenizer = lambda name: lambda texts: torch.tensor([[len(text)] for text in texts])
    monkeypatch.setitem(sys.modules, "open_clip", module)
    return asked


def test_clip_sees_normalised_pictures_of_its_size(open_clip, tmp_path):
    path = tmp_path / "ViT-B-16.pt"
    path.touch()
    clip = ClipEmbedder(path)
    assert open_clip == {"name": "ViT-B-16-quickgelu", "pretrained": str(path), "precision": "fp32"}
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    image = (mean + 0.1).expand(1, 3, 16, 16).clone().requires_grad_()
    embedded = clip.embed_image(image)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])
    torch.testing.assert_close(embedded.view(3, 64).mean(dim=1), 0.1 / std, rtol=1e-4, atol=1e-4)
    embedded.sum().backward()
    assert image.grad.abs().sum() > 0
    assert clip.embed_text(["face", "happy face"]).tolist() == [[4.0], [10.0]]
    assert not clip.state_dict(), "licensed weights stay out of checkpoints"


def test_missing_weights_say_where_to_get_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="openai/CLIP"):
        ClipEmbedder(tmp_path / "ViT-B-16.pt")


def test_without_open_clip_the_message_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    path = tmp_path / "ViT-B-16.pt"
    path.touch()
    with pytest.raises(ImportError, match=r"diffrig_emo\[latent\]"):
        ClipEmbedder(path)
