"""Official files as a lab has them, with seeded weights that give sane codes; and photographs of synthetic people."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from diffrig_emo.io.images import write_image
from diffrig_emo.structures.codes import EVEN_LIGHT
from diffrig_emo.synthesis import SyntheticFaces
from tests.parity import fill, make_fake_flame
from tests.parity.fake_assets import component, write_fake_emoca

PARITY = Path(__file__).parents[1] / "parity"


def tame(weights: dict[str, torch.Tensor]) -> None:
    """Make an encoder's codes small, its camera and light those of a portrait, in place."""
    weight, bias = weights["layers.2.weight"], torch.zeros_like(weights["layers.2.bias"])
    weights["layers.2.weight"] = weight * (0.02 / weight.abs().mean())
    if len(bias) == 236:
        bias[206], bias[209:212] = 8.0, EVEN_LIGHT
        weights["layers.2.weight"][200:] *= 0.1
    weights["layers.2.bias"] = bias


@pytest.fixture(scope="session")
def official_assets(tmp_path_factory):
    """DECA's `data`, EMOCA's `assets` and a model file under one root, as in the DiffusionRig-EMO project."""
    root = tmp_path_factory.mktemp("lab")
    make_fake_flame.build(root / "data", seed=7, components=50, chumpy_keys=("shapedirs",))
    deca = {name: component(name, small=True) for name in ("E_flame", "E_detail", "D_detail")}
    tame(deca["E_flame"])
    torch.save(deca, root / "data" / "deca_model.tar")
    path = write_fake_emoca(root / "assets" / "EMOCA" / "models" / "EMOCA_v2_lr_mse_20", small=True)
    parts = {**deca, "E_expression": component("E_expression", small=True)}
    tame(parts["E_expression"])
    state = {f"deca.{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}
    torch.save({"state_dict": state}, path)
    shapes = json.loads((PARITY / "diffusionrig" / "keys_small.json").read_text())
    rig = {name: torch.from_numpy(np.asarray(tensor)) for name, tensor in fill.fill_state(shapes).items()}
    (root / "checkpoints").mkdir()
    torch.save(rig, root / "checkpoints" / "model050000.pt")
    return root


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Photographs of three synthetic people whom the cascade finds, and one of nobody."""
    folder = tmp_path_factory.mktemp("photos")
    faces = SyntheticFaces(4, 256, 1)
    for name, number in {"anna": 0, "ben": 2, "cleo": 3}.items():
        write_image(folder / f"{name}.png", faces[number]["image"])
    write_image(folder / "nobody.png", torch.full((3, 128, 128), 0.5))
    return folder


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Chromium without a window; what it loads and complains of is logged."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs the package selenium")
    programs = ("chromium", "chromium-browser", "google-chrome")
    chromium = next((path for path in map(shutil.which, programs) if path), None)
    chromedriver = shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.skip("needs Chromium: apt-get install chromium chromium-driver")
    folder = tmp_path_factory.mktemp("browser")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new",
        "--no-sandbox",  # without it Chromium does not start as root
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={folder / 'profile'}",
        "--window-size=1100,900",
    ):
        options.add_argument(argument)
    downloads = folder / "downloads"
    downloads.mkdir()
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    # The driver is named, so that selenium looks for none on the network.
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=chromedriver))
    driver.set_script_timeout(60)
    driver.command_executor.client_config.timeout = 600  # seconds; on a busy machine the first page takes minutes
    driver.downloads = downloads
    yield driver
    driver.quit()
