"""The handlers of the page's forms, without a browser."""

import asyncio
import shlex
import types
from pathlib import Path

import gradio as gr
import pytest
from gradio.data_classes import ImageData

from lipsync_jax import weights
from lipsync_jax.cli import main
from lipsync_jax.synthesis.options import DubbingOptions
from lipsync_jax.web import dub_options, handlers, second_voice, texts
from lipsync_jax.web.actions import Actions
from lipsync_jax.web.dub_form import DubForm
from lipsync_jax.web.handlers import picture_input, told_in_words
from lipsync_jax.web.job import SubmittedJob, new
from lipsync_jax.web.job_options import ANIMATE_OPTIONS, DUB, DUB_OPTIONS, KINDS, SYNC
from lipsync_jax.web.models import ModelShelf
from lipsync_jax.web.page import Page
from lipsync_jax.web.submission import Submitter
from tests.helpers import scenes

DEFAULTS = DubbingOptions()
MORE = [DEFAULTS.loop, DEFAULTS.on_missing_face, DEFAULTS.silence_mode, 40, ""]
MORE += [False, "", "", "", "", DEFAULTS.audio_offset]
ONE_VOICE = [None, None]  # no second person, no second recording
SETTINGS = [*ONE_VOICE, None, "good", False, None, *MORE]
REQUEST = types.SimpleNamespace(client=types.SimpleNamespace(host="127.0.0.1"))


def stand_in(actions, submitted):
    """A submitter that keeps what it gets."""
    return types.SimpleNamespace(
        actions=actions, label="", submit=lambda *job: submitted.append(job)
    )


@pytest.fixture
def submitted():
    return []


@pytest.fixture
def form(actions, tmp_path, submitted):
    return DubForm(stand_in(actions, submitted), tmp_path)


def test_the_page_is_built_without_and_with_models(actions, tmp_path):
    async def build(page):  # Gradio takes the running event loop, or opens one for good
        return page.build()

    for made in (actions, Actions(tmp_path)):  # the second has none
        page = Page(stand_in(made, []), tmp_path)
        text = str(asyncio.run(build(page)).get_config_file())
        assert texts.CONSENT in text and ("--checkpoint-path DIR" in text) == (made is not actions)
        assert "--animator DIR" in text and texts.ANIMATE_LIPS in text


def test_a_form_becomes_a_job(form, submitted, face, speech):
    settings = [*ONE_VOICE, "toy", "best", True, 1, "hold", *MORE[1:4], " AI ", *MORE[5:]]
    form._dub(REQUEST, texts.VIDEO, str(face), None, str(speech), True, *settings)
    (job,) = submitted
    assert job[0] == "dub" and job[1] == {"face": face, "audio": speech}
    assert job[2] == {
        "model": "toy", "quality": "best", "first_seconds": 10, "face_id": 1, "detect_every": 5,
        "loop": "hold", "label": "AI",
    }  # fmt: skip
    assert job[3] is True and job[4] == "127.0.0.1"


def test_files_that_were_not_uploaded_are_refused(form, speech):
    with pytest.raises(ValueError, match="was not uploaded"):
        form._dub(REQUEST, texts.VIDEO, "/etc/passwd", None, str(speech), True, *SETTINGS)
    with pytest.raises(ValueError, match="Still needed: the speech"):
        form._dub(REQUEST, texts.PICTURE, None, str(speech), None, True, *SETTINGS)


def test_pictures_are_the_files_that_were_uploaded(tmp_path):
    path = tmp_path / "photo.heic"
    path.write_bytes(b"Pillow can't read this")
    field = picture_input("face-picture")
    assert field.preprocess(ImageData(path=str(path), orig_name="photo.heic")) == str(path)
    assert field.preprocess(None) is None
    assert field.get_block_name() == "image"  # whose script is in the browser
    assert not [*Path(handlers.__file__).parent.glob("*.pyi")]  # gradio writes them


