"""Opening only media, choosing the main stream, and one clock through joined and damaged files."""

import os
import re
import warnings
from fractions import Fraction

import av
import numpy as np
import pytest

from lipsync_jax.media import audio, containers, packets, samples, video_reader
from tests.helpers import media_files

RATE = 48_000


def joined(path, pieces):
    """One file of the bytes of several."""
    path.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    return path


def clicks(path):
    """Returns the times of clicks after the first video frame, to the centisecond."""
    sound, rate = audio.load_from_video_start(path)
    loud = np.flatnonzero(np.abs(sound) > 0.3) / rate
    return sorted({round(float(t), 2) for t in loud[np.diff(loud, prepend=-1) > 0.1]})


@pytest.fixture
def piece(tmp_path):
    """Writes a second of grey frames with a click at 0.5 s."""
    return media_files.write_media(
        tmp_path / "piece.ts", media_files.uniform_times(25), media_files.click(0.5, 1, RATE)
    )


@pytest.mark.parametrize("count", [2, 3])
def test_joined_transport_streams_go_on_in_step(tmp_path, piece, count):
    path = joined(tmp_path / "a.ts", [piece] * count)
    frames = list(video_reader.read_frames(path))
    assert len(frames) == 25 * count
    starts = [float(frame.time) for frame in frames[::25]]
    heard = clicks(path)
    assert len(heard) == count
    for start, click in zip(starts, heard, strict=True):  # sound outlasts the picture a little
        assert click - start == pytest.approx(0.5, abs=0.011)
    assert starts[1] == pytest.approx(1, abs=0.1)
    later = list(video_reader.read_frames(path, start=frames[30].time))
    assert [frame.time for frame in later] == [frame.time for frame in frames[30:]]
    np.testing.assert_array_equal(later[0].image, frames[30].image)


def test_many_joined_pieces_stay_in_step(tmp_path):
    """Their audio ends 0.2 s before their video."""
    piece = media_files.write_media(
        tmp_path / "1.ts", media_files.uniform_times(25), media_files.click(0.5, 0.8, RATE)
    )
    path = joined(tmp_path / "a.ts", [piece] * 6)
    starts = [float(frame.time) for frame in video_reader.read_frames(path)][::25]
    np.testing.assert_allclose(np.subtract(clicks(path), starts), 0.5, atol=0.011)


@pytest.mark.parametrize("outfile", ["o.mp4", "o.mkv"])
def test_joined_transport_streams_are_copied_completely(tmp_path, piece, outfile):
    path = joined(tmp_path / "a.ts", [piece] * 2)
    out = tmp_path / outfile
    video_reader.mux(path, path, out)
    assert len(list(video_reader.read_frames(out))) == 50
    np.testing.assert_allclose(clicks(out), clicks(path), atol=0.02)
    video_reader.mux(path, path, out, delay=Fraction(1, 5))
    np.testing.assert_allclose(clicks(out), np.add(clicks(path), 0.2), atol=0.02)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.ogg", "libopus"), ("a.ts", "aac"), ("a.aac", "aac"),
     ("a.mp3", "libmp3lame"), ("a.ac3", "ac3")],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*damaged .* packets were skipped")
