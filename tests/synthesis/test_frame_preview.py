"""Single frames before and after dubbing, compared with those of the whole video."""

import av
import numpy as np
import pytest

from lipsync_jax.media import video_reader
from lipsync_jax.synthesis import driving_audio
from tests.helpers import colour_faces, scenes
from tests.helpers.scenes import LEFT, RIGHT

MOMENTS = [0.1, 1.0, 2.3]


def dub(face, speech, outfile, **options):
    pipeline = scenes.lip_sync_pipeline()
    pipeline.generate(face, speech, outfile, **{**scenes.OPTIONS, **options})
    return {round(float(f.time), 3): f.image for f in video_reader.read_frames(outfile)}


def preview(face, speech, moments=MOMENTS, **options):
    return scenes.lip_sync_pipeline().preview(
        face, speech, moments, **{**scenes.OPTIONS, **options}
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"box": (12, 46, 10, 46)},
        {"silence_mode": "passthrough"},
        {"resize_factor": 2, "min_face_height": 0},
        {"face_id": 1},
        {"loop": "repeat"},
    ],
)
def test_a_preview_is_a_frame_of_the_whole_video(tmp_path, options):
    face = scenes.write_scenes(tmp_path / "face.mp4", [(LEFT, RIGHT)], frames=40)
    speech = scenes.write_tone(tmp_path / "voice.wav", 2.5)  # longer than the video
    whole = dub(face, speech, tmp_path / "out.mkv", **options)
    for frame, moment in zip(preview(face, speech, **options), MOMENTS, strict=True):
        assert abs(frame.moment - moment) < 0.041
        np.testing.assert_array_equal(frame.after, whole[round(frame.moment, 3)])
        assert frame.edited == bool((frame.after != frame.before).any())
        assert frame.edited != (options.get("silence_mode") == "passthrough")  # a tone is no speech
        assert frame.nearest_face is None


def test_faces_are_detected_around_the_frame_only(tmp_path):
    face = scenes.write_scenes(tmp_path / "face.mp4", [(LEFT, None)], frames=200)
    speech = scenes.write_tone(tmp_path / "voice.wav", 8)
    seen = []

    def detect(image):
        seen.append(1)
        return colour_faces.detect(image)

    (frame,) = preview(face, speech, [6.0], detector=detect)
    assert frame.edited and frame.moment == 6.0
    assert len(seen) == 51  # a second before, and after


def test_moments_in_any_order_read_the_audio_once(tmp_path, monkeypatch):
    opened, read = [], driving_audio.read_mono_chunks
    monkeypatch.setattr(
        driving_audio, "read_mono_chunks", lambda path: opened.append(path) or read(path)
    )
    face = scenes.write_scenes(tmp_path / "face.mp4", [(LEFT, None)], frames=40)
    speech = scenes.write_tone(tmp_path / "voice.wav", 2.5)
    frames = preview(face, speech, [2.0, 0.4, 1.2, 2.0])
    assert [frame.moment for frame in frames] == [2.0, 0.4, 1.2, 2.0]
    assert all(frame.edited for frame in frames) and len(opened) == 1
    for frame in frames:
        (alone,) = preview(face, speech, [frame.moment])
        np.testing.assert_array_equal(frame.after, alone.after)


def test_the_label_is_checked_before_faces_are_detected(tmp_path):
    face = scenes.write_scenes(tmp_path / "face.mp4", [(LEFT, None)], frames=20)
    speech = scenes.write_tone(tmp_path / "voice.wav", 0.8)
    with pytest.raises(ValueError, match="`label` is empty"):
        preview(face, speech, label=" ", detector=lambda _: pytest.fail("detected"))


def test_the_faces_of_an_earlier_run_are_used(tmp_path, monkeypatch):
    monkeypatch.setattr("lipsync_jax.faces.tracking.get_detector", lambda _: colour_faces.detect)
    face = scenes.write_scenes(tmp_path / "face.mp4", [(LEFT, None)], frames=20)
    speech = scenes.write_tone(tmp_path / "voice.wav", 0.8)
    options = {"detector": "yunet", "loop": "none"}
    whole = dub(face, speech, tmp_path / "out.mkv", **options)
    monkeypatch.setattr("lipsync_jax.faces.tracking.get_detector", lambda _: pytest.fail)
    (frame,) = preview(face, speech, [0.4], **options)
    np.testing.assert_array_equal(frame.after, whole[0.4])


def test_a_video_with_a_damaged_packet_is_decoded(tmp_path):
    intact = scenes.write_scenes(tmp_path / "intact.mkv", [(LEFT, None)], frames=50)
    face = tmp_path / "face.mkv"
    with av.open(str(face), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        (stream.width, stream.height), stream.pix_fmt = scenes.SIZE, "bgr0"
        stream.codec_context.gop_size = 1
        for number, frame in enumerate(video_reader.read_frames(intact)):
            encoded = av.VideoFrame.from_ndarray(frame.image, "rgb24")
            encoded.pts = number
            container.mux(stream.encode(encoded))
        container.mux(stream.encode())
    with av.open(str(face)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][20]
    content = bytearray(face.read_bytes())
    for place in range(packet.pos + 14, packet.pos + packet.size - 2):
        content[place] = (7 * content[place] + 31) % 256
    face.write_bytes(content)
    speech = scenes.write_tone(tmp_path / "voice.wav", 2)
    with pytest.warns(UserWarning, match="1 damaged video packets were skipped"):
        whole = dub(face, speech, tmp_path / "out.mkv", loop="none")
        frames = preview(face, speech, [0.88, 1.6], loop="none")
        (boxed,) = preview(face, speech, [0.88], box=(12, 46, 10, 46))
    assert boxed.edited
    for frame in frames:
        assert frame.edited
        np.testing.assert_array_equal(frame.after, whole[round(frame.moment, 3)])


def test_a_frame_without_a_face_names_the_nearest_with_one(tmp_path):
    face = scenes.write_scenes(tmp_path / "face.mp4", [(None, None), (LEFT, None)], frames=20)
    speech = scenes.write_tone(tmp_path / "voice.wav", 1.6)
    (frame,) = preview(face, speech, [0.3])
    assert not frame.edited and frame.nearest_face == pytest.approx(0.8, abs=0.05)
    np.testing.assert_array_equal(frame.after, frame.before)


def test_an_image_and_a_moment_after_the_end(tmp_path):
    image = tmp_path / "face.png"
    video_reader.write_image(image, colour_faces.face_image(LEFT, None, size=(80, 120)))
    speech = scenes.write_tone(tmp_path / "voice.wav", 0.4)
    (frame,) = preview(image, speech, [9.0])
    assert frame.edited and frame.moment == pytest.approx(0.36)


def test_files_whose_packets_have_no_times_are_decoded(tmp_path):
    from PIL import Image

    images = [
        Image.fromarray(colour_faces.face_image(LEFT, None, size=(80, 120))) for _ in range(5)
    ]
    images[1].putpixel((0, 0), (9, 9, 9))
    images[0].save(tmp_path / "face.gif", save_all=True, append_images=images[1:], duration=40)
    speech = scenes.write_tone(tmp_path / "voice.wav", 0.4)
    (frame,) = preview(tmp_path / "face.gif", speech, [0.2])
    assert frame.edited