def test_a_result_becomes_the_video_of_the_face(actions, queue, face, tmp_path):
    form = DubForm(Submitter(actions, queue), tmp_path / "work")
    with pytest.raises(ValueError, match="was deleted; choose another"):
        form._use_result("20200101-000000-abcdef")
    job = queue.add(new(SubmittedJob("dub", {"face": face}), error="not run"), {"face": face})
    queue._jobs[job.job_id].report["result"] = "face.mp4"
    for _ in range(2):
        kind, path = form._use_result(job.job_id)
        assert kind == texts.VIDEO and Path(path).read_bytes() == face.read_bytes()
        assert Path(path).name == "face_dub.mp4" and form._path(path) == Path(path)


def test_what_is_missing_is_told(form, face, speech):
    nothing = form._ready(texts.VIDEO, None, None, None, False, "good", False, None)
    assert nothing[0]["interactive"] is False and "confirmation of consent" in nothing[1]
    ready = form._ready(texts.VIDEO, str(face), None, str(speech), True, "good", False, None)
    assert ready[0]["interactive"] is True and ready[1] == ""
    assert "120 x 80 pixels, 0.8 s" in ready[2] and "About 20 frames" in ready[2]
    wrong = form._ready(texts.VIDEO, str(speech), None, None, True, "good", False, None)
    assert wrong[0]["interactive"] is False and "no picture" in wrong[1]


def test_the_moment_of_a_preview_follows_the_speech_only(form, speech, tmp_path):
    assert len(form._ready(texts.VIDEO, None, None, str(speech), True, "best", False, None)) == 3
    whole, short = form._moments(str(speech), False), form._moments(str(speech), True)
    assert whole == short and whole["maximum"] == 0.8 and whole["value"] == 0.4
    (tmp_path / "notes.wav").write_text("no audio")
    for path in (None, str(tmp_path / "notes.wav")):
        assert "value" not in form._moments(path, False)


def test_people_are_shown_when_there_are_several(form, face):
    first, (gallery, person, chosen, *_) = form._people(texts.VIDEO, str(face), None)
    assert first[0]["visible"] is False and person in (0, 1)
    assert chosen["value"].startswith(f"Person {person} is dubbed")
    assert [caption for _, caption in gallery["value"]] == [
        "Person 0, 0.8 s, from 0:00", "Person 1, 0.8 s, from 0:00",
    ]  # fmt: skip


def test_a_video_without_a_face_is_told_before_a_job_fails(form, tmp_path):
    nobody = scenes.write_scenes(tmp_path / "nobody.mp4", [(None, None)], frames=10)
    *_, (gallery, person, told, *more) = form._people(texts.VIDEO, str(nobody), None)
    assert person is None and told["value"] == texts.NOBODY and told["visible"]
    assert gallery["visible"] is False and more[0]["visible"] is False


def test_two_voices_become_a_job_and_a_line_that_runs(form, submitted, face, speech, tmp_path):
    second = scenes.write_tone(tmp_path / "other voice.wav", 1.2)
    face_and_speech = [texts.VIDEO, str(face), None, str(speech)]
    settings = [0, str(second), None, "good", False, 1, *MORE]
    form._dub(REQUEST, *face_and_speech, True, *settings)
    (job,) = submitted
    assert job[1] == {"face": face, "speaker_1": speech, "speaker_0": second}
    assert job[2] == {"model": None, "quality": "good", "detect_every": 5}
    line = form._command(*face_and_speech, *settings)["value"]
    assert line == (
        "lipsync dub --face face.mp4 --speaker 1=voice.wav '0=other voice.wav' --quality good "
        "--detect-every 5 --outfile face_dubbed.mp4"
    )
    arguments = main.build_parser(["dub"]).parse_args(shlex.split(line)[1:])
    assert dict(arguments.speakers) == {1: Path("voice.wav"), 0: Path("other voice.wav")}
    assert "0=AUDIO" in form._command(*face_and_speech, 0, None, *settings[2:])["value"]
    ready = [True, "good", False, None, 1, 0]
    told = form._ready(*face_and_speech, *ready, str(second))
    assert told[0]["interactive"] is True and told[1] == ""
    assert "Speech: 0.8 s and 1.2 s." in told[2] and "About 30 frames" in told[2]
    _, note = form._preview(*face_and_speech, 0.4, *settings)
    assert note.endswith(texts.FIRST_ONLY)
    with pytest.raises(ValueError, match="speech of the second person"):
        form._dub(REQUEST, *face_and_speech, True, 0, None, *settings[2:])
    told = form._ready(*face_and_speech, *ready, None)
    assert told[0]["interactive"] is False and "speech of the second person" in told[1]
    with pytest.raises(ValueError, match="choose two different people"):
        form._dub(REQUEST, *face_and_speech, True, 1, *settings[1:])
    told = form._ready(*face_and_speech, *ready[:-1], 1, str(second))
    assert told[0]["interactive"] is False and told[1] == texts.SAME_PERSON


