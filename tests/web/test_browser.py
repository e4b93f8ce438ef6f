"""The page in a real browser; skipped without playwright or a Chromium on this machine."""

import contextlib
import subprocess
import sys
import zipfile
from fractions import Fraction

import cv2
import numpy as np
import pytest

from lipsync_jax.media import video_reader
from lipsync_jax.web import example, texts
from tests.helpers import heic, media_files, scenes, toy_web
from tests.helpers.browser import CHROMIUM, assert_accessible

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("axe_playwright_python.sync_playwright")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; name one in CHROMIUM"),
    # Of sockets that the browser closes, and of gradio's own code.
    pytest.mark.filterwarnings("ignore"),
]
WAIT = 120_000  # milliseconds


@contextlib.contextmanager
def serve(work, module="lipsync_jax.cli"):
    """Serves the page in a process of its own; yields its address.

    Args:
        work: folder of uploads and jobs.
        module: that takes the command line; `tests.helpers.toy_web` has stand-ins for the models.
    """
    line = [sys.executable, "-m", module, "web", "--port", "0", "--work", str(work)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().split()[0]
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        made = started.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--use-fake-ui-for-media-stream",
                  "--use-fake-device-for-media-stream"],
        )  # fmt: skip
        yield made
        made.close()


@pytest.fixture
def page(browser):
    """A page that fails its test for an error in the console or a request to another host."""
    with contextlib.closing(browser.new_page(viewport={"width": 1280, "height": 900})) as made:
        made.set_default_timeout(WAIT)
        problems = []
        made.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
        made.on("pageerror", lambda error: problems.append(str(error)))
        made.on(
            "request",
            lambda r: (
                None
                if r.url.startswith(("http://127.0.0.1:", "data:", "blob:"))
                else problems.append(r.url)
            ),
        )
        made.on("response", lambda r: r.status >= 400 and problems.append(f"{r.status} {r.url}"))
        yield made
        assert not problems


def fill(page, address, face, speech):
    page.goto(address)
    page.wait_for_function("window.lipsync")  # which gives files their types
    page.set_input_files("#face-video input[type=file]", face)
    page.wait_for_selector("#face-video video")
    page.set_input_files("#dub-audio input[type=file]", speech)
    page.wait_for_function("document.querySelector('#about-files').innerText.includes('Speech:')")


def state(page):
    return page.inner_text("#job-list li .state")


def wait_state(page, start):
    page.wait_for_function(
        f"document.querySelector('#job-list li .state')?.innerText.startsWith('{start}')"
    )


def frame_at(page, seconds):
    """Reads a frame of the playing result as the browser shows it."""
    pixels = page.evaluate(
        """async (seconds) => {
        const video = document.getElementById("result-video");
        video.pause();
        video.currentTime = seconds;
        await new Promise((done) => (video.onseeked = done));
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
        const context = canvas.getContext("2d");
        context.drawImage(video, 0, 0);
        const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
        return [canvas.height, canvas.width, [...data]];
    }""",
        seconds,
    )
    return np.array(pixels[2], np.uint8).reshape(pixels[0], pixels[1], 4)[..., :3]


