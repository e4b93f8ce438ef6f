import cv2
import numpy as np
import pytest

from lipsync_jax import faces
from lipsync_jax.cli import list_faces, main
from lipsync_jax.media import audio, video_reader
from tests.helpers import colour_faces, scenes
from tests.helpers.scenes import LEFT, RIGHT

SHOTS = [(LEFT, RIGHT), (RIGHT, None), (None, LEFT), (LEFT, None)]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return scenes.write_scenes(tmp_path_factory.mktemp("film") / "two list_faces.mkv", SHOTS)


def run(film, tmp_path, seconds=1.6, **options):
    speech = scenes.write_tone(tmp_path / "voice.wav", seconds)
    out = tmp_path / "out.mp4"
    result = scenes.lip_sync_pipeline().generate(film, speech, out, **scenes.OPTIONS, **options)
    return result, list(video_reader.read_frames(out))


def test_people_are_numbered_in_the_order_they_come_across_cuts(film):
    captured = list_faces.list_identities(
        film, lambda *_: None, detector=colour_faces.detect, detect_every=1
    )
    red, green = captured
    assert (red.number, green.number) == (0, 1)
    np.testing.assert_allclose(red.intervals, [(0, 0.8), (1.2, 1.6)])
    np.testing.assert_allclose(green.intervals, [(0, 0.4), (0.8, 1.2)])
    assert red.thumbnail[48, 48].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("number", "places"), [(0, [LEFT, RIGHT, None, LEFT]), (1, [RIGHT, None, LEFT, None])]
)
def test_one_person_is_redrawn_and_nobody_else(film, tmp_path, number, places):
    result, shown = run(film, tmp_path, face_id=number)
    for i, frame in enumerate(shown):
        for box in filter(None, SHOTS[i // 10]):
            assert scenes.face_changed(frame, box) == (places[i // 10] == box), (i, box)
    assert result.edited == 10 * sum(place is not None for place in places)
    assert sum(b - a for a, b in result.missing_intervals) == pytest.approx(
        0.4 * places.count(None)
    )


def test_numbers_do_not_depend_on_the_voice(film, tmp_path):
    result, shown = run(film, tmp_path, seconds=0.3, face_id=1)
    assert result.edited == result.frames == 8
    assert scenes.face_changed(shown[0], RIGHT) and not scenes.face_changed(shown[0], LEFT)


def test_the_person_of_a_picture(film, tmp_path):
    picture = colour_faces.face_image(
        None, (20, 8, 80, 90), background=(60, 60, 40), size=(100, 100)
    )
    video_reader.write_image(tmp_path / "she.png", picture)
    result, shown = run(film, tmp_path, face_ref=tmp_path / "she.png")
    assert scenes.face_changed(shown[0], RIGHT) and not scenes.face_changed(shown[0], LEFT)
    assert result.edited == 20


def test_choices_that_cannot_be_met_are_told(film, tmp_path):
    with pytest.raises(ValueError, match=r"shows faces 0 to 1, there is no face 2; list .*faces"):
        run(film, tmp_path, face_id=2)
    video_reader.write_image(tmp_path / "nobody.png", np.zeros((50, 50, 3), np.uint8))
    with pytest.raises(ValueError, match=r"`face_ref` .*nobody\.png: no face was found"):
        run(film, tmp_path, face_ref=tmp_path / "nobody.png")
    both = colour_faces.face_image((5, 5, 40, 45), None, size=(50, 50))
    video_reader.write_image(tmp_path / "who.png", both)
    twins = scenes.write_scenes(tmp_path / "twins.mkv", [(LEFT, None)])
    with pytest.raises(ValueError, match="`box` and `face_id` all select the face"):
        run(twins, tmp_path, face_id=0, box=(1, 2, 3, 4))
    with pytest.raises(FileNotFoundError, match=r"`speakers` 1 .*gone\.wav does not exist"):
        run(film, tmp_path, speakers={1: tmp_path / "gone.wav"})


def test_a_reference_that_resembles_two_is_refused(tmp_path, monkeypatch):
    film = scenes.write_scenes(tmp_path / "two.mkv", [(LEFT, RIGHT)])
    one = np.ones(4, np.float32) / 2
    monkeypatch.setattr("lipsync_jax.faces.tracking.appearance_descriptor", lambda *_: one)
    monkeypatch.setattr(faces, "appearance_descriptor", lambda *_: one)
    video_reader.write_image(
        tmp_path / "a.png", colour_faces.face_image((5, 5, 40, 45), size=(50, 50))
    )
    with pytest.raises(ValueError, match=r"a\.png resembles the faces . and . .* alike; choose"):
        run(film, tmp_path, face_ref=tmp_path / "a.png")


def test_each_face_says_its_own_voice(film, tmp_path):
    first = scenes.write_tone(tmp_path / "a.wav", 0.2)
    second = scenes.write_tone(tmp_path / "b.wav", 0.4, 330, 44_100)
    out = tmp_path / "out.mp4"
    speakers = {0: first, 1: second}
    result = scenes.lip_sync_pipeline().generate(
        film, None, out, **scenes.OPTIONS, speakers=speakers, batch_size=3
    )
    shown = list(video_reader.read_frames(out))
    assert result.frames == len(shown) == 10 == result.edited

    def level(box):
        x, y = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
        return np.array([int(frame.image[y, x, 2]) for frame in shown])

    assert (level(LEFT)[1:4] > 50).all() and (level(LEFT)[6:] == 0).all()
    assert (level(RIGHT)[1:9] > 50).all()
    mixed, rate = audio.load_from_video_start(out)
    assert rate == 48_000 and abs(len(mixed) / rate - 0.4) < 0.05
    spectrum = np.abs(np.fft.rfft(mixed[:9600]))
    peaks = {round(i * 5) for i in np.argsort(spectrum)[-2:]}
    assert peaks == {220, 330}
    # With a recording of both, that is what is heard.
    scenes.lip_sync_pipeline().generate(
        film, scenes.write_tone(tmp_path / "c.wav", 0.3), out, **scenes.OPTIONS, speakers=speakers
    )
    assert audio.load_from_video_start(out)[1] == 16_000


def test_a_sheet_that_can_not_be_written_is_refused_before_faces_are_detected(
    film, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("lipsync_jax.faces.tracking.get_detector", lambda _: pytest.fail("late"))
    for name, message in (
        ("sheet.txt", "sheet.txt: no image format is called '.txt'; use .png"),
        ("", f" is a folder; give a file in it, e.g. {tmp_path / 'image.png'}"),
    ):
        assert main.main(["list-faces", str(film), "--outfile", str(tmp_path / name)]) == 1
        error = capsys.readouterr().err
        assert "list-faces: --outfile " in error and message in error


def test_the_faces_command(film, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("lipsync_jax.faces.tracking.get_detector", lambda _: colour_faces.detect)
    contact_sheet = tmp_path / "sheet.png"
    words = ["list-faces", str(film), "--outfile", str(contact_sheet), "--detect-every", "1"]
    assert main.main(words) == 0
    output = capsys.readouterr().out
    assert "2 faces" in output and "face 1: 0.80 s, 0:00.00-0:00.40, 0:00.80-0:01.20" in output
    assert cv2.imread(str(contact_sheet)).shape == (240, 384, 3)
    empty = scenes.write_scenes(tmp_path / "empty.mkv", [(None, None)])
    assert main.main(["list-faces", str(film), "--outfile", str(film)]) == 1
    assert "is the video itself; give another path" in capsys.readouterr().err
    assert main.main(["list-faces", str(empty)]) == 1
    assert "no face was found" in capsys.readouterr().err
    assert main.main(["list-faces", str(tmp_path / "gone.mp4")]) == 1
