"""Whole animations, with a stand-in for the network and for the detector."""

import math
from fractions import Fraction

import numpy as np
import pytest

import lipsync_jax.synthesis
from lipsync_jax import faces
from lipsync_jax.faces import alignment
from lipsync_jax.media import audio, containers, video_reader
from tests.helpers import colour_faces, media_files, reference_images
from tests.helpers.reference_images import DETECTOR, animator
from tests.helpers.scenes import write_tone


@pytest.fixture
def face(tmp_path):
    return reference_images.write_face_image(tmp_path / "ein Gesicht 顔.png")


def run(face, sound, outfile, by=None, **options):
    options = {**DETECTOR, "lossless": True, **options}
    result = (by or animator()).animate(face, sound, outfile, **options)
    return result, [*video_reader.read_frames(outfile)]


@pytest.mark.parametrize("frame_rate", [Fraction(25), Fraction(30000, 1001)])
@pytest.mark.parametrize("samples", [16_000, 16_001, 15_999, 1, 640, 37_777])
def test_every_frame_that_begins_before_the_sound_ends_is_shown(
    tmp_path, face, samples, frame_rate
):
    sound = tmp_path / "voice.wav"
    audio.save(sound, media_files.tone(220, 3, 16_000)[:samples], 16_000)
    result, shown = run(face, sound, tmp_path / "out.mp4", animator(frame_rate=frame_rate))
    expected = math.ceil(Fraction(samples, 16_000) * frame_rate)
    assert result.frames == result.edited == len(shown) == expected
    assert [frame.time for frame in shown] == media_files.uniform_times(expected, frame_rate)
    assert result.frame_rate == frame_rate and result.duration == float(expected / frame_rate)


def test_the_sound_is_left_as_it_is(tmp_path, face):
    samples = media_files.tone(300, 1.1, 24_000)
    media_files.write_media(tmp_path / "voice.m4a", samples=samples, rate=24_000)
    run(face, tmp_path / "voice.m4a", tmp_path / "out.mp4")
    before, rate = audio.load(tmp_path / "voice.m4a")
    after, same = audio.load_from_video_start(tmp_path / "out.mp4")
    assert rate == same == 24_000
    np.testing.assert_array_equal(after[: len(before)], before[: len(after)])
    assert abs(len(after) - len(before)) <= 1024


def test_frames_hear_the_sound_around_them(tmp_path, face):
    samples = np.zeros(16_000, np.float32)
    samples[8000:8100] = 1  # 0.5 s
    audio.save(tmp_path / "click.wav", samples, 16_000)
    _, shown = run(face, tmp_path / "click.wav", tmp_path / "out.mp4")
    loud = [frame.time for frame in shown if frame.image[-1].max() > 128]
    # Windows of 0.16 s, centred 0.02 s after a frame is first shown.
    assert min(loud) == Fraction(11, 25) and max(loud) == Fraction(14, 25)


