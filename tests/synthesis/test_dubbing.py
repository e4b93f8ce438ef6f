"""Whole dubbing runs, with stand-ins for the network and the detector."""

from fractions import Fraction

import numpy as np
import pytest

from lipsync_jax import faces
from lipsync_jax.data import windows
from lipsync_jax.media import audio, containers, video_reader
from lipsync_jax.synthesis import blending, driving_audio, dubbing
from lipsync_jax.synthesis.dubbing_model import DubbingModel
from tests.helpers import media_files

SIZE = (96, 80)
FILM = Fraction(24000, 1001)


def scene(number: int, face: bool = True) -> np.ndarray:
    """Draws a moving green "face" on a texture; the corner encodes the frame's number."""
    image = np.random.default_rng(7).integers(90, 110, (SIZE[1], SIZE[0], 3), np.uint8)
    if face:
        left = 26 + number % 6
        image[12:64, left : left + 40] = (20, 190, 40)
    image[:8, :8] = 4 * number
    return image


def number_of(image: np.ndarray) -> int:
    return int(image[:8, :8].mean()) // 4


def detect(rgb: np.ndarray) -> list[faces.Face]:
    rows, columns = np.nonzero((rgb[..., 1] > 150) & (rgb[..., 0] < 90))
    if len(rows) < 200:
        return []
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)
    points = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.58], [0.35, 0.75], [0.65, 0.75]])
    return [faces.Face(box, 0.9, (box[:2] + points * (box[2:] - box[:2])).astype(np.float32))]


def write_face(path, times, rate=Fraction(25), faceless=(), lossless=True):
    with video_reader.VideoWriter(path, rate, SIZE, lossless=lossless) as writer:
        for i, time in enumerate(times):
            writer.write(scene(i, i not in faceless), time)
    return path


def write_audio(path, seconds=1.0, voiced=(0.0, 9.0)):
    samples = media_files.tone(220, seconds, 16_000)
    time = np.arange(len(samples)) / 16_000
    audio.save(path, np.where((time >= voiced[0]) & (time < voiced[1]), samples, 0), 16_000)
    return path


def black_or_white(audio_windows, faces_):
    """Returns white faces where the tone sounds at the frame's time, 40 ms into the window."""
    audio_received = audio_windows[:, 3].max(axis=1) > 0
    return np.broadcast_to(255 * audio_received[:, None, None, None], faces_.shape).astype(np.uint8)


def pipeline_of(draw=black_or_white):
    return dubbing.LipSyncPipeline(DubbingModel(draw, 48, "0123456789ab"))


def run(face, speech, outfile, draw=black_or_white, **options):
    options = {"detector": detect, "lossless": True, "match_colours": False, **options}
    result = pipeline_of(draw).generate(face, speech, outfile, **options)
    return result, list(video_reader.read_frames(outfile))


def regenerated_frames(frame: video_reader.Frame) -> bool:
    return not np.array_equal(frame.image, scene(number_of(frame.image)))


@pytest.mark.parametrize("rate", [FILM, 25, Fraction(30)])
@pytest.mark.parametrize(("frames", "seconds"), [(12, 1.3), (40, 0.9)])
def test_the_picture_lasts_as_long_as_the_voice(tmp_path, rate, frames, seconds):
    face = write_face(tmp_path / "face.mp4", media_files.uniform_times(frames, rate), rate)
    speech = write_audio(tmp_path / "voice.wav", seconds)
    result, shown = run(face, speech, tmp_path / "out.mp4")
    assert abs(result.duration - seconds) < 1 / rate
    assert result.frames == len(shown) == result.edited and not result.unchanged
    assert [f.time for f in shown] == media_files.uniform_times(len(shown), rate)
    assert video_reader.probe(tmp_path / "out.mp4").frame_rate == rate == result.frame_rate
    order = [*range(frames), *[*range(frames - 2, -1, -1), *range(1, frames)] * 2]
    assert [number_of(f.image) for f in shown] == order[: len(shown)]


