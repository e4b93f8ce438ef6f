"""Dockerfiles, compose.yaml: what they promise, and that their install line works."""

import http.server
import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILES = [ROOT / "Dockerfile", ROOT / "Dockerfile.cuda"]


def instructions(path: Path) -> list[tuple[str, str]]:
    """Returns (instruction, arguments), with continued lines joined and comments left out."""
    lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def values(path: Path, name: str) -> list[str]:
    return [arguments for instruction, arguments in instructions(path) if instruction == name]


@pytest.fixture(params=DOCKERFILES, ids=lambda path: path.name)
def dockerfile(request):
    return request.param


def test_base_is_slim_and_pinned_and_only_the_environment_is_copied(dockerfile):
    build, final = values(dockerfile, "FROM")
    assert build == f"{final} AS build" == "python:3.12-slim-bookworm AS build"
    copied = [shlex.split(line) for line in values(dockerfile, "COPY")]
    assert [words for words in copied if words[0] == "--from=build"] == [
        ["--from=build", "/opt/venv", "/opt/venv"]
    ]
    text = dockerfile.read_text("utf-8")
    assert "latest" not in text and not values(dockerfile, "ADD")
    assert not re.search(r"curl|wget|apt-get|index-url|sudo", text)


def test_sources_exist_and_are_not_ignored(dockerfile):
    kept = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    for line in values(dockerfile, "COPY"):
        *sources, _ = shlex.split(line)
        for source in sources:
            if source.startswith(("--", "/")):
                continue
            assert (ROOT / source).exists() and source.removeprefix("./") in kept, source


def test_runs_as_a_user_with_a_volume_and_a_health_check(dockerfile):
    assert values(dockerfile, "USER") == ["10001"]
    assert values(dockerfile, "VOLUME") == ["/work"] == values(dockerfile, "WORKDIR")[-1:]
    (environment,) = values(dockerfile, "ENV")[-1:]
    assert "XDG_CACHE_HOME=/work/.cache" in environment
    assert "JAX_PLATFORMS" not in dockerfile.read_text("utf-8")
    (check,) = values(dockerfile, "HEALTHCHECK")
    assert "/api/health" in check and 'CMD ["python"' in check
    assert values(dockerfile, "ENTRYPOINT") == ['["lipsync"]']


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (401, True), (503, False)])
def test_the_health_check_reads_the_status(dockerfile, status, healthy):
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == "/api/health" else 404)
            self.end_headers()

    (check,) = values(dockerfile, "HEALTHCHECK")
    python, *arguments = json.loads(check.partition("CMD ")[2])
    assert python == "python"
    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        code = arguments.pop().replace("7860", str(server.server_port))
        done = subprocess.run([sys.executable, *arguments, code], capture_output=True)
    assert (done.returncode == 0) == healthy, done.stderr


def test_the_extras_exist(dockerfile):
    (extras,) = [line[7:] for line in values(dockerfile, "ARG") if line.startswith("EXTRAS=")]
    known = (ROOT / "setup.py").read_text("utf-8")
    for extra in extras.split(","):
        assert re.search(rf'^ +"{extra}": ', known, re.MULTILINE), extra
    assert ("cuda" in extras) == (dockerfile.suffix == ".cuda")


def test_the_version_is_that_of_the_package(dockerfile):
    import lipsync_jax

    assert f"VERSION={lipsync_jax.__version__}" in values(dockerfile, "ARG")


def test_the_command_is_accepted(dockerfile):
    from lipsync_jax.cli import main

    (command,) = values(dockerfile, "CMD")
    line = [word.strip(' "') for word in command.strip("[]").split(",")]
    arguments, rest = main.build_parser(line[:1]).parse_known_args(line)
    assert not rest and arguments.host == "0.0.0.0"


def test_compose_publishes_on_this_machine_only():
    yaml = pytest.importorskip("yaml")
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    assert set(compose["services"]) == {"cpu", "cuda"}
    for name, service in compose["services"].items():
        assert service["profiles"] == [name]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert service["read_only"] and service["tmpfs"] == ["/tmp"]
        assert service["volumes"] == ["work:/work"] and set(compose["volumes"]) == {"work"}
    cuda = compose["services"]["cuda"]["build"]
    assert (ROOT / cuda["dockerfile"]).is_file()


@pytest.mark.slow
def test_the_install_line_makes_a_working_command(tmp_path):
    """Runs the line of the CPU image on what the image would contain; needs the package index."""
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    source = tmp_path / "source"
    source.mkdir()
    for line in values(DOCKERFILES[0], "COPY"):
        *names, _ = shlex.split(line)
        for name in names:
            if name.startswith(("--", "/")):
                continue
            path = ROOT / name
            copy = shutil.copytree if path.is_dir() else shutil.copyfile
            copy(path, source / path.name)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, tmp_path / "venv"], check=True)
    (install,) = [line for line in values(DOCKERFILES[0], "RUN") if "pip install" in line]
    (extras,) = [line[7:] for line in values(DOCKERFILES[0], "ARG") if line[:7] == "EXTRAS="]
    words = shlex.split(install.replace("${EXTRAS}", extras))
    assert words[:2] == ["pip", "install"]
    subprocess.run(
        [uv, "pip", "install", "-q", "--python", python, *words[2:]], cwd=source, check=True
    )
    done = subprocess.run(
        [python, "-m", "lipsync_jax.cli", "models"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0 and "wav2lip_base" in done.stdout, done.stderr
