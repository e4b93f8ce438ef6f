"""`lipsync personalize`: refusals before slow work, and a small run from end to end."""

import argparse
import json
import resource

import av
import numpy as np
import pytest

from lipsync_jax import personalization, weights
from lipsync_jax.cli import main
from lipsync_jax.cli import personalize as command
from lipsync_jax.configs import sync_expert, wav2lip, wav2lip_gan
from lipsync_jax.data_prep.settings import NO_SYNC_MODEL, ExtractionSettings
from lipsync_jax.evaluation import face_clip
from lipsync_jax.faces.regions import MOUTH_FACE96, crop_mouth
from lipsync_jax.media import video_reader
from lipsync_jax.methods.wav2lip import model as networks
from lipsync_jax.training import checkpoints, packed
from tests.helpers import colour_faces, talking
from tests.helpers.networks import random_variables


@pytest.fixture
def built_in(tmp_path, monkeypatch):
    """Writes a dubbing and a sync model with random weights as the built-in ones."""
    folder = tmp_path / "models"
    dubbing, expert = wav2lip.get_config("tiny"), sync_expert.get_config("tiny")
    for name, task, config, network, module, shapes in (
        ("base", weights.DUBBING, dubbing, "generator", networks.Wav2Lip(**dubbing.model),
         [(80, 16, 1), (96, 96, 6)]),
        ("sync", weights.SYNC, expert, "expert",
         networks.SyncExpert(image_size=96, **expert.model), [(80, 16, 1), (48, 96, 15)]),
    ):  # fmt: skip
        card = {"name": name, "task": task, "validation": {"balanced_accuracy": 0.9}, "step": 1,
                "config": json.loads(config.to_json())}  # fmt: skip
        packed.write(folder / name, {network: random_variables(module, *shapes)}, card)
    monkeypatch.setattr(weights, "FOLDER", folder)
    return folder


def _error(capsys, *words):
    assert main.main(["personalize", *map(str, words)]) == 1
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_a_video_that_can_not_be_used_is_refused_in_a_sentence(built_in, tmp_path, capsys):
    out = ["--out", tmp_path / "mine"]
    gone = tmp_path / "no.mp4"
    assert f"--video {gone} does not exist" in _error(capsys, "--video", gone, *out)
    short = talking.write_talking_video(tmp_path / "short.mkv", talking.random_speech_mask(50))
    message = _error(capsys, "--video", short, *out)
    assert "has 2 s of video with audio; at least 30 s" in message
    silent = tmp_path / "silent.mkv"
    colour_faces.write_video(silent, [talking.talking_face(True)] * 5)
    assert "has no audio stream" in _error(capsys, "--video", silent, *out)
    assert not (tmp_path / "mine").exists()
    mask = talking.random_speech_mask(50)
    empty = talking.write_talking_video(
        tmp_path / "empty.mkv", mask, transform=lambda image: image * 0
    )
    with pytest.raises(ValueError, match=r"empty.mkv: no face was found in the first 20 s"):
        personalization.personalize(
            empty, tmp_path / "mine", min_seconds=1, detector=colour_faces.detect
        )
    with pytest.raises(ValueError, match="has a run of another video than"):
        personalization.personalize(short, tmp_path / "mine", min_seconds=1)


