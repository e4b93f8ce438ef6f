"""Muxing of audio and video: in sync, complete, copied where possible."""

import errno
import os
import sys
from fractions import Fraction

import av
import numpy as np
import pytest

from lipsync_jax.media import audio, audio_track, video_reader
from tests.helpers import media_files

RATE = 48_000
SIZE = (media_files.WIDTH, media_files.HEIGHT)


def codecs(path):
    with av.open(str(path)) as container:
        return [stream.codec_context.codec.canonical_name for stream in container.streams]


def click_time(path):
    """Returns the time of the click of `media_files.click` after the first video frame."""
    samples, rate = audio.load_from_video_start(path)
    return np.argmax(np.abs(samples) > 0.3) / rate


def encode(source, path, **options):
    """Decodes and encodes a file's frames, with its audio."""
    with video_reader.VideoWriter(
        path, 25, SIZE, preset="ultrafast", audio=source, **options
    ) as writer:
        for frame in video_reader.read_frames(source):
            writer.write(frame.image)


@pytest.fixture(scope="module")
def silent(tmp_path_factory):
    """Writes a second of video whose frames are stored out of order."""
    return media_files.write_media(
        tmp_path_factory.mktemp("silent") / "a.mp4", media_files.uniform_times(25)
    )


@pytest.mark.parametrize("outfile", ["o.mp4", "o.mkv", "o.mov", "o.m4v"])
@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "aac"),
        ("a.mkv", "aac"),
        ("a.mkv", "pcm_s16le"),
        ("a.mp4", "libmp3lame"),
        ("a.mkv", "libopus"),
        ("a.mov", "alac"),
    ],
)
@pytest.mark.parametrize("late", [Fraction(0), Fraction(1, 5), Fraction(-1, 5)])
def test_audio_stays_in_sync(tmp_path, name, codec, outfile, late):
    """The click keeps its distance from the first frame, copied or encoded."""
    source = media_files.write_media(
        tmp_path / name,
        media_files.uniform_times(25, start=max(-late, 0)),
        media_files.click(0.5, 1, RATE),
        rate=RATE,
        audio_start=max(late, 0),
        audio_codec=codec,
    )
    video_reader.mux(source, source, tmp_path / outfile)
    assert click_time(tmp_path / outfile) == pytest.approx(0.5 + float(late), abs=0.002)
    times = [frame.time for frame in video_reader.read_frames(tmp_path / outfile)]
    assert len(times) == 25
    for time, expected in zip(times, media_files.uniform_times(25), strict=True):
        assert abs(time - expected) <= (Fraction(1, 1000) if ".mkv" in name + outfile else 0)
    encode(source, tmp_path / f"anew_{outfile}")
    assert click_time(tmp_path / f"anew_{outfile}") == pytest.approx(0.5 + float(late), abs=0.002)


@pytest.mark.parametrize(
    ("codec", "outfile", "copied"),
    [
        ("aac", "o.mp4", True),
        ("aac", "o.mkv", True),
        ("libmp3lame", "o.mp4", True),
        ("libopus", "o.mp4", True),
        ("libopus", "o.mov", False),
        ("pcm_s16le", "o.mp4", False),
        ("pcm_s16le", "o.mov", True),
        ("flac", "o.mp4", False),
        ("flac", "o.mkv", True),
    ],
)
def test_audio_is_copied_where_players_support_it(tmp_path, silent, codec, outfile, copied):
    sound = media_files.tone(440, 0.5, RATE)
    source = media_files.write_media(tmp_path / "a.mkv", (), sound, rate=RATE, audio_codec=codec)
    video_reader.mux(silent, source, tmp_path / outfile)
    (own,), (picture, copy) = codecs(source), codecs(tmp_path / outfile)
    assert (picture, copy) == ("h264", own if copied else "aac")
    video_reader.mux(silent, source, tmp_path / "anew.mkv", copy_audio=False)
    assert codecs(tmp_path / "anew.mkv") == ["h264", "aac"]
    before, after = audio.load(source)[0], audio.load(tmp_path / outfile)[0]
    assert len(after) >= len(before)
    if copied and codec not in ("libopus", "libmp3lame"):  # .mkv rounds their delay
        np.testing.assert_allclose(before, after[: len(before)], atol=1e-6)