@pytest.mark.parametrize("rate", [FILM, 25, Fraction(30), Fraction(60)])
def test_lips_move_at_the_moment_of_the_sound(tmp_path, rate):
    face = write_face(tmp_path / "face.mp4", media_files.uniform_times(16, rate), rate)
    speech = write_audio(tmp_path / "voice.wav", 1.2, voiced=(0.7, 1.2))
    _, shown = run(face, speech, tmp_path / "out.mp4")
    mouth = np.array([f.image[50:54, 46:52].mean() > 128 for f in shown])
    first = shown[int(np.argmax(mouth))].time
    assert not mouth[0] and mouth[-1]
    # A mel column reaches 25 ms to either side.
    assert abs(first - Fraction(7, 10)) <= Fraction(25, 1000) + 1 / Fraction(rate)


def test_uneven_times_are_kept_and_each_frame_hears_its_own(tmp_path):
    steps = np.random.default_rng(1).choice([1, 2, 4], 20)
    times = [Fraction(int(t), 50) for t in np.cumsum([0, *steps[:-1]])]
    face = write_face(tmp_path / "face.mp4", times)
    seconds = float(times[-1]) + 0.3
    speech = write_audio(tmp_path / "voice.wav", seconds, voiced=(0.33, 9))
    audio_received = []

    def draw(audio_windows, faces_):
        audio_received.extend(audio_windows)
        return faces_

    result, shown = run(face, speech, tmp_path / "out.mp4", draw, batch_size=4)
    assert [f.time for f in shown[:20]] == times
    mel = audio.mel_spectrogram(audio.load(speech, 16_000)[0])
    starts = windows.inference_starts_at([f.time for f in shown])
    np.testing.assert_allclose(
        audio_received[: len(shown)], windows.gather_windows(mel, starts), atol=1e-5
    )
    assert abs(result.duration - seconds) < 0.08