def test_the_length_of_a_recording_without_one_is_that_of_its_audio(tmp_path):
    """As browsers record: the header is written before the end is known."""
    path = talking.write_talking_video(tmp_path / "a.mkv", talking.random_speech_mask(50))
    recorded = tmp_path / "recorded.webm"
    with (
        av.open(str(path)) as source,
        av.open(str(recorded), "w", format="matroska", options={"live": "1"}) as target,
    ):
        streams = {each.index: target.add_stream_from_template(each) for each in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    assert video_reader.probe(recorded).duration is None
    personalization._check_length(recorded, 2)
    with pytest.raises(ValueError, match="has 2 s of video with audio; at least 3 s"):
        personalization._check_length(recorded, 3)


def test_an_installation_without_models_names_the_option(tmp_path, capsys):
    path = talking.write_talking_video(tmp_path / "a.mkv", talking.random_speech_mask(25))
    message = _error(capsys, "--video", path, "--out", tmp_path / "mine")
    assert "no built-in model for dubbing: give --checkpoint-path" in message


def test_the_command_trains_as_many_steps_as_the_function():
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert parser.parse_args(["--video=me.mp4", "--out=out"]).steps == personalization.STEPS


def test_a_video_is_cut_into_clips(tmp_path):
    path = talking.write_talking_video(tmp_path / "me.mkv", talking.random_speech_mask(100))
    settings = ExtractionSettings(
        "face96", colour_faces.detect, max_seconds=1, sync_model=NO_SYNC_MODEL
    )
    clips = personalization._clips(path, tmp_path / "out", settings, min_seconds=3)
    assert sum(len(clip.frames) for clip in clips) == 100


@pytest.mark.parametrize(
    "devices, clips, sizes", [(1, 50, (4, 16)), (3, 50, (3, 15)), (8, 2, (8, 16))]
)
def test_batches_split_over_all_devices(built_in, tmp_path, monkeypatch, devices, clips, sizes):
    base = json.loads(wav2lip.get_config("tiny").to_json())
    monkeypatch.setattr(personalization.sharding.jax, "device_count", lambda: devices)
    models = built_in / "base", built_in / "sync"
    config = personalization._config(base, *models, tmp_path, 10, clips)
    assert (config.data.batch_size, config.data.validation_batch_size) == sizes


def test_a_base_that_was_trained_on_several_data_sets_is_trained_on_the_person(built_in, tmp_path):
    base = json.loads(wav2lip.get_config("tiny").to_json())
    base["data"]["dirs"] = "others=0.5,rendered=0.5"
    models = built_in / "base", built_in / "sync"
    config = personalization._config(base, *models, tmp_path, 10, 4)
    assert (config.data.dir, config.data.dirs) == (str(tmp_path), "")


def test_frames_are_decoded_once_for_all_models(tmp_path, monkeypatch):
    path = talking.write_talking_video(tmp_path / "me.mkv", talking.random_speech_mask(75))
    settings = ExtractionSettings(
        "face96", colour_faces.detect, max_seconds=1, sync_model=NO_SYNC_MODEL
    )
    clips = personalization._clips(path, tmp_path / "out", settings, min_seconds=1)
    decoded, decode = [], face_clip.decode_frames

    def counted(clip, indices):
        decoded.extend(indices)
        return decode(clip, indices)

    class Darker:
        crop = "face96"

        def __init__(self, factor):
            self._factor = factor

        def __call__(self, clip):
            return clip.map_frames(lambda image, _: (image * self._factor).astype(np.uint8))

    monkeypatch.setattr(face_clip, "decode_frames", counted)
    monkeypatch.setattr(personalization.DubbingGenerator, "load", Darker)
    found = personalization.measure_mouth_l1(clips, {"black": 0.0, "same": 1.0})
    assert len(decoded) == 75 + len(clips)  # the size of the images is that of the first
    mouths = [crop_mouth(decode(clip, range(25)), MOUTH_FACE96) / 255 for clip in clips]
    assert found["same"] == 0
    assert found["black"] == pytest.approx(np.mean(mouths), rel=1e-4)
    still = np.mean([np.abs(mouth - mouth[:1]).mean() for mouth in mouths])
    assert found["copy_baseline"] == pytest.approx(still, rel=1e-4)


def test_a_full_disk_leaves_the_report_as_it_was(tmp_path):
    personalization._update(tmp_path, {"sync": "in sync"})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        with pytest.raises(OSError):
            personalization._update(tmp_path, {"steps": [1] * 100})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert personalization._read(tmp_path) == {"sync": "in sync"}


def test_the_end_of_the_video_is_held_out():
    splits = personalization._split([*range(40)])
    assert {name: (part[0], part[-1]) for name, part in splits.items()} == {
        "train": (0, 31), "validation": (32, 35), "test": (36, 39)
    }  # fmt: skip
    assert [len(part) for part in personalization._split([1, 2, 3]).values()] == [1, 1, 1]


@pytest.mark.parametrize("networks", [("generator",), ("generator", "discriminator")])
def test_a_discriminator_is_trained_further_where_the_model_has_one(tmp_path, networks):
    base = wav2lip_gan.get_config("in_the_box")
    card = {"name": "base", "task": weights.DUBBING, "config": json.loads(base.to_json())}
    packed.write(tmp_path, {name: {"params": {"a": np.ones(1)}} for name in networks}, card)
    config = personalization._config(card["config"], tmp_path, tmp_path, tmp_path, 30, 4)
    assert sorted(config.init_from) == sorted(networks)
    assert config.optimizer.learning_rate == 2 * base.optimizer.learning_rate
    assert ("quality" in config.discriminators) == ("discriminator" in networks)
    for block in config.discriminators.values():
        rate = base.discriminators.quality.optimizer.learning_rate
        assert block.optimizer.learning_rate == 2 * rate and block.optimizer.lr_decay_steps == 30


@pytest.mark.slow
@pytest.mark.usefixtures("quick_programs")
def test_a_run_from_end_to_end_and_again(built_in, tmp_path, monkeypatch):
    path = talking.write_talking_video(tmp_path / "me.mkv", talking.random_speech_mask(300))
    out = tmp_path / "mine"

    def run(steps):
        return personalization.personalize(
            path, out, steps=steps, min_seconds=10, detector=colour_faces.detect
        )

    first = run(2)
    assert first.seconds == {"train": 6.0, "validation": 3.0, "test": 3.0}
    assert first.base == "base"
    assert set(first.held_out_mouth_l1) == {"base", "personalized", "copy_baseline"}
    assert all(np.isfinite(value) for value in first.held_out_mouth_l1.values())
    config = checkpoints.read_model_card(out)["config"]
    assert config["init_from"]["generator"].endswith("models/base")
    assert "mouth L1 on the held-out seconds" in command.describe(first)
    # A finished run only measures again; more steps go on from its last one.
    monkeypatch.setattr(personalization.builder, "to_record", None)  # no clip is written again
    assert run(2).held_out_mouth_l1 == first.held_out_mouth_l1
    run(3)
    assert max(int(p.name) for p in (out / "checkpoints").iterdir()) == 3
    assert json.loads((out / "personalize.json").read_text())["steps"] == 3