def test_a_second_person_is_another_one_and_hidden_again(form, face):
    *_, (_, person, _, switch, gallery, second, _, numbers) = form._people(
        texts.VIDEO, str(face), None
    )
    assert switch["visible"] and len(gallery["value"]) == 2 and second is None
    shown, second, audio, told = second_voice.toggle(True, person, numbers)
    assert shown["visible"] and audio["visible"] and shown["selected_index"] == second == 1 - person
    assert told == f"Person {person} speaks the first recording, person {second} the second."
    shown, second, audio, told = second_voice.toggle(False, person, numbers)
    assert not shown["visible"] and not audio["visible"] and second is None
    assert told == texts.chosen(person) and texts.chosen(1, 1) == texts.SAME_PERSON


def test_a_preview_and_the_command(form, face, speech):
    shown, note = form._preview(texts.VIDEO, str(face), None, str(speech), 0.4, *SETTINGS)
    before, after = shown["value"]
    assert (before != after).any() and note == "Frame at 0.40 s."
    line = form._command(texts.VIDEO, str(face), None, str(speech), *SETTINGS)["value"]
    expected = "lipsync dub --face face.mp4 --audio voice.wav --quality good"
    assert line == f"{expected} --outfile face_dubbed.mp4"
    settings = [*ONE_VOICE, "toy", "fast", False, 1, "hold", *MORE[1:4], "AI made", *MORE[5:]]
    line = form._command(texts.VIDEO, str(face), None, None, *settings)["value"]
    assert line == (
        "lipsync dub --checkpoint-path toy --face face.mp4 --audio AUDIO --quality fast "
        "--face-id 1 --loop hold --label 'AI made' --detect-every 5 --outfile face_dubbed.mp4"
    )


def test_rare_options_become_a_job_and_a_line_that_runs(form, submitted, face, speech):
    more = [*MORE[:5], True, "10, 50 20;60", "0 5 0 0", "2", " 30 ", "reference"]
    settings = [*ONE_VOICE, None, "good", False, None, *more]
    form._dub(REQUEST, texts.VIDEO, str(face), None, str(speech), True, *settings)
    options = submitted[0][2]
    assert {k: v for k, v in options.items() if k not in ("model", "quality")} == {
        "rotate": True, "box": [10, 50, 20, 60], "pads": [0, 5, 0, 0], "detect_every": 2, "crf": 30,
        "audio_offset": "reference",
    }  # fmt: skip
    line = form._command(texts.VIDEO, str(face), None, str(speech), *settings)["value"]
    arguments = main.build_parser(["dub"]).parse_args(shlex.split(line)[1:])
    assert arguments.rotate is True and [*arguments.box] == [10, 50, 20, 60]
    assert arguments.crf == 30 and [*arguments.pads] == [0, 5, 0, 0]
    wrong = [*MORE[:6], "10 50 20", *MORE[7:]]
    with pytest.raises(ValueError, match="`box`: '10 50 20' is not four whole numbers"):
        dub_options.read(None, "good", False, None, *wrong)
    wrong = [*MORE[:9], "low", MORE[-1]]
    with pytest.raises(ValueError, match="`crf`: 'low' is no whole number"):
        dub_options.read(None, "good", False, None, *wrong)


