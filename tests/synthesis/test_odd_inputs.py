"""Whatever is given, there is a result or one clear sentence, and never a traceback."""

import itertools
from fractions import Fraction

import av
import numpy as np
import pytest

from lipsync_jax.cli import main
from lipsync_jax.media import audio, frame_source, timeline, video_reader
from lipsync_jax.synthesis import dubbing
from tests.helpers import colour_faces, media_files, scenes
from tests.helpers.scenes import LEFT, RIGHT
from tests.media.test_mux import many
from tests.media.test_pixels import encode

# Damage is the subject here: the warning that counts it is no fault.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(damaged .* packets were skipped|s of audio are lost)"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(dubbing.LipSyncPipeline, "load", lambda _: scenes.lip_sync_pipeline())
    monkeypatch.setattr("lipsync_jax.faces.tracking.get_detector", lambda _: colour_faces.detect)
    monkeypatch.chdir(tmp_path)
    scenes.write_scenes(tmp_path / "film.mkv", [(LEFT, RIGHT)])
    scenes.write_tone(tmp_path / "voice.wav", 0.2)
    return tmp_path


def run(capsys, face="film.mkv", voice="voice.wav", out="out.mp4", *words):
    """The exit status and what was said; asserts that an error is one line and leaves nothing."""
    status = main.main(
        ["dub", "--checkpoint-path=c", f"--face={face}", f"--audio={voice}",
         f"--outfile={out}", "--preset=ultrafast", *words]
    )  # fmt: skip
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    if status:
        assert status == 1 and said.err.splitlines()[-1].startswith("lipsync dub: ")
    return status, said.out + said.err


def cut(path, part):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])


@pytest.mark.parametrize("part", [0, 0.001, 0.3, 0.9])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_truncated_videos(folder, capsys, part, suffix):
    face = folder / f"cut.{suffix}"
    images = [colour_faces.face_image(LEFT, size=(48, 64))] * 20
    media_files.write_media(
        face,
        media_files.uniform_times(20),
        media_files.tone(200, 0.8, 48_000),
        images=images,
        audio_codec="mp3" if suffix == "avi" else "aac",
    )
    cut(face, part)
    status, said = run(capsys, face.name, "voice.wav", "out.mp4", "--box", "4", "40", "4", "40")
    if status:
        assert f"cut.{suffix}" in said and not (folder / "out.mp4").exists()
    status, said = run(capsys, "film.mkv", face.name)
    if status:
        assert f"cut.{suffix}" in said


@pytest.mark.parametrize("part", [0, 0.001, 0.02, 0.5])
def test_truncated_voices(folder, capsys, part):
    cut(folder / "voice.wav", part)
    status, said = run(capsys)
    assert status == (part < 0.02) and (not status or "voice.wav" in said)


def test_bytes_that_mean_nothing(folder, capsys):
    rng = np.random.default_rng(0)
    for name in ("x.mp4", "x.png", "x.gif", "x.wav", "x"):
        (folder / name).write_bytes(rng.bytes(3000))
        for files in ((name, "voice.wav"), ("film.mkv", name)):
            status, said = run(capsys, *files)
            assert status == 1 and name in said
    original = (folder / "film.mkv").read_bytes()
    for seed in range(6):
        damaged = np.frombuffer(original, np.uint8).copy()
        rng = np.random.default_rng(seed)
        damaged[rng.integers(100, len(damaged), 20)] = rng.integers(0, 256, 20)
        (folder / "damaged.mkv").write_bytes(damaged.tobytes())
        run(capsys, "damaged.mkv")


def test_a_video_without_sound_is_no_voice(folder, capsys):
    status, said = run(capsys, voice="film.mkv")
    assert status == 1 and "film.mkv has no audio stream; name a file with audio" in said


