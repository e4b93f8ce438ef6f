"""The whole path in small, by the commands that users type; `make matrix` runs this everywhere."""

import json

import pytest

from lipsync_jax.cli import _config_files, main
from lipsync_jax.data_prep.synthetic import recordings
from lipsync_jax.media import video_reader
from lipsync_jax.training import loop

pytestmark = [pytest.mark.smoke, pytest.mark.slow]


def lipsync(*arguments: object) -> None:
    assert main.main([str(argument) for argument in arguments]) == 0


def train(config: str, steps: int, workdir, *overrides: str) -> dict[str, float]:
    lengths = [f"--config.train.{name}={steps}" for name in ("steps", "validate_every")]
    return loop.train(_config_files.read(config, [*lengths, *overrides]), workdir)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Three rendered videos, and the clips that `lipsync prepare` writes."""
    root = tmp_path_factory.mktemp("smoke")
    for number in range(3):
        recordings.write_video(root / "videos" / f"{number}.mp4", 2.0, number, size=192)
    recordings.write_speech(root / "voice.wav", 1.0, 5)
    for crop in ("face96", "aligned112x112"):
        lipsync("prepare", "--input", root / "videos", "--out", root / "data",
                "--crop", crop, "--workers", 0, "--detect-every", 5)  # fmt: skip
    return root


def test_prepare_train_resume_generate_evaluate(prepared, monkeypatch):
    data = f"--config.data.dir={prepared / 'data'}"
    narrow = ("--config.data.batch_size=2", "--config.data.validation_batch_size=2")
    expert = train("sync_expert:tiny", 2, prepared / "expert", data, *narrow)
    assert 0 <= expert["balanced_accuracy"] <= 1
    wav2lip = (data, *narrow, "--config.frozen.expert.min_accuracy=0",
               f"--config.frozen.expert.checkpoint={prepared / 'expert'}")  # fmt: skip
    train("wav2lip:tiny", 2, prepared / "wav2lip", *wav2lip)
    scalars = train("wav2lip:tiny", 3, prepared / "wav2lip", *wav2lip)  # resumes
    assert scalars["mouth_l1"] > 0
    lines = (prepared / "wav2lip" / "scalars.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps[-1] == 3

    face, out = prepared / "videos" / "0.mp4", prepared / "dubbed.mp4"
    lipsync("dub", "--checkpoint-path", prepared / "wav2lip", "--face", face,
            "--audio", prepared / "voice.wav", "--outfile", out)  # fmt: skip
    info = video_reader.probe(out)
    assert (info.frames_estimate, info.width, info.has_audio) == (25, 192, True)

    lipsync("evaluate", "--checkpoint-path", prepared / "wav2lip", "--data", prepared / "data",
            "--sync-model", prepared / "expert", "--out", prepared / "scores")  # fmt: skip
    assert (prepared / "scores" / "report.html").is_file()
    monkeypatch.chdir(prepared)
    lipsync("doctor")


def test_animate(prepared):
    run = prepared / "speech2vid"
    train("speech2vid:tiny_no_deblur", 2, run, f"--config.data.dir={prepared / 'data'}",
          "--config.data.batch_size=2", "--config.data.validation_batch_size=2")  # fmt: skip
    image = prepared / "image.png"
    first = next(video_reader.read_frames(prepared / "videos" / "1.mp4"))
    video_reader.write_image(image, first.image)
    lipsync("animate", "--checkpoint-path", run, "--face", image,
            "--audio", prepared / "voice.wav", "--outfile", prepared / "animated.mp4")  # fmt: skip
    assert video_reader.probe(prepared / "animated.mp4").frames_estimate == 25