@pytest.mark.parametrize("outfile", ["o.mp4", "o.mkv"])
@pytest.mark.parametrize("codec", ["pcm_s16le", "aac"])
def test_no_audio_is_lost_after_the_video(tmp_path, silent, codec, outfile):
    """The video lasts 1 s; the click is at 1.9 s of 2."""
    sound = media_files.click(1.9, 2, RATE)
    source = media_files.write_media(tmp_path / "a.mkv", (), sound, rate=RATE, audio_codec=codec)
    video_reader.mux(silent, source, tmp_path / outfile)
    assert click_time(tmp_path / outfile) == pytest.approx(1.9, abs=0.002)
    assert len(audio.load(tmp_path / outfile)[0]) >= 2 * RATE
    video_reader.mux(silent, source, tmp_path / outfile, shortest=True)
    assert 1 * RATE <= len(audio.load(tmp_path / outfile)[0]) <= 1.1 * RATE
    with video_reader.VideoWriter(
        tmp_path / "w.mp4", 25, SIZE, preset="ultrafast", audio=source, shortest=True
    ) as writer:
        for index in range(25):
            writer.write(media_files.grey_image(index))
    assert 1 * RATE <= len(audio.load(tmp_path / "w.mp4")[0]) <= 1.1 * RATE
    assert video_reader.probe(tmp_path / "w.mp4").duration == 1