@pytest.mark.parametrize("rate", [8000, 44_100])
def test_sound_of_other_rates_is_in_step(tmp_path, face, rate):
    samples = np.zeros(rate, np.float32)
    samples[rate // 2 :] = media_files.tone(200, 0.5, rate)
    audio.save(tmp_path / "late.wav", samples, rate)
    _, shown = run(face, tmp_path / "late.wav", tmp_path / "out.mp4")
    loud = [frame.image[-1].max() > 60 for frame in shown]
    assert loud.index(True) in (10, 11) and all(loud[12:]) and len(loud) == 25


def test_the_crop_is_shown_or_the_whole_picture(tmp_path, face):
    sound = write_tone(tmp_path / "voice.wav", 0.2)
    _, shown = run(face, sound, tmp_path / "crop.mp4")
    assert shown[0].image.shape == (128, 96, 3)
    picture = next(video_reader.read_frames(face)).image
    (found,) = colour_faces.detect(picture)
    matrix = alignment.align_matrix(found.landmarks)
    crop = alignment.warp_crop(picture, matrix)
    np.testing.assert_array_equal(shown[0].image[1:-1], crop[1:-1])
    _, shown = run(face, sound, tmp_path / "whole.mp4", paste_back=True)
    # The network returns the reference image: nothing changes, but for what interpolation blurs.
    assert shown[0].image.shape == picture.shape
    assert np.abs(shown[0].image.astype(int) - picture).mean() < 1
    green = np.full((128, 96, 3), (0, 200, 0), np.uint8)
    painter = animator(
        lambda detected_frames, features, *rest: (0, np.stack([green] * len(features)))
    )
    _, shown = run(face, sound, tmp_path / "green.mp4", painter, paste_back=True)
    points = np.moveaxis(np.indices(picture.shape[1::-1]), 0, -1).swapaxes(0, 1) + 0.5
    inside = alignment.transform_points(points.reshape(-1, 2), matrix).reshape(points.shape) / [
        96,
        128,
    ]
    outside = ((inside < 0) | (inside > 1)).any(axis=-1)
    np.testing.assert_array_equal(shown[0].image[outside], picture[outside])
    middle = (np.abs(inside - 0.5) < 0.3).all(axis=-1)
    assert (shown[0].image[middle, 1] > 120).all() and (shown[0].image[middle, 0] < 120).all()


def test_an_aligned_picture_needs_no_face(tmp_path):
    reference_image = np.random.default_rng(0).integers(0, 255, (128, 96, 3)).astype(np.uint8)
    video_reader.write_image(tmp_path / "still.png", reference_image)
    sound = write_tone(tmp_path / "voice.wav", 0.2)
    _, shown = run(tmp_path / "still.png", sound, tmp_path / "out.mp4", aligned=True)
    np.testing.assert_array_equal(shown[3].image[1:-1], reference_image[1:-1])
    video_reader.write_image(
        tmp_path / "large.png", np.kron(reference_image, np.ones((3, 3, 1), np.uint8))
    )
    _, shown = run(tmp_path / "large.png", sound, tmp_path / "out.mp4", aligned=True)
    np.testing.assert_array_equal(shown[3].image[1:-1], reference_image[1:-1])


def test_a_video_gives_its_first_frame(tmp_path):
    path = colour_faces.write_video(
        tmp_path / "film.mkv",
        [colour_faces.face_image(colour_faces.square_box(20 + i)) for i in range(5)],
    )
    first = animator().prepare(path, **DETECTOR, paste_back=True)
    image = next(first.stream([np.zeros(640, np.int16)])).image
    np.testing.assert_array_equal(image[0], colour_faces.face_image(colour_faces.square_box(20))[0])


def test_the_seed_is_the_video(tmp_path, face):
    sound = write_tone(tmp_path / "voice.wav", 0.5)

    def shown(**options):
        _, frames = run(face, sound, tmp_path / "out.mp4", **options)
        return np.stack([frame.image for frame in frames])

    first = shown(seed=1, batch_size=4)
    np.testing.assert_array_equal(shown(seed=1, batch_size=4), first)
    np.testing.assert_array_equal(shown(seed=1, batch_size=7)[:, 1:], first[:, 1:])
    assert (shown(seed=2, batch_size=4) != first).any()
    assert (shown(seed=1, batch_size=4, noise_std=0.1) != first).any()
    reference_image = shown(seed=1, noise_std=0)
    np.testing.assert_array_equal(reference_image, shown(seed=2, noise_std=0))


def test_progress_report_and_mark(tmp_path, face):
    captured = []
    sound = write_tone(tmp_path / "voice.wav", 0.4)
    run(face, sound, tmp_path / "out.mp4", on_progress=captured.append, label="synthetic")
    assert [(p.stage, p.done, p.total) for p in captured] == [
        ("generate", i, 10) for i in range(1, 11)
    ]
    with containers.open_container(tmp_path / "out.mp4") as container:
        comment = container.metadata["comment"]
    assert "synthetic" in comment and "0123456789ab" in comment
    labelled = next(video_reader.read_frames(tmp_path / "out.mp4")).image
    run(face, sound, tmp_path / "out.mp4")
    plain = next(video_reader.read_frames(tmp_path / "out.mp4")).image
    assert (labelled[-12:, :40] != plain[-12:, :40]).any()
    np.testing.assert_array_equal(labelled[:100], plain[:100])


def test_a_failure_leaves_no_file(tmp_path, face):
    calls = []

    def fail(*arguments):
        calls.append(1)
        if len(calls) > 2:
            raise RuntimeError("broken")
        return reference_images.step(*arguments)

    sound = write_tone(tmp_path / "voice.wav", 2)
    (tmp_path / "out.mp4").write_bytes(b"an older one")
    with pytest.raises(RuntimeError, match="broken"):
        run(face, sound, tmp_path / "out.mp4", animator(fail), batch_size=4)
    assert (tmp_path / "out.mp4").read_bytes() == b"an older one"
    assert {p.name for p in tmp_path.iterdir()} == {face.name, "voice.wav", "out.mp4"}


def blind(rgb):
    return [faces.Face(np.float32([10, 10, 40, 40]), 0.9, np.full((5, 2), np.nan, np.float32))]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"face": "gone.png"}, "`face` .*gone.png does not exist; check"),
        ({"audio": "gone.wav"}, "`audio` .*gone.wav does not exist; check"),
        ({"audio": None}, "`audio` is missing; give"),
        ({"face": "voice.wav"}, "voice.wav has no video stream; name"),
        ({"audio": "face.png"}, "face.png has no audio stream; name"),
        ({"face": "empty.png"}, "empty.png: no face was found; give an image"),
        ({"detector": blind}, r"face.png: its face can't be aligned \(.*not finite"),
        ({"outfile": "face.png"}, "`outfile` .*face.png is also the `face`.*; give another"),
        ({"outfile": "out.avi"}, r"out.avi: a video is written as one of \.mp4"),
        ({"seed": -1}, "`seed`=-1: give a number from 0"),
        ({"noise_std": -0.1}, "`noise_std`=-0.1: give a number from 0"),
        ({"batch_size": 0}, "`batch_size`=0: give a number above 0"),
        ({"resize_factor": 0}, "`resize_factor`=0: give a number above 0"),
        ({"aligned": True, "paste_back": True}, "`aligned` and `paste_back` exclude each other"),
        ({"detector": "nonesuch"}, "no face detector 'nonesuch'; choose"),
        ({"codec": "nonesuch"}, "codec 'nonesuch' cannot be written"),
    ],
)
def test_mistakes_are_reported_before_work(tmp_path, change, message):
    reference_images.write_face_image(tmp_path / "face.png")
    video_reader.write_image(tmp_path / "empty.png", np.full((64, 64, 3), 50, np.uint8))
    write_tone(tmp_path / "voice.wav", 0.1)
    before = {p.name for p in tmp_path.iterdir()}
    files = {"face": "face.png", "audio": "voice.wav", "outfile": "out.mp4"}
    paths = {k: (change.get(k, v) and tmp_path / change.get(k, v)) for k, v in files.items()}
    paths["audio"] = None if "audio" in change and change["audio"] is None else paths["audio"]
    options = {**DETECTOR, **{k: v for k, v in change.items() if k not in files}}

    def never(*_):
        raise AssertionError("no frame may be generated")

    with pytest.raises((ValueError, FileNotFoundError), match=message):
        animator(never).animate(**paths, **options)
    assert {p.name for p in tmp_path.iterdir()} == before


def test_silence_of_no_length_is_told(tmp_path, face):
    audio.save(tmp_path / "none.wav", np.zeros(0, np.int16), 8000)
    with pytest.raises(ValueError, match=r"none\.wav"):
        run(face, tmp_path / "none.wav", tmp_path / "out.mp4")


def test_the_package_offers_both_functions():
    from lipsync_jax.synthesis import animation, dubbing

    assert lipsync_jax.synthesis.animate is animation.animate
    assert lipsync_jax.synthesis.generate is dubbing.generate
    with pytest.raises(AttributeError, match="nonesuch"):
        _ = lipsync_jax.synthesis.nonesuch