def test_one_frame_and_one_sample(folder, capsys):
    scenes.write_scenes(folder / "one.mp4", [(LEFT, None)], frames=1)
    status, said = run(capsys, "one.mp4")
    assert status == 0 and "5 frames edited" in said
    audio.save(folder / "short.wav", np.zeros(1, np.int16), 16_000)
    status, said = run(capsys, "film.mkv", "short.wav")
    assert status == 0 and "1 frames edited" in said


@pytest.mark.parametrize("name", ["alpha.png", "palette.gif", "grey.png", "deep.png"])
def test_pictures_of_every_kind(folder, capsys, name):
    import cv2

    image = colour_faces.face_image(LEFT, size=(81, 121))
    if name == "alpha.png":
        alpha = np.full(image.shape[:2], 128, np.uint8)
        cv2.imwrite(name, np.dstack([image[..., ::-1], alpha]))
    elif name == "palette.gif":
        with av.open(name, "w") as container:
            stream = container.add_stream("gif", rate=10)
            stream.width, stream.height, stream.pix_fmt = 120, 80, "rgb8"
            for i in range(4):
                moved = colour_faces.face_image(tuple(v + i for v in LEFT), size=(80, 120))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, "rgb24")))
            container.mux(stream.encode(None))
    elif name == "grey.png":
        cv2.imwrite(name, image[..., 0])
    else:
        cv2.imwrite(name, image.astype(np.uint16) * 257)
    status, said = run(capsys, name, "voice.wav", "out.mp4", "--box", "12", "60", "10", "46")
    assert status == 0, said
    info = video_reader.probe("out.mp4")
    assert (info.width, info.height) == ((120, 80) if "gif" in name else (122, 82))
    assert abs(info.duration - 0.2) <= 0.1


@pytest.mark.parametrize(
    "name", ["with space", "dots.in.name", "日本 ü'\"", "-leading", "a:b%d", "$HOME;ls", "[x]*"]
)
def test_names_of_every_kind(folder, capsys, name):
    (folder / "film.mkv").rename(folder / f"{name}.mkv")
    (folder / "voice.wav").rename(folder / f"{name}.wav")
    out = f"{name} out/{name}.MP4"
    status, said = run(capsys, f"{name}.mkv", f"{name}.wav", out, "--preview", "1")
    assert status == 0, said
    assert (folder / out).is_file() and (folder / f"{name} out/{name}.preview.png").is_file()
    assert main.main(["verify", "--", out]) == 0
    assert main.main(["list-faces", "--detect-every=1", "--", f"{name}.mkv"]) == 0
    assert (folder / f"{name}.faces.png").is_file()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 300), (301, 3), (17, 33)])
def test_tiny_and_narrow_pictures(folder, capsys, width, height):
    video_reader.write_image(folder / "small.png", np.full((height, width, 3), 90, np.uint8))
    status, said = run(capsys, "small.png")
    assert status == 1 and "small.png: no face was found" in said
    assert "give the face's box with --box" in said
    box = ["--box", "0", str(height), "0", str(width)]
    status, said = run(capsys, "small.png", "voice.wav", "out.mkv", "--codec", "libx264", *box)
    assert status == 0 or "size" in said or "encoder" in said


@pytest.mark.slow
def test_eight_thousand_pixels_and_odd(folder, capsys):
    image = np.full((4321, 7681, 3), (40, 40, 60), np.uint8)
    image[1000:2500, 3000:4200] = (255, 0, 0)
    video_reader.write_image(folder / "large.png", image)
    scenes.write_tone(folder / "short.wav", 0.08)
    box = ["--box", "1000", "2500", "3000", "4200"]
    status, said = run(capsys, "large.png", "short.wav", "out.mp4", *box)
    assert status == 0, said
    info = video_reader.probe("out.mp4")
    assert (info.width, info.height) == (7682, 4322)