def test_all_values_outside_the_mouth_are_encoded_as_they_were_decoded(tmp_path):
    face = write_face(tmp_path / "face.mp4", media_files.uniform_times(8), lossless=False)
    speech = write_audio(tmp_path / "voice.wav", 0.32)
    # Lossless in YUV, so that conversions would be the only loss.
    options = {"lossless": False, "crf": 0, "preset": "ultrafast"}
    result, _ = run(face, speech, tmp_path / "out.mp4", **options)
    assert result.edited == result.frames == 8
    before, after = (
        [frame.image for frame in video_reader.read_frames(path, planes=True)]
        for path in (face, tmp_path / "out.mp4")
    )
    for old, new in zip(before, after, strict=True):
        for source, plane in zip(old.planes, new.planes, strict=True):
            changed = source != plane
            assert 0 < changed.mean() < 0.2
            assert not changed[: plane.shape[0] * 3 // 8].any()


@pytest.mark.parametrize("policy", ["keep", "hold"])
def test_frames_without_a_face(tmp_path, policy):
    gone = range(10, 30)
    face = write_face(tmp_path / "face.mp4", media_files.uniform_times(40), faceless=gone)
    speech = write_audio(tmp_path / "voice.wav", 1.6)
    options = {"detect_every": 1, "on_missing_face": policy}
    result, shown = run(face, speech, tmp_path / "out.mp4", **options)
    assert result.missing_intervals == ((0.4, 1.2),)
    for i, frame in enumerate(shown):
        untouched = np.array_equal(frame.image, scene(i, i not in gone))
        assert untouched == (i in gone and policy == "keep")
    assert (result.edited, result.unchanged) == ((20, 20) if policy == "keep" else (40, 0))


def test_missing_faces_as_an_error_leave_nothing(tmp_path):
    face = write_face(tmp_path / "face.mp4", media_files.uniform_times(40), faceless=range(10, 30))
    speech = write_audio(tmp_path / "voice.wav", 1.6)
    with pytest.raises(ValueError, match=r"face\.mp4: no face from second to second 0.40-1.20"):
        run(face, speech, tmp_path / "o" / "x.mp4", detect_every=1, on_missing_face="error")
    empty = write_face(tmp_path / "empty.mp4", media_files.uniform_times(5), faceless=range(5))
    with pytest.raises(ValueError, match=r"empty\.mp4: no face was found in any of 5 frames"):
        run(empty, speech, tmp_path / "o" / "x.mp4")
    short = write_audio(tmp_path / "short.wav", 0.4)
    late = write_face(tmp_path / "late.mp4", media_files.uniform_times(40), faceless=range(20))
    with pytest.raises(ValueError, match=r"late\.mp4: no face was found in any of 10 frames"):
        run(late, short, tmp_path / "o" / "x.mp4")
    assert not list((tmp_path / "o").iterdir())


def test_pixels_outside_the_mask_are_untouched(tmp_path):
    face = write_face(tmp_path / "face.mp4", media_files.uniform_times(8))
    speech = write_audio(tmp_path / "voice.wav", 0.32)
    options = {"smooth": False, "detect_every": 1}
    _, shown = run(face, speech, tmp_path / "out.mp4", **options)
    for i, frame in enumerate(shown):
        (found,) = detect(scene(i))
        box = faces.face_box(found.box, found.landmarks)
        mask = blending.mouth_mask(faces.to_crop(found.landmarks, box, 1), 48)
        outline = np.zeros(scene(i).shape, np.float32)
        inside = blending.blend(outline.astype(np.uint8), outline[:48, :48] + 255, mask, box) > 0
        changed = frame.image != scene(i)
        assert changed.any() and not (changed & ~inside).any()
        assert not changed[: int((box[1] + box[3]) / 2)].any()


def test_a_picture_becomes_a_video(tmp_path):
    face = tmp_path / "ein Gesicht 顔.png"
    video_reader.write_image(face, scene(3))
    speech = write_audio(tmp_path / "eine Stimme ü.wav", 0.7)
    result, shown = run(face, speech, tmp_path / "ein Film é.mp4", fps=30)
    assert result.frames == len(shown) == 21 and result.frame_rate == 30
    assert all(number_of(f.image) == 3 for f in shown) and result.edited == 21


def test_static_shows_the_first_frame_only(tmp_path):
    face = write_face(tmp_path / "face.mp4", media_files.uniform_times(8))
    speech = write_audio(tmp_path / "voice.wav", 0.6)
    result, shown = run(face, speech, tmp_path / "out.mp4", static=True)
    assert result.frames == 15 and {number_of(f.image) for f in shown} == {0}


@pytest.mark.parametrize(
    ("loop", "frames", "order"),
    [
        ("repeat", 15, [*range(10), *range(5)]),
        ("hold", 15, [*range(10), *[9] * 5]),
        ("none", 10, range(10)),
    ],
)
def test_what_follows_the_last_frame(tmp_path, loop, frames, order):
    face = write_face(tmp_path / "face.mp4", media_files.uniform_times(10))
    speech = write_audio(tmp_path / "voice.wav", 0.6)
    result, shown = run(face, speech, tmp_path / "out.mp4", loop=loop)
    assert result.frames == frames and [number_of(f.image) for f in shown] == list(order)


def test_the_sound_is_that_of_the_voice(tmp_path):
    face = write_face(tmp_path / "face.mp4", media_files.uniform_times(10))
    samples = np.zeros(24_000, np.float32)
    samples[10_000:10_100] = 0.9
    media_files.write_media(tmp_path / "voice.m4a", samples=samples, rate=24_000)
    run(face, tmp_path / "voice.m4a", tmp_path / "out.mp4")
    before = audio.load(tmp_path / "voice.m4a")[0]
    after, rate = audio.load_from_video_start(tmp_path / "out.mp4")
    assert rate == 24_000 and abs(int(np.argmax(after)) - int(np.argmax(before))) <= 1
    np.testing.assert_array_equal(after[:20_000], before[:20_000])  # copied


def test_sound_of_a_video_is_heard_from_its_first_picture_on(tmp_path):
    path = tmp_path / "late.mp4"
    media_files.write_media(
        path,
        media_files.uniform_times(25),
        media_files.tone(220, 0.7, 48_000),
        audio_start=Fraction(3, 10),
    )
    speech = driving_audio.load(path)
    assert abs(speech.duration - 1) < 0.05
    columns = speech.windows(np.arange(60))[:, 0]
    assert (columns[:18] < -3.9).all() and columns[30:].max() > 0


def test_pauses_show_the_original_or_get_silent_audio(tmp_path):
    face = write_face(tmp_path / "face.mp4", media_files.uniform_times(50))
    speech = write_audio(tmp_path / "voice.wav", 2, voiced=(0.8, 1.3))
    result, shown = run(face, speech, tmp_path / "a.mp4", silence_mode="passthrough")
    same = np.array([np.array_equal(f.image, scene(i)) for i, f in enumerate(shown)])
    assert same[:12].all() and same[42:].all() and not same[20:32].any()
    assert result.unchanged >= same[:12].sum() + same[42:].sum() and not result.missing_intervals

    audio_received = []
    options = {"silence_mode": "zero-audio", "batch_size": 50}
    run(face, speech, tmp_path / "b.mp4", lambda m, f: (audio_received.append(m), f)[1], **options)
    loud = audio_received[-1].max(axis=(1, 2))
    assert (loud[:12] == -4).all() and (loud[42:] == -4).all() and (loud[20:32] > 0).all()


def test_size_can_be_changed_first(tmp_path):
    face = write_face(tmp_path / "face.mp4", media_files.uniform_times(4))
    speech = write_audio(tmp_path / "voice.wav", 0.16)
    options = {"rotate": True, "crop": (2, 90, 0, -1), "box": (20, 60, 20, 60), "batch_size": 3}
    _, shown = run(face, speech, tmp_path / "a.mp4", **options)
    turned = np.rot90(scene(1), -1)[2:90]
    assert shown[1].image.shape == (88, 80, 3)
    np.testing.assert_array_equal(shown[1].image[:40], turned[:40])
    _, shown = run(face, speech, tmp_path / "b.mp4", resize_factor=2, min_face_height=0)
    assert shown[0].image.shape == (40, 48, 3)


def test_one_batch_shape_whatever_the_length(tmp_path):
    face = write_face(tmp_path / "face.mp4", media_files.uniform_times(25), faceless=range(16, 25))
    shapes = set()

    def draw(audio_windows, faces_):
        shapes.add((audio_windows.shape, audio_windows.dtype.name, faces_.shape, faces_.dtype.name))
        return faces_

    for seconds in (0.3, 0.9):
        speech = write_audio(tmp_path / "voice.wav", seconds)
        run(face, speech, tmp_path / "out.mp4", draw, batch_size=8)
    assert shapes == {((8, 16, 80), "float32", (8, 48, 48, 3), "uint8")}


@pytest.mark.parametrize("stage", ["draw", "detect", "progress"])
def test_a_failure_leaves_no_file_and_no_thread(tmp_path, stage):
    import threading

    face = write_face(tmp_path / "face.mp4", media_files.uniform_times(30))
    speech = write_audio(tmp_path / "voice.wav", 3)
    calls = []

    def fail(limit, otherwise, *arguments):
        calls.append(1)
        if len(calls) > limit:
            raise RuntimeError("broken")
        return otherwise(*arguments)

    options = {
        "draw": {"draw": lambda m, f: fail(2, black_or_white, m, f)},
        "detect": {"detector": lambda rgb: fail(5, detect, rgb)},
        "progress": {"on_progress": lambda progress: fail(45, bool, progress)},
    }[stage]
    (tmp_path / "out.mp4").write_bytes(b"an older one")
    with pytest.raises(RuntimeError, match="broken") as _error:  # keeps the stack alive
        run(face, speech, tmp_path / "out.mp4", batch_size=4, **options)
    assert (tmp_path / "out.mp4").read_bytes() == b"an older one"
    assert {p.name for p in tmp_path.iterdir()} == {"face.mp4", "voice.wav", "out.mp4"}
    assert not [t for t in threading.enumerate() if t.name.startswith("lipsync")]


def test_progress_covers_both_passes(tmp_path):
    face = write_face(tmp_path / "face.mp4", media_files.uniform_times(10))
    speech = write_audio(tmp_path / "voice.wav", 0.8)
    captured = []
    run(face, speech, tmp_path / "out.mp4", on_progress=captured.append)
    searched = [p.done for p in captured if p.stage == "faces"]
    assert searched == sorted(set(searched)) and searched[-1] == 10
    assert [(p.stage, p.done, p.total) for p in captured[len(searched) :]] == [
        ("generate", i, 20) for i in range(1, 21)
    ]


def test_the_file_says_that_it_is_synthetic(tmp_path):
    face = write_face(tmp_path / "face.mp4", media_files.uniform_times(3))
    run(face, write_audio(tmp_path / "voice.wav", 0.1), tmp_path / "out.mp4")
    with containers.open_container(tmp_path / "out.mp4") as container:
        comment = container.metadata["comment"]
    assert "synthetic" in comment and "lipsync_jax" in comment and "0123456789ab" in comment


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"face": "gone.mp4"}, "`face` .*gone.mp4 does not exist; check"),
        ({"audio": "gone.wav"}, "`audio` .*gone.wav does not exist; check"),
        ({"face": "voice.wav"}, "`face` .*voice.wav has no video stream; name"),
        ({"audio": "face.mp4"}, "`audio` .*face.mp4 has no audio stream; name"),
        ({"face": "noise.mp4"}, "`face` .*noise.mp4 cannot be read"),
        ({"outfile": "."}, "`outfile` .* is a folder; give"),
        ({"outfile": "face.mp4"}, "`outfile` .*face.mp4 is also the `face`.*; give another"),
        ({"face_ref": "noise.mp4"}, "`face_ref` noise.mp4 does not exist"),
        ({"outfile": "out.avi"}, r"`outfile` .*out.avi: a video is written as one of \.mp4"),
        ({"outfile": "voice.wav/out.mp4"}, "the folder can't be made"),
        ({"codec": "nonesuch"}, "codec 'nonesuch' cannot be written"),
        ({"codec": "aac"}, "codec 'aac' cannot be written there; use libx264"),
        ({"fps": Fraction(1, 10**9)}, "`fps`=1/1000000000: give 1 to 1000 frames a second"),
        ({"fps": 1e9}, "`fps`=1000000000.0: give 1 to 1000 frames a second"),
        ({"outfile": "n" * 300 + ".mp4"}, "`outfile` .* can't be written .*; give another path"),
        (
            {"face": "o.preview.png", "outfile": "o.mp4", "preview": 1},
            "`outfile` .*o.preview.png is also the .*face.*, which would be overwritten",
        ),
        ({"preset": "nonesuch"}, "the encoder refuses its settings"),
        ({"crf": 99}, "`crf`=99: give 0 to 51"),
        (
            {"silence_mode": "loud"},
            "`silence_mode`='loud' is unknown; choose from model, zero-audio",
        ),
        ({"loop": "twice"}, "`loop`='twice' is unknown; choose"),
        ({"detect_every": 0}, "`detect_every`=0: give a number above 0"),
        ({"pads": (1, 2)}, r"`pads`=\(1, 2\): give four numbers"),
        ({"box": (10, 5, 0, 20)}, "does not lie in the 96x80 frames"),
        ({"crop": (70, 20, 0, -1)}, "leaves nothing of its frames"),
        ({"detector": "nonesuch"}, "no face detector 'nonesuch'; choose"),
    ],
)
def test_mistakes_are_reported_before_work(tmp_path, change, message):
    write_face(tmp_path / "face.mp4", media_files.uniform_times(2))
    write_audio(tmp_path / "voice.wav", 0.1)
    (tmp_path / "noise.mp4").write_bytes(b"\1\2\3" * 99)
    video_reader.write_image(tmp_path / "o.preview.png", np.zeros((80, 96, 3), np.uint8))
    files = {"face": "face.mp4", "audio": "voice.wav", "outfile": "out.mp4"}
    paths = {name: tmp_path / change.get(name, file) for name, file in files.items()}
    options = {"detector": detect} | {k: v for k, v in change.items() if k not in files}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        pipeline_of().generate(**paths, **options)
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {"face.mp4", "voice.wav", "noise.mp4", "o.preview.png"}