def test_text_fields_that_were_not_shown_are_empty():
    more = [None if value == "" else value for value in MORE]
    options = dub_options.read(None, "good", False, None, *more)
    assert options == {"model": None, "quality": "good"}


def test_an_option_of_the_default_value_replaces_that_of_the_quality(form, face):
    more = [*MORE[:8], "5", "18", MORE[-1]]
    settings = [*ONE_VOICE, None, "best", False, None, *more]
    line = form._command(texts.VIDEO, str(face), None, None, *settings)
    assert "--quality best --crf 18 --detect-every 5" in line["value"]


def test_errors_of_handlers_are_words(capsys):
    def fails(error):
        raise error

    with pytest.raises(gr.Error) as told:
        told_in_words(fails)(ValueError("face.mp4 is empty"))
    assert told.value.message == "face.mp4 is empty" and not told.value.print_exception
    with pytest.raises(gr.Error) as told:
        told_in_words(fails)(KeyError("x"))
    assert told.value.message == "KeyError: 'x'" and told.value.print_exception


def test_folders_of_one_name_are_all_offered(tmp_path):
    folders = [tmp_path / run / "wav2lip" for run in ("a", "b")]
    made = Actions(tmp_path, [*folders, folders[0]])
    assert made.dubbing.names == ["wav2lip", str(folders[1])]
    assert [*map(made.dubbing.folder, [None, *made.dubbing.names])] == [folders[0], *folders]


def test_a_picture_is_animated_or_dubbed_by_what_is_loaded(actions, tmp_path, face, speech):
    submitted = []
    page = Page(stand_in(actions, submitted), tmp_path)
    arguments = (REQUEST, str(face), str(speech), None, 3, True, True)
    page._animate(*arguments)
    actions.animation = ModelShelf(weights.ANIMATION, "--animator", [tmp_path], lambda _: None)
    page._animate(*arguments)
    (lips, *_), (whole, *_) = submitted
    assert (lips, whole) == ("dub", "animate")
    assert submitted[0][2] == {"model": None, "label": None}
    assert submitted[1][2] == {"model": None, "label": None, "seed": 3, "paste_back": True}


def test_an_estimate_comes_from_the_last_job(actions, form):
    assert form._estimate(100, {"model": "toy", "quality": "good"}) == "About 100 frames."
    result = types.SimpleNamespace(frames=50, wall_seconds=5)
    actions.timings.store("good", actions.dubbing.folder("toy"), result, 0)
    assert "10 seconds" in form._estimate(100, {"model": "toy", "quality": "good"})
    assert form._estimate(100, {"model": "toy", "quality": "best"}) == "About 100 frames."


def test_an_estimate_has_the_time_of_measuring_and_knows_the_defaults(actions, form):
    result = types.SimpleNamespace(frames=50, wall_seconds=5)
    actions.timings.store(
        None, actions.dubbing.folder(None), result, 7
    )  # of a script that leaves model and quality out
    assert actions.estimate_seconds(100, {"model": "toy", "quality": "good"}) == 17
    assert actions.estimate_seconds(100, {"model": "toy", "quality": "fast"}) is None
    assert texts.estimate(3, 0.6) == "About 3 frames, 1 second by the last job like this."
    assert "1,000 frames, 2 minutes by" in texts.estimate(1000, 120)


def test_errors_name_fields_by_their_labels():
    def refuse():
        raise ValueError("choose `on_missing_face` hold, `aligned`, or `lipsync demo`")

    with pytest.raises(gr.Error) as caught:
        told_in_words(refuse)()
    words = '"Frames without a face" hold, `lipsync animate --aligned`, or `lipsync demo`'
    assert caught.value.message == f"choose {words}"
    assert "Row 1: `blend`=mist" in texts.batch_rows(["`blend`=mist"])


def test_every_label_is_that_of_an_option():
    options = {"model", *DUB_OPTIONS, *ANIMATE_OPTIONS}
    assert texts._FIELDS.keys() <= options | {*KINDS[DUB], *KINDS[SYNC], "speakers"}
