import csv
import json

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from diffrig_emo.cli import main
from diffrig_emo.conditioning import Conditioner
from diffrig_emo.io.images import read_image
from diffrig_emo.modules import FaceDiffusion
from diffrig_emo.structures import Conditioning
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.workflows import sweep as verb
from diffrig_emo.workflows.shipped import shipped_encoder, shipped_rig
from diffrig_emo.workflows.sweep import digest, panels
from diffrig_emo.workflows.sweep_faces import Point, SweepFaces

GRID = ["--steps=[2,3]", "--sampler=[ddim,dpm]", "--strength=[1.0]", "--faces=2", "--output=out"]


def run(capsys, *words):
    main(["sweep", *words])
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def rig():
    return shipped_rig()


@pytest.fixture(scope="module")
def task(rig):
    return SweepFaces(SyntheticFaces(3, 64, seed=3), rig, encoder=shipped_encoder(), batch_size=2)


def test_the_command_fills_its_grid_and_goes_on_where_it_was_stopped(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    measured = []
    measure = SweepFaces.measure
    monkeypatch.setattr(SweepFaces, "measure", lambda self, point: measured.append(point) or measure(self, point))
    said = run(capsys, *GRID, "--eta=[0,1]", "--residual=[false]")
    assert "2 combinations left out: DPM-Solver++ draws no noise" in said
    assert "render delta" in said
    assert len(measured) == 6
    stored = json.loads((tmp_path / "out/sweep.json").read_text())
    assert {(p["sampler"], p["eta"], p["steps"]) for p in stored["points"]} == {
        *(("ddim", eta, steps) for eta in (0, 1) for steps in (2, 3)),
        ("dpm", 0, 2),
        ("dpm", 0, 3),
    }
    assert all(p.keys() >= {"psnr", "expression_error", "beta_drift"} and p["seconds"] > 0 for p in stored["points"])
    with (tmp_path / "out/sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows[:4]] == ["source", "render_delta", "true_edit", ""]
    assert [float(r["psnr"]) for r in rows[:3]] == [r["psnr"] for r in stored["references"].values()]
    assert read_image(tmp_path / "out/sweep.png").shape[2] == 1280

    said = run(capsys, *GRID, "--residual=[false,true]")
    assert "4 of 8 points done before" in said
    assert len(measured) == 10
    points = json.loads((tmp_path / "out/sweep.json").read_text())["points"]
    assert len(points) == 10
    assert all(point in points for point in stored["points"])

    run(capsys, *GRID, "--steps=[2]", "--fresh")
    assert len(json.loads((tmp_path / "out/sweep.json").read_text())["points"]) == 2


def test_a_sweep_that_is_killed_keeps_its_points(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    measure, calls = SweepFaces.measure, []

    def dies(self, point):
        calls.append(point)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(self, point)

    monkeypatch.setattr(SweepFaces, "measure", dies)
    with pytest.raises(KeyboardInterrupt):
        run(capsys, *GRID, "--sampler=[dpm]")
    assert len(json.loads((tmp_path / "out/sweep.json").read_text())["points"]) == 1
    assert "1 of 2 points done before" in run(capsys, *GRID, "--sampler=[dpm]")
    assert len(calls) == 3


def test_points_of_other_faces_or_a_damaged_file_are_not_mixed_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "out/sweep.json"
    path.parent.mkdir()
    path.write_text('{"about": {"rig": "none"}, "references": {}, "points": []}')
    with pytest.raises(SystemExit, match=r"sweep\.json: its points cannot be compared .* rig 'none' instead of"):
        main(["sweep", *GRID])
    path.write_text("{ half")
    with pytest.raises(SystemExit, match=r"sweep\.json: expected the results of a sweep"):
        main(["sweep", *GRID])
    assert path.read_text() == "{ half"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps=[1]"], "steps: expected at least 2, got 1"),
        (["--steps=[5,5]"], "steps: expected one or more different values"),
        (["--strength=[0]"], "strength: expected a number above 0 to 1, got 0"),
        (["--eta=[2]"], "eta: expected a number from 0 to 1, got 2"),
        (["--sampler=[dpm]", "--eta=[1]"], "no combination of the settings can be run: DPM-Solver"),
        (["--faces=1"], "faces: expected at least 2"),
        (["--batch_size=0"], "batch_size: expected at least 1"),
        (["--rig=nowhere"], "nowhere"),
    ],
)
def test_bad_requests_are_refused_before_any_work(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message):
        main(["sweep", *words])
    assert not (tmp_path / "sweep").exists()


def test_a_rig_that_knows_no_synthetic_faces_is_refused(rig, monkeypatch):
    class Nothing(Conditioner):
        def forward(self, batch):
            return Conditioning()

    other = FaceDiffusion(torch.nn.Identity(), [Nothing()], rig.schedule)
    with pytest.raises(ValueError, match="rig: expected a rig conditioned on physical buffers"):
        SweepFaces(SyntheticFaces(2, 64), other)
    monkeypatch.setattr(rig.conditioners[0].face_model, "space", "flame2020", raising=False)
    with pytest.raises(ValueError, match=r"of space 'synthetic1'; this rig wants 'flame2020'"):
        SweepFaces(SyntheticFaces(2, 64), rig)


def test_figures_are_those_of_scikit_image_on_the_true_edit(task):
    faces = SyntheticFaces(3, 64, seed=3)
    codes = faces.codes()
    wanted = codes.replace(
        exp=codes.exp[[1, 2, 0]], pose=torch.cat([codes.global_rotation, codes.jaw_pose[[1, 2, 0]]], dim=1)
    )
    truth = faces.photograph(range(3), codes=wanted, clean=True)
    clean = faces.photograph(range(3), clean=True)
    changed = ((truth - clean).abs() > 8 / 255).any(dim=1)
    expected = {"psnr": [], "psnr_changed": [], "psnr_unchanged": []}
    for i in range(3):
        ours, theirs = task.image[i].permute(1, 2, 0).numpy(), truth[i].permute(1, 2, 0).numpy()
        mask = changed[i].numpy()
        for name, part in (("psnr", mask | True), ("psnr_changed", mask), ("psnr_unchanged", ~mask)):
            expected[name].append(peak_signal_noise_ratio(theirs[part], ours[part], data_range=1))
    source = task.references()["source"]
    for name, values in expected.items():
        assert source[name] == pytest.approx(sum(values) / 3, abs=1e-3)
    assert source["beta_drift"] == 0
    read = task._encoder.encode({"image": task.image}).exp.detach()
    assert source["expression_error"] == pytest.approx(float((read - wanted.exp).square().mean().sqrt()), rel=1e-4)


def test_a_point_is_the_edit_of_its_settings(rig, task):
    point = Point("ddim", "inverted", 0.5, 0.3, 1.0, True, False, 3)
    figures = task.measure(point)
    batch = {"image": task.image, "codes": task.codes, "index": task.index}
    edit = rig.edit(batch, codes=task.target, strength=0.5, eta=0.3, residual=True)
    assert len(rig.timesteps) == 3
    assert task.figures(edit)["psnr"] == pytest.approx(figures["psnr"], abs=1e-3)
    assert figures["psnr"] != pytest.approx(task.measure(Point("dpm", "inverted", 1, 0, 1, False, False, 3))["psnr"])


def test_curves_run_over_the_steps_and_name_what_varies():
    same = {"start": "inverted", "eta": 0.0, "guidance_scale": 1.0, "blend": False}
    rows = [
        {**same, "sampler": sampler, "strength": s, "residual": residual, "steps": steps,
         "seconds": 0.1 * steps, "psnr_changed": 20.0 + steps, "psnr_unchanged": 30.0}
        for sampler in ("ddim", "dpm") for s, residual in ((1.0, False), (0.5, True)) for steps in (10, 5)
    ]  # fmt: skip
    references = [{"name": n, "psnr_changed": 15.0, "psnr_unchanged": 33.0} for n in ("source", "true_edit")]
    time, effect = panels(references, rows)
    assert [c.name for c in time.curves] == [
        "ddim · strength 0.5 · residual",
        "ddim · strength 1",
        "dpm · strength 0.5 · residual",
        "dpm · strength 1",
    ]
    assert time.curves[0].labels == ["5", "10"]
    assert time.curves[0].x == [0.5, 1.0]
    assert effect.curves[0].x == [25.0, 30.0]
    assert (time.levels, effect.marks) == ({"source": 15.0}, {"source": (15.0, 33.0)})
    assert [c.name for c in panels(references, rows[:1])[0].curves] == ["ddim"]


def test_a_digest_tells_weights_apart():
    torch.manual_seed(0)
    a, b = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    assert digest(a) != digest(b)
    b.load_state_dict(a.state_dict())
    assert digest(a) == digest(b)
    assert verb.SETTINGS[-1] == "steps"
