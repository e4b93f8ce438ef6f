"""What gets installed: a wheel that is complete, and a source distribution with the rest."""

import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with both distributions."""
    pytest.importorskip("build")
    out = tmp_path_factory.mktemp("dist")
    tree = tmp_path_factory.mktemp("source") / "tree"
    tracked = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    for name in filter(None, tracked.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(tree)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_the_wheel_has_one_name_and_everything(built):
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"lipsync_jax"}
    for folder, inside in (("configs", "configs"), ("data_prep", "data_prep"), ("lipsync_jax", "")):
        for path in (ROOT / folder).rglob("*.py"):
            place = path.relative_to(ROOT / folder)
            assert str(Path("lipsync_jax") / inside / place) in names
    assert "lipsync_jax/py.typed" in names
    # Which the page of `lipsync web` shows.
    assert any(".dist-info/" in name and name.endswith("/RESPONSIBLE_USE.md") for name in names)


def test_the_source_distribution_has_what_the_repository_has(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    for name in ("Makefile", "main.py", "README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE",
                 "docs/how-to/train.md", "notebooks/1_dub_a_video.ipynb", "tests/conftest.py",
                 "configs/wav2lip.py", "data_prep/prepare.py", "benchmarks/README.md"):  # fmt: skip
        assert name in names


@pytest.mark.slow
def test_the_wheel_alone_runs_the_demo(built, tmp_path):
    """In an environment that has the dependencies but not the repository."""
    (wheel,) = built.glob("*.whl")
    venv.create(tmp_path / "env", with_pip=False)
    site = sysconfig.get_path("purelib", vars={"base": str(tmp_path / "env")})
    zipfile.ZipFile(wheel).extractall(site)
    # Folders named in a .pth file lend their packages, but not their editable installations.
    Path(site, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = str(tmp_path / "env" / "bin" / "python")
    where = [python, "-c", "import lipsync_jax.data_prep as p; print(p.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert str(tmp_path) in found.stdout
    command = [python, "-m", "lipsync_jax.cli", "demo", "--train", "--out=demo", "--clips=10"]
    command += ["--min-accuracy=0", "--expert-steps=3", "--generator-steps=3"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "demo" / "demo.mp4").stat().st_size > 1000
    named = [python, "-m", "lipsync_jax.cli", "train", "--config=wav2lip:tiny", "--workdir=run"]
    done = subprocess.run(named, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