@pytest.mark.parametrize("rate", [8000, 22_050, 11_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_wav_becomes_aac(tmp_path, silent, rate, channels):
    tone = np.stack([media_files.tone(440 * (i + 1), 0.5, rate) for i in range(channels)], axis=1)
    audio.save(tmp_path / "a.wav", tone, rate)
    video_reader.mux(silent, tmp_path / "a.wav", tmp_path / "o.mp4")
    samples, own = audio.load(tmp_path / "o.mp4", mono=False)
    assert samples.shape[1] == channels
    assert 0.5 <= len(samples) / own <= 0.5 + 2 * 1024 / own
    for channel in range(channels):
        middle = samples[own // 10 : own * 4 // 10, channel]
        assert np.abs(np.fft.rfft(middle)).argmax() / 0.3 == pytest.approx(
            440 * (channel + 1), 0.01
        )


def test_too_many_channels_are_refused(tmp_path, silent):
    audio.save(tmp_path / "a.wav", np.zeros((800, 9), np.int16), 8000)
    with pytest.raises(
        ValueError, match="its 9 channels is unknown; convert its audio to stereo first"
    ):
        video_reader.mux(silent, tmp_path / "a.wav", tmp_path / "o.mp4")
    assert not (tmp_path / "o.mp4").exists()


@pytest.mark.parametrize(
    ("name", "codec", "tick"),
    [
        ("a.mp4", "libx264", media_files.TICK),
        ("a.mkv", "libx264", media_files.TICK),
        ("a.ts", "libx264", media_files.TICK),
        ("a.mpg", "mpeg1video", Fraction(1, 25)),
        ("a.avi", "mpeg4", Fraction(1, 25)),
    ],
)
def test_video_is_copied_frame_by_frame(tmp_path, name, codec, tick):
    source = media_files.write_media(
        tmp_path / name, media_files.uniform_times(25, start=0), codec=codec, tick=tick
    )
    audio.save(tmp_path / "a.wav", media_files.tone(440, 1, 16_000), 16_000)
    for outfile in (tmp_path / "o.mp4", tmp_path / "o.mkv"):
        video_reader.mux(source, tmp_path / "a.wav", outfile)
        copies = list(video_reader.read_frames(outfile))
        assert [frame.time for frame in copies] == media_files.uniform_times(25)
        for frame, copy in zip(video_reader.read_frames(source), copies, strict=True):
            np.testing.assert_array_equal(frame.image, copy.image)
        assert video_reader.probe(outfile).frame_rate == 25
        assert video_reader.probe(tmp_path / "o.mp4").duration == 1


def test_rotation_and_tags_are_kept(tmp_path):
    source = media_files.write_media(
        tmp_path / "a.mp4", media_files.uniform_times(5), media_files.click(0, 1, RATE), rotation=90
    )
    video_reader.mux(source, source, tmp_path / "o.mp4", metadata={"title": "turned"})
    assert video_reader.probe(tmp_path / "o.mp4").rotation == 90
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert container.metadata["title"] == "turned"


def test_uneven_times_are_kept(tmp_path):
    uneven = [Fraction(0), Fraction(1, 30), Fraction(1, 10), Fraction(11, 90), Fraction(1, 2)]
    source = media_files.write_media(tmp_path / "a.mp4", uneven, media_files.click(0.3, 1, RATE))
    video_reader.mux(source, source, tmp_path / "o.mp4")
    assert [frame.time for frame in video_reader.read_frames(tmp_path / "o.mp4")] == uneven


def test_the_output_may_be_the_input(tmp_path):
    path = media_files.write_media(
        tmp_path / "a.mp4", media_files.uniform_times(25), media_files.click(0.2, 1, RATE)
    )
    audio.save(tmp_path / "b.wav", media_files.click(0.7, 1, RATE), RATE)
    video_reader.mux(path, tmp_path / "b.wav", path)
    assert click_time(path) == pytest.approx(0.7, abs=0.002)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.mp4", "b.wav"]


def test_failures_are_errors_and_leave_no_file(tmp_path, silent):
    audio.save(tmp_path / "a.wav", media_files.click(0.2, 1, 16_000), 16_000)
    reordered = media_files.write_media(
        tmp_path / "b.avi", media_files.uniform_times(25), tick=Fraction(1, 25)
    )
    old = media_files.write_media(
        tmp_path / "c.avi", media_files.uniform_times(3), codec="msmpeg4v2", tick=Fraction(1, 25)
    )
    (tmp_path / "o.mp4").write_bytes(b"what was there")
    here = sorted(tmp_path.iterdir())
    for picture, sound, outfile, error, message in [
        (silent, silent, "o.mp4", ValueError, "no audio stream"),
        (tmp_path / "a.wav", tmp_path / "a.wav", "o.mp4", ValueError, "has no video stream"),
        (tmp_path / "none.mp4", tmp_path / "a.wav", "o.mp4", FileNotFoundError, "does not exist"),
        (silent, tmp_path / "none.wav", "o.mp4", FileNotFoundError, "does not exist"),
        (silent, tmp_path / "a.wav", "o.webm", ValueError, "written as one of"),
        (reordered, tmp_path / "a.wav", "o.mp4", ValueError, "convert it to .mp4 first"),
        (old, tmp_path / "a.wav", "o.mp4", ValueError, "cannot hold msmpeg4v2 video; write .mkv"),
    ]:
        with pytest.raises(error, match=message):
            video_reader.mux(picture, sound, tmp_path / outfile)
    assert sorted(tmp_path.iterdir()) == here
    assert (tmp_path / "o.mp4").read_bytes() == b"what was there"


def test_a_full_disk_is_not_blamed_on_the_audio(tmp_path, silent, monkeypatch):
    audio.save(tmp_path / "a.wav", media_files.click(0.2, 1, 16_000), 16_000)

    def encode(track, *_):
        track._output.add_stream("aac", rate=16_000, layout="mono")
        yield
        av.error.err_check(-errno.ENOSPC)

    monkeypatch.setattr(audio_track.AudioTrack, "_encoded", encode)
    with pytest.raises(ValueError, match=r"o\.mp4 cannot be written \(No space .*make room"):
        video_reader.mux(silent, tmp_path / "a.wav", tmp_path / "o.mp4")
    assert not [*tmp_path.glob("*o*.mp4")]


def many(path, subtitles=True):
    """A video with two languages, chapters and, by way of a text file, subtitles."""
    (path.parent / "a.srt").write_text("1\n00:00:00,200 --> 00:00:00,700\nhello\n")
    with av.open(str(path.parent / "a.srt")) as text, av.open(str(path), "w") as out:
        picture = out.add_stream("libx264", rate=25)
        picture.width, picture.height, picture.pix_fmt = *SIZE, "yuv420p"
        tracks = [out.add_stream("aac", rate=RATE, layout="mono") for _ in range(2)]
        for track, language in zip(tracks, ("fra", "deu"), strict=True):
            track.metadata["language"] = language
        words = out.add_stream_from_template(text.streams.subtitles[0]) if subtitles else None
        tick = Fraction(1, 1000)
        ends = [(0, 400, "one"), (400, 1000, "two")]
        out.set_chapters([
            {"id": i, "start": a, "end": b, "time_base": tick, "metadata": {"title": name}}
            for i, (a, b, name) in enumerate(ends, 1)
        ])  # fmt: skip
        media_files.encode_grey_images(out, picture, 25)
        for track, at in zip(tracks, (0.3, 0.6), strict=True):
            media_files.encode_audio(out, track, media_files.click(at, 1, RATE)[:, None], RATE, 0)
        for packet in text.demux() if subtitles else ():
            if packet.size:
                packet.stream = words
                out.mux(packet)
    return path


def inside(path):
    with av.open(str(path)) as container:
        kinds = [(s.type, dict(s.metadata).get("language")) for s in container.streams]
        names = [chapter["metadata"]["title"] for chapter in container.chapters()]
    return [kind for kind in kinds if kind[0] != "data"], names


def test_further_tracks_subtitles_and_chapters_are_kept(tmp_path):
    source = many(tmp_path / "a.mkv")
    assert video_reader.mux(source, source, tmp_path / "o.mkv", delay=Fraction(1, 10)) == ()
    kinds, names = inside(tmp_path / "o.mkv")
    assert kinds == [
        ("video", None), ("audio", "fra"), ("audio", "deu"), ("subtitle", None)
    ]  # fmt: skip
    assert names == ["one", "two"]
    with av.open(str(tmp_path / "o.mkv")) as container:
        words = [p for p in container.demux(subtitles=0) if p.size]
        clicks = []
        for track in range(2):
            container.seek(0)
            frames = list(container.decode(audio=track))
            first = float(frames[0].pts * Fraction(1, 1000))
            sound = np.concatenate([frame.to_ndarray()[0] for frame in frames])
            clicks.append(first + np.argmax(np.abs(sound) > 0.3) / RATE)
    assert (words[0].pts, bytes(words[0])) == (200, b"hello")
    np.testing.assert_allclose(clicks, [0.4, 0.7], atol=0.03)


def test_streams_that_the_output_cannot_hold_are_reported(tmp_path):
    source = many(tmp_path / "a.mkv")
    assert video_reader.mux(source, source, tmp_path / "o.mp4") == ("1 subtitle track (subrip)",)
    kinds, names = inside(tmp_path / "o.mp4")
    assert [kind for kind, _ in kinds] == ["video", "audio", "audio"]
    assert names == ["one", "two"]
    audio.save(tmp_path / "b.wav", media_files.click(0.5, 1, RATE), RATE)
    assert video_reader.mux(source, tmp_path / "b.wav", tmp_path / "p.mkv") == ()
    assert [kind for kind, _ in inside(tmp_path / "p.mkv")[0]] == ["video", "audio", "subtitle"]
    assert set(video_reader.probe(source).extra_streams) == {
        "1 further audio track (aac)", "1 subtitle track (subrip)", "2 chapters"
    }  # fmt: skip


def test_names_that_are_not_utf8_are_no_obstacle(tmp_path):
    source = many(tmp_path / "a.mkv")
    data = source.read_bytes()
    assert data.count(b"two") == 1 and data.count(b"deu") == 1
    source.write_bytes(data.replace(b"two", b"tw\xe9").replace(b"deu", b"d\xe9u"))
    assert video_reader.probe(source).width == SIZE[0]
    video_reader.mux(source, source, tmp_path / "o.mkv")
    assert len(list(video_reader.read_frames(tmp_path / "o.mkv"))) == 25


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_an_output_may_have_a_name_that_is_not_utf8(tmp_path):
    source, out = many(tmp_path / "a.mkv"), tmp_path / os.fsdecode(b"caf\xe9.mkv")
    video_reader.mux(source, source, out)
    assert len(list(video_reader.read_frames(out))) == 25