def test_joined_recordings_are_decoded_completely(tmp_path, name, codec):
    piece = media_files.write_media(
        tmp_path / f"piece_{name}", (), media_files.tone(300, 1.2, RATE), audio_codec=codec
    )
    path = joined(tmp_path / name, [piece] * 2)
    sound, rate = audio.load(path)
    assert 2.4 <= len(sound) / rate < 2.55
    for part in (slice(rate // 10, rate), slice(14 * rate // 10, 22 * rate // 10)):
        assert np.std(sound[part]) == pytest.approx(0.35, rel=0.1)
    silent = media_files.write_media(tmp_path / "silent.mp4", media_files.uniform_times(5))
    video_reader.mux(silent, path, tmp_path / "o.mp4")
    assert len(audio.load(tmp_path / "o.mp4")[0]) / rate == pytest.approx(
        len(sound) / rate, abs=0.1
    )


@pytest.mark.parametrize(("rate", "channels"), [(24_000, 1), (48_000, 2), (24_000, 2)])
@pytest.mark.filterwarnings("ignore:.*damaged .* packets were skipped")
def test_pieces_of_another_rate_or_layout_are_brought_to_the_first(tmp_path, rate, channels):
    first = media_files.write_media(
        tmp_path / "1.mp3", (), media_files.tone(300, 0.6, RATE), audio_codec="libmp3lame"
    )
    tone = np.stack([media_files.tone(300, 0.6, rate)] * channels, axis=1)
    second = media_files.write_media(
        tmp_path / "2.mp3", (), tone, rate=rate, audio_codec="libmp3lame"
    )
    path = joined(tmp_path / "a.mp3", [first, second])
    sound, own = audio.load(path)
    assert 1.2 <= len(sound) / own < 1.4
    tail = sound[-own // 2 : -own // 5]
    assert np.std(tail) == pytest.approx(0.35, rel=0.1)
    assert np.abs(np.fft.rfft(tail)).argmax() / 0.3 == pytest.approx(300, abs=5)
    assert not samples.is_uniform(path) and samples.is_uniform(first)
    silent = media_files.write_media(tmp_path / "silent.mp4", media_files.uniform_times(5))
    video_reader.mux(silent, path, tmp_path / "o.mp4")
    copied, own = audio.load(tmp_path / "o.mp4")
    assert 1.2 <= len(copied) / own < 1.5


class Faulty:
    """A container whose demuxer fails once, or for ever."""

    def __init__(self, container, errors):
        self.container, self.errors, self.format = container, errors, container.format
        self.read = 0

    def demux(self, *streams):
        for packet in self.container.demux(*streams):
            self.read += 1
            yield packet
            if self.read >= 10 and self.errors:
                self.errors -= 1
                raise av.error.InvalidDataError(1094995529, "Invalid data")


@pytest.mark.parametrize(("errors", "lost"), [(1, 0), (7, 0), (10_000, 1)])
def test_a_demux_error_is_not_the_end(tmp_path, errors, lost):
    path = media_files.write_media(
        tmp_path / "a.mkv", (), media_files.tone(300, 1, RATE), audio_codec="pcm_s16le"
    )
    with containers.open_container(path) as container:
        whole = sum(packet.size for packet in container.demux())
    damage = packets.DecodeErrors()
    with containers.open_container(path) as container:
        stream = container.streams.audio[0]
        read = packets.Packets(Faulty(container, errors), [stream], path, damage)
        assert sum(packet.size for packet in read) == whole
    assert damage.packets >= 1 + lost


def test_lost_audio_is_reported_in_seconds(tmp_path):
    path = media_files.write_media(tmp_path / "a.mp4", (), media_files.tone(300, 2, RATE))
    data = bytearray(path.read_bytes())
    middle = slice(len(data) // 3, len(data) // 3 + len(data) // 8)
    data[middle] = np.random.default_rng(0).bytes(middle.stop - middle.start)
    path.write_bytes(data)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        stream = samples.SampleStream(path)
        length = sum(map(len, stream))
    assert length / RATE == pytest.approx(2, abs=0.1)
    assert 0.05 < stream.lost < 0.6
    assert f"{float(stream.lost):.2f} s of audio are lost" in str(caught[0].message)


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_missing_end_is_reported_in_seconds(tmp_path, suffix):
    with av.open(str(tmp_path / f"whole.{suffix}"), "w", options={"movflags": "faststart"}) as out:
        stream = out.add_stream("aac", rate=RATE, layout="mono")
        media_files.encode_audio(out, stream, media_files.tone(300, 4, RATE)[:, None], RATE, 0)
    data = (tmp_path / f"whole.{suffix}").read_bytes()
    (tmp_path / f"a.{suffix}").write_bytes(data[: len(data) * 3 // 5])
    stream = samples.SampleStream(tmp_path / f"a.{suffix}")
    with pytest.warns(UserWarning, match=r"1\.\d\d s of audio are lost"):
        length = sum(map(len, stream))
    assert length / RATE + float(stream.lost) == pytest.approx(4, abs=0.3)


def test_packets_without_samples_are_reported(tmp_path):
    """Of joined Opus files of one page each, FFmpeg decodes the first."""
    piece = media_files.write_media(
        tmp_path / "1.ogg", (), media_files.tone(300, 0.6, RATE), audio_codec="libopus"
    )
    stream = samples.SampleStream(joined(tmp_path / "a.ogg", [piece] * 2))
    with pytest.warns(UserWarning, match=r"damaged audio packets were skipped; 0\.\d\d s"):
        length = sum(map(len, stream))
    assert length / RATE + float(stream.lost) == pytest.approx(1.2, abs=0.05)


def test_a_change_that_cannot_be_decoded_is_refused(tmp_path):
    mono = media_files.tone(300, 0.5, RATE)
    pieces = [
        media_files.write_media(tmp_path / f"{n}.ogg", (), sound, audio_codec="libopus")
        for n, sound in enumerate((mono, np.stack([mono, mono], axis=1)))
    ]
    path = joined(tmp_path / "a.ogg", pieces)
    with pytest.raises(ValueError, match=r"a\.ogg changes half-way .* convert it to one format"):
        audio.load(path)


@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_the_main_stream_is_not_the_thumbnail_before_it(tmp_path, suffix, flag):
    path = tmp_path / f"a.{suffix}"
    with av.open(str(path), "w") as container:
        small = container.add_stream("mjpeg", rate=25)
        small.width = small.height = 32
        small.pix_fmt = "yuvj420p"
        large = container.add_stream("libx264", rate=25)
        large.width, large.height, large.pix_fmt = 64, 48, "yuv420p"
        small.disposition = av.stream.Disposition(0)
        if flag:
            large.disposition = av.stream.Disposition.default
        thumb = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))
        thumb.pts, thumb.time_base = 0, Fraction(1, 25)
        container.mux(small.encode(thumb))
        container.mux(small.encode(None))
        media_files.encode_grey_images(container, large, 10)
    info = video_reader.probe(path)
    assert (info.width, info.height) == (64, 48)
    assert len(list(video_reader.read_frames(path))) == 10


def without_decoder(path, tracks):
    """Gives the audio tracks of these numbers in a .mov file a codec that nobody knows."""
    data = path.read_bytes()
    starts = [0, *(found.start() for found in re.finditer(b"mdhd", data))]  # video, then audio
    for track in tracks:
        start = starts[track + 2]
        end = starts[track + 3] if track + 3 < len(starts) else len(data)
        part = data[start:end]
        for known, unknown in ((b"mp4a", b"apac"), (b"esds", b"sdse"), (b"frma", b"free")):
            part = part.replace(known, unknown)
        data = data[:start] + part + data[end:]
    path.write_bytes(data)


@pytest.fixture
def phone_video(tmp_path):
    """Writes a video with two audio tracks, at 200 and at 800 Hz."""
    path = tmp_path / "phone.mov"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        tracks = [container.add_stream("aac", rate=RATE, layout="mono") for _ in range(2)]
        container.start_encoding()
        media_files.encode_grey_images(container, video, 10)
        for track, hertz in zip(tracks, (200, 800), strict=True):
            tone = media_files.tone(hertz, 0.4, RATE)[:, None]
            media_files.encode_audio(container, track, tone, RATE, 0)
    return path


@pytest.mark.parametrize(("unknown", "hertz"), [(0, 800), (1, 200)])
def test_audio_that_can_be_decoded_is_the_main_one(tmp_path, phone_video, unknown, hertz):
    without_decoder(phone_video, [unknown])
    sound, _ = audio.load(phone_video, RATE)
    spectrum = np.abs(np.fft.rfft(sound[: RATE // 5]))
    assert np.argmax(spectrum) * 5 == pytest.approx(hertz, abs=5)
    info = video_reader.probe(phone_video)
    assert info.audio_rate == RATE
    assert info.extra_streams == ("1 further audio track (unknown)",)
    left_out = video_reader.mux(phone_video, phone_video, tmp_path / "o.mp4")
    assert left_out == info.extra_streams
    assert len(audio.load(tmp_path / "o.mp4")[0]) == pytest.approx(0.4 * RATE, abs=1024)


def test_audio_and_video_without_a_decoder_are_told(tmp_path, phone_video):
    data = phone_video.read_bytes()
    without_decoder(phone_video, [0, 1])
    with pytest.raises(ValueError, match=r"phone\.mov: its audio is of a kind that can't be dec"):
        audio.load(phone_video)
    assert video_reader.probe(phone_video).has_audio
    phone_video.write_bytes(data.replace(b"avc1", b"zzz1").replace(b"avcC", b"zzzC"))
    with pytest.raises(ValueError, match=r"phone\.mov: its video or image is of a kind"):
        video_reader.probe(phone_video)


LISTS = {
    "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:2,\npiece.ts\n#EXT-X-ENDLIST\n",
    "a.mp4": "#EXTM3U\n#EXTINF:2,\npiece.ts\n",
    "a.ffconcat": "ffconcat version 1.0\nfile piece.ts\n",
    "b.mp4": "ffconcat version 1.0\nfile piece.ts\n",
    "a.mpd": "<MPD><Period><BaseURL>piece.ts</BaseURL></Period></MPD>",
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_other_files_are_refused(tmp_path, piece, name):
    (tmp_path / name).write_text(LISTS[name])
    for look in (video_reader.probe, video_reader.read_frames, audio.load):
        with pytest.raises(ValueError, match="is a list of other files") as caught:
            look(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.txt", "a.ans", "a.nfo", "a.srt", "a.mp4", "a.jpg"])
def test_text_is_no_video(tmp_path, name):
    (tmp_path / name).write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n" * 30)
    with pytest.raises(ValueError, match="it holds text"):
        video_reader.probe(tmp_path / name)


def test_pipes_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match=r"a\.mp4 is a pipe or a device"):
        video_reader.probe(tmp_path / "a.mp4")


def test_a_clock_that_is_damaged_in_one_stream_alone_moves_the_other_nowhere(tmp_path, piece):
    path = tmp_path / "a.ts"
    with av.open(str(piece)) as source, av.open(str(path), "w") as out:
        copies = {s.index: out.add_stream_from_template(s) for s in source.streams}
        late = 0
        for packet in source.demux():
            if not packet.size:
                continue
            if packet.stream.type == "video":
                late += 1
                if late == 20:
                    packet.dts = packet.pts = packet.dts + 90_000 * 30
                elif late > 20:
                    continue
            packet.stream = copies[packet.stream.index]
            out.mux(packet)
    assert clicks(path) == clicks(piece)
    assert 19 <= len(list(video_reader.read_frames(path))) <= 20


def test_long_pauses_in_ogg_are_silence(tmp_path):
    sound = np.concatenate([media_files.tone(300, 0.5, RATE), np.zeros(RATE * 13, np.float32)])
    sound = np.concatenate([sound, media_files.tone(300, 0.5, RATE)])
    path = media_files.write_media(tmp_path / "whole.ogg", (), sound, audio_codec="libopus")
    with av.open(str(path)) as source, av.open(str(tmp_path / "a.ogg"), "w") as out:
        copy = out.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux():
            if packet.size and not RATE <= packet.pts < 13 * RATE:
                packet.stream = copy
                out.mux(packet)
    heard, rate = audio.load(tmp_path / "a.ogg")
    assert len(heard) / rate == pytest.approx(14, abs=0.2)
