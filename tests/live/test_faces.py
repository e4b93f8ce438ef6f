import numpy as np
import pytest

from lipsync_jax.live import faces
from tests.helpers import colour_faces, scenes
from tests.helpers.scenes import LEFT, RIGHT


@pytest.fixture(scope="module")
def face_video(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    return scenes.write_scenes(path, [(LEFT, None), (RIGHT, None)])


def prepare(path, seconds, monkeypatch, **options):
    """Prepares a face on a machine that needs these seconds for a frame, by its width."""
    monkeypatch.setattr(faces, "_MIN_HEIGHT", 20)
    steps = []
    face = faces.prepare(
        scenes.lip_sync_pipeline(), path, on_step=steps.append,
        measure=lambda streaming: seconds[streaming.size[0]],
        **{**scenes.OPTIONS, "min_face_height": 0, **options},
    )  # fmt: skip
    return face, steps


@pytest.mark.parametrize(
    ("seconds", "size", "stride", "words"),
    [
        ({120: 0.01}, (120, 80), 1, "25.0 frames a second, 10 ms a frame"),
        ({120: 0.05, 60: 0.02}, (60, 40), 1, "half the size"),
        ({120: 0.09, 60: 0.05}, (60, 40), 2, "12.5 frames a second generated, each sent 2 times"),
        ({120: 0.9, 60: 0.5}, (60, 40), 2, "the face will move 1.5 times a second"),
    ],
)
def test_a_slow_machine_gets_less_and_is_told(
    face_video, monkeypatch, seconds, size, stride, words
):
    face, steps = prepare(face_video, seconds, monkeypatch)
    assert face.streaming.size == size and face.plan.stride == stride
    assert words in face.plan.describe()
    assert face.plan.is_enough == (min(seconds.values()) < 0.06)
    assert sum("trying 50 frames" in step for step in steps) == len(seconds)


def test_large_faces_are_reduced_and_labelled(face_video, monkeypatch):
    face, _ = prepare(face_video, {60: 0.01}, monkeypatch, max_height=50)
    assert face.streaming.size == (60, 40) and not face.plan.is_halved
    unlabelled, _ = prepare(face_video, {60: 0.01}, monkeypatch, max_height=50, label="")
    images = [next(f.streaming.stream([np.zeros(16_000)])).image for f in (face, unlabelled)]
    assert (images[0] != images[1])[-12:].any() and (images[0] == images[1])[:20].all()


def test_only_the_beginning_of_a_long_video_is_searched(tmp_path, monkeypatch):
    searched = []

    def detect(image):
        searched.append(image)
        return colour_faces.detect(image)

    monkeypatch.setattr(faces, "MAX_SECONDS", 0.4)
    path = scenes.write_scenes(tmp_path / "film.mkv", [(LEFT, None)] * 10)
    face, _ = prepare(path, {120: 0.01}, monkeypatch, detector=detect)
    assert len(searched) == 10 and float(face.streaming.frame_rate) == 25


def test_the_trial_generates_frames_of_speech(face_video):
    generated = []

    def generate(audio, crops):
        generated.append(len(crops))
        return crops

    streaming = scenes.lip_sync_pipeline(generate).prepare(
        face_video, **scenes.OPTIONS, batch_size=1
    )
    assert 0 < faces.measure(streaming, 10) < 1
    assert len(generated) == 11


def test_a_face_that_would_become_too_small_keeps_its_size(face_video, monkeypatch):
    face, _ = prepare(face_video, {120: 0.05}, monkeypatch, min_face_height=40)
    assert face.streaming.size == (120, 80) and face.plan.stride == 2 and face.plan.is_enough


def test_an_unusable_face_is_told_with_options_of_the_command(tmp_path, face_video, monkeypatch):
    nobody = scenes.write_scenes(tmp_path / "nobody.mkv", [(None, None)] * 2)
    found = r"^\S+nobody\.mkv: no face was found in any of 20 frames; give a video or an image of "
    with pytest.raises(ValueError, match=found + "one upright, larger face$"):
        prepare(nobody, {}, monkeypatch)
    with pytest.raises(ValueError, match=found + ".*, or a `max_height` above 64$"):
        prepare(nobody, {}, monkeypatch, max_height=64)
    with pytest.raises(ValueError, match=r"pixels high, .* well; give a video or an image of"):
        prepare(face_video, {}, monkeypatch, min_face_height=60)