def test_the_colours_of_hlg_video_stay_tagged(folder, capsys):
    images = [colour_faces.face_image(LEFT)] * 5
    size = images[0].shape[1::-1]
    with video_reader.VideoWriter(folder / "hlg.mp4", 25, size, colours=(9, 18, 9)) as writer:
        for image in images:
            writer.write(image)
    status, said = run(capsys, "hlg.mp4")
    assert status == 0, said
    assert video_reader.probe(folder / "out.mp4").colours == (9, 18, 9)


@pytest.mark.parametrize("rate", [1, 3, 5])
def test_no_frame_of_a_slow_video_stands_still(folder, capsys, rate):
    with video_reader.VideoWriter(folder / "slow.mkv", rate, scenes.SIZE, lossless=True) as writer:
        for _ in range(3):
            writer.write(colour_faces.face_image(LEFT, size=scenes.SIZE[::-1]))
    scenes.write_tone(folder / "long.wav", 1.3)
    status, said = run(capsys, "slow.mkv", "long.wav", "out.mp4")
    assert status == 0, said
    times = [frame.time for frame in video_reader.read_frames(folder / "out.mp4")]
    assert max(b - a for a, b in itertools.pairwise(times)) <= timeline.MAX_FRAME_DURATION
    assert abs(video_reader.probe(folder / "out.mp4").duration - Fraction(13, 10)) < Fraction(1, 10)


def test_what_is_done_or_lost_is_said(folder, capsys):
    interlaced = [colour_faces.face_image(LEFT, size=(80, 120)) for _ in range(10)]
    options = {"flags": "+ildct+ilme", "x264-params": "tff=1", "crf": "4"}
    encode(folder / "woven.mp4", interlaced, options=options)
    status, said = run(capsys, "woven.mp4", "voice.wav", "out.mp4", "--min-face-height", "0")
    assert status == 0 and "woven.mp4 is interlaced: its frames are deinterlaced" in said
    many(folder / "many.mkv")
    status, said = run(capsys, "many.mkv", "voice.wav", "out.mp4", "--box", "4", "40", "4", "40")
    assert status == 0
    assert "many.mkv: not kept: 1 further audio track (aac), 1 subtitle track (subrip), 2" in said


@pytest.mark.parametrize("error", [IndexError("index 8"), av.error.ExternalError(1, "broken")])
def test_no_error_of_a_decoder_ends_a_batch_or_shows_a_traceback(
    folder, capsys, monkeypatch, error
):
    def failing(path, *_):
        if "film" in str(path):
            raise error
        return original(path)

    original = frame_source.open_frame_source
    lines = ["face,audio,outfile", "film.mkv,voice.wav,1.mp4", "other.mkv,voice.wav,2.mp4"]
    (folder / "list.csv").write_text("\n".join(lines))
    scenes.write_scenes(folder / "other.mkv", [(LEFT, None)])
    monkeypatch.setattr(frame_source, "open_frame_source", lambda path, **_: failing(path))
    words = ["--manifest", "list.csv", "--preset", "ultrafast"]
    assert main.main(["dub", "--checkpoint-path=c", *words]) == 1
    said = capsys.readouterr()
    assert "1 of 2 made, 1 failed" in said.out and (folder / "2.mp4").is_file()
    assert "Traceback" not in said.err + said.out
    if isinstance(error, av.error.FFmpegError):
        status, said = run(capsys)
        assert status == 1 and "film.mkv and voice.wav could not be used" in said


@pytest.mark.parametrize("name", ["list.m3u8", "list.ffconcat", "notes.txt"])
def test_lists_and_texts_are_no_faces(folder, capsys, name):
    text = {
        "m3u8": "#EXTM3U\n#EXTINF:1,\nfilm.mkv\n",
        "ffconcat": "ffconcat version 1.0\nfile film.mkv\n",
    }
    (folder / name).write_text(text.get(name.partition(".")[2], "a text of some words\n" * 40))
    for files in ((name, "voice.wav"), ("film.mkv", name)):
        status, said = run(capsys, *files)
        assert status == 1 and name in said
        assert ("list of other files" if "list" in name else "it holds text") in said