def test_a_rendered_person_is_dubbed_and_plays(page, tmp_path):
    face, speech = example.files(tmp_path / "example")
    with serve(tmp_path / "work") as address:
        fill(page, address, face, speech)
        assert_accessible(page)
        assert "confirmation of consent" in page.inner_text("#why")
        assert page.is_disabled("#dub")
        page.get_by_label("I have the consent").first.check()
        page.wait_for_selector("#dub:not([disabled])")
        page.get_by_role("button", name="Preview one frame").click()
        page.click("#preview")
        page.wait_for_selector("#compared img")
        page.wait_for_function(
            "document.querySelector('#previewed').innerText.includes('Frame at')"
        )
        page.click("#dub")
        wait_state(page, "Done")
        page.wait_for_selector("#result-video")
        page.evaluate("document.getElementById('result-video').play()")
        page.wait_for_function("document.getElementById('result-video').currentTime > 0.5")
        shown = frame_at(page, 2.02)
        assert_accessible(page)
        path = page.get_attribute("a:text('Download report')", "href")
        report = page.request.get(address + path.lstrip("/")).json()
        assert "yes" in page.inner_text("#result tr:last-child")
        height, width = shown.shape[:2]
        assert f"{width} x {height} pixels" in page.inner_text("#result table")
        for number in ("frames", "edited_frames", "unchanged_frames"):
            assert str(report[number]) in page.inner_text("#result tr:first-child")
        page.get_by_role("button", name="Check the sync of this result").click()
        page.wait_for_selector("#result svg")
    frames = [frame.image for frame in video_reader.read_frames(face)]
    before = frames[50]
    assert shown.shape == before.shape and shown.mean() > 20
    changed = cv2.GaussianBlur(cv2.absdiff(shown, before), (9, 9), 0).mean(axis=2)
    rows, columns = np.unravel_index(changed.argmax(), changed.shape)
    height, width = changed.shape
    assert changed.max() > 8 and rows > height / 2 and width / 4 < columns < 3 * width / 4
    assert changed[: height // 3].mean() < 3  # eyes and hair are as they were


def test_the_chosen_person_reload_cancel_and_the_keyboard(page, tmp_path, monkeypatch):
    face = scenes.write_scenes(tmp_path / "face.mp4", [(scenes.LEFT, scenes.RIGHT)], frames=100)
    speech = scenes.write_tone(tmp_path / "voice.wav", 4)
    work, pause = tmp_path / "work", tmp_path / "pause"
    pause.touch()  # until the job is cancelled
    monkeypatch.setenv(toy_web.PAUSE_VARIABLE, str(pause))
    with serve(work, toy_web.__name__) as address:
        fill(page, address, face, speech)
        people = page.locator("#people button.thumbnail-lg, #people .thumbnail-item")
        people.first.wait_for()
        assert people.count() == 2
        page.set_viewport_size({"width": 390, "height": 844})
        page.wait_for_function("document.documentElement.scrollWidth <= 390")
        page.set_viewport_size({"width": 1280, "height": 900})
        people.nth(1).click()
        page.wait_for_function(
            "document.querySelector('#chosen-person').innerText.startsWith('Person 1')"
        )
        consent = page.get_by_label("I have the consent").first
        consent.focus()
        page.keyboard.press("Space")
        page.wait_for_selector("#dub:not([disabled])")
        for _ in range(3):  # reading order: from the consent to the button
            page.keyboard.press("Tab")
            focused = "getComputedStyle(document.activeElement)"
            assert page.evaluate(f"{focused}.outlineStyle + {focused}.outlineWidth") == "solid3px"
            if page.evaluate("document.activeElement.id") == "dub":
                break
        page.keyboard.press("Enter")
        wait_state(page, "Generating")
        page.reload()
        wait_state(page, "Generating")
        shown = int(page.get_attribute("#job-list [role=progressbar]", "aria-valuenow"))
        assert 0 < shown < 100
        assert not page.get_by_label("I have the consent").first.is_checked()
        page.get_by_role("button", name="Cancel: ").click()
        pause.unlink()
        wait_state(page, "Cancelled")
        (folder,) = (work / "jobs").iterdir()
        assert {p.name for p in folder.iterdir()} == {
            "audio.wav", "face.mp4", "job.json", "thumb.jpg",
        }  # fmt: skip
        page.get_by_role("button", name="Run again: ").focus()
        page.keyboard.press("Enter")
        wait_state(page, "Done")
        page.wait_for_selector("#result-video")
        shown = frame_at(page, 2.02).astype(int)
    before = next(video_reader.read_frames(face)).image.astype(int)
    differs = np.flatnonzero((abs(shown - before) > 60).any(axis=(0, 2)))
    assert differs.min() > 60  # the right face only


def test_two_people_speak_in_recordings_of_their_own(page, tmp_path):
    face = scenes.write_scenes(tmp_path / "face.mp4", [(scenes.LEFT, scenes.RIGHT)], frames=25)
    speech = scenes.write_tone(tmp_path / "voice.wav", 1)
    with serve(tmp_path / "work", toy_web.__name__) as address:
        fill(page, address, face, speech)
        page.get_by_label(texts.TWO_VOICES).check()
        people = page.locator("#second-people button.thumbnail-lg")
        people.first.wait_for()
        assert people.count() == 2
        page.set_input_files("#second-audio input[type=file]", speech)
        page.wait_for_function(
            "document.querySelector('#about-files').innerText.includes('1.0 s and 1.0 s')"
        )
        assert_accessible(page)
        page.set_viewport_size({"width": 390, "height": 844})
        page.wait_for_function("document.documentElement.scrollWidth <= 390")
        page.set_viewport_size({"width": 1280, "height": 900})
        page.get_by_label("I have the consent").first.check()
        page.wait_for_selector("#dub:not([disabled])")
        first = page.inner_text("#chosen-person").removeprefix("Person ")[0]
        people.nth(int(first)).click()
        page.wait_for_function(f"document.querySelector('#why').innerText == {texts.SAME_PERSON!r}")
        assert page.is_disabled("#dub")
        people.nth(1 - int(first)).click()
        page.click("#dub:not([disabled])")
        wait_state(page, "Done")
        page.wait_for_selector("#result-video")
        shown = frame_at(page, 0.5).astype(int)
    before = next(video_reader.read_frames(face)).image.astype(int)
    differs = np.flatnonzero((abs(shown - before) > 60).any(axis=(0, 2)))
    assert differs.min() < 50 and differs.max() > 70  # both faces


def test_errors_are_told_in_words(page, tmp_path):
    nobody = scenes.write_scenes(tmp_path / "nobody.mp4", [(None, None)], frames=25)
    speech = scenes.write_tone(tmp_path / "voice.wav", 1)
    with serve(tmp_path / "work", toy_web.__name__) as address:
        fill(page, address, nobody, speech)
        page.get_by_label("I have the consent").first.check()
        page.wait_for_selector("#dub:not([disabled])")
        page.click("#dub")
        wait_state(page, f'Failed: "{texts.FACE}" nobody.mp4: no face was found')
        assert "Traceback" not in page.inner_text("#job-list .state")
        page.click("#job-list summary")
        page.wait_for_function(
            "document.querySelector('#job-list pre').innerText.startsWith('Traceback')"
        )
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Delete: ").click()
        page.wait_for_selector("#no-jobs", state="visible")
        assert not [*(tmp_path / "work" / "jobs").iterdir()]
        page.get_by_role("tab", name="Check sync").click()
        page.get_by_role("button", name="Measure").wait_for()
        assert_accessible(page)


def test_a_batch_is_one_entry_with_a_table(page, tmp_path):
    face = scenes.write_scenes(tmp_path / "Gesicht ü.MOV", [(scenes.LEFT, None)], frames=25)
    nobody = scenes.write_scenes(tmp_path / "nobody.mp4", [(None, None)], frames=25)
    speech = scenes.write_tone(tmp_path / "voice.wav", 1)
    table = tmp_path / "list.csv"
    table.write_text("face,outfile\nGesicht ü.MOV,a.mp4\nnobody.mp4,\nmissing.mp4,c.mp4\n")
    with serve(tmp_path / "work", toy_web.__name__) as address:
        page.goto(address)
        page.get_by_role("button", name="Many videos at once").click()
        page.set_input_files("#batch-faces input[type=file]", [face, nobody])
        page.set_input_files("#batch-recordings input[type=file]", speech)
        page.set_input_files("#batch-table input[type=file]", table)
        page.wait_for_function(
            "document.querySelector('#batch-rows').innerText.includes('3 rows, 1 with an error')"
        )
        page.locator("#batch-consent input").check()
        page.click("#batch")
        wait_state(page, "1 of 3 done, 2 failed")
        assert page.locator("#job-list li").count() == 1
        rows = page.locator("#result table.rows tbody tr")
        rows.nth(2).wait_for()
        assert '"Faces" nobody.mp4: no face was found' in rows.nth(1).inner_text()
        assert "no uploaded file is named missing.mp4" in rows.nth(2).inner_text()
        with page.expect_download() as download:
            page.get_by_text("as a ZIP file").click()
        with zipfile.ZipFile(download.value.path()) as archive:
            assert archive.namelist() == ["rows.csv", "a.mp4"]
        page.get_by_role("button", name="Show the result of row 1").click()
        page.wait_for_selector("#result-video")
        page.reload()  # a batch outlives it
        wait_state(page, "1 of 3 done, 2 failed")
        page.get_by_role("button", name="Show the table").click()
        rows.nth(2).wait_for()
        assert_accessible(page)  # gradio's own list of files, above before the reload, is not
        page.set_viewport_size({"width": 390, "height": 844})
        page.wait_for_function("document.documentElement.scrollWidth <= 390")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_fields_are_accessible_in_both_colour_schemes(page, tmp_path, scheme):
    page.emulate_media(color_scheme=scheme)
    with serve(tmp_path / "work", toy_web.__name__) as address:
        page.goto(address)
        page.wait_for_selector("#no-jobs")
        for name in (texts.MORE, texts.PREVIEW, texts.BATCH):
            page.get_by_role("button", name=name).click()
        page.get_by_role("button", name=texts.AS_COMMAND).click()
        page.wait_for_function(  # a field's text is no text of the page
            "[...document.querySelectorAll('textarea')].some(e => e.value.startsWith('lipsync'))"
        )
        assert_accessible(page)
        for tab in (texts.TAB_ANIMATE, texts.TAB_SYNC, texts.TAB_LIVE):
            page.get_by_role("tab", name=tab).click()
            assert_accessible(page)
        for path in ("api", "responsible-use"):
            page.goto(address + path)
            page.get_by_role("heading", level=1).wait_for()
            assert_accessible(page)


def test_files_whose_type_the_browser_does_not_know_are_taken(page, tmp_path):
    face = scenes.write_scenes(tmp_path / "IMG_1.MOV", [(scenes.LEFT, None)], frames=25)
    times = [Fraction(i, 25) for i in range(5)]
    old = media_files.write_media(
        tmp_path / "old.avi", times, codec="msmpeg4v2", tick=Fraction(1, 25)
    )
    photo = heic.write_heic(tmp_path / "IMG_2.HEIC", np.zeros((128, 192, 3), np.uint8))
    voice = tmp_path / "a video with the voice.mp4"
    samples = media_files.tone(220, 1, 16_000)
    media_files.write_media(voice, [Fraction(i, 25) for i in range(25)], samples, rate=16_000)
    with serve(tmp_path / "work", toy_web.__name__) as address:
        fill(page, address, face, voice)
        assert "Face: 120 x 80 pixels" in page.inner_text("#about-files")
        assert "Speech: 1.0 s" in page.inner_text("#about-files")
        page.get_by_label("Clear").first.click()
        page.set_input_files("#face-video input[type=file]", old)  # which no browser plays
        page.get_by_text("The browser cannot show this file").wait_for()
        page.wait_for_function("document.body.innerText.includes('Face: 64 x 48 pixels')")
        page.get_by_label(texts.PICTURE, exact=True).first.check()
        page.set_input_files("#face-picture input[type=file]", photo)
        page.wait_for_function(  # with and without the reader of such photos
            "/192 x 128|stored in tiles/.test(document.body.innerText)"
        )
        assert not page.locator("[data-testid=toast-body]").count()
