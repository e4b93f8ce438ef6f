"""The page in a real browser, with a fake microphone that speaks a rendered sentence."""

import time

import numpy as np
import pytest

pytest.importorskip("aiortc")
pytest.importorskip("fastapi")
pytest.importorskip("playwright")
pytest.importorskip("axe_playwright_python")

from playwright.sync_api import sync_playwright

from lipsync_jax.data_prep.synthetic import recordings
from lipsync_jax.media import audio
from tests.helpers.browser import CHROMIUM, assert_accessible
from tests.helpers.live_server import serve

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; set CHROMIUM to its path"),
]
LEVEL = """async () => {
  const context = new AudioContext();
  await context.resume();
  const analyser = context.createAnalyser();
  context.createMediaStreamSource(document.getElementById("video").srcObject).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  let level = 0;
  for (let i = 0; i < 60; i++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    analyser.getFloatTimeDomainData(samples);
    level = Math.max(level, ...samples.map(Math.abs));
  }
  return level;
}"""
FRAMES = "document.getElementById('video').getVideoPlaybackQuality().totalVideoFrames"


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    folder = tmp_path_factory.mktemp("voice")
    recordings.write_speech(folder / "speech.wav", seconds=6, seed=3)
    samples, rate = audio.load(folder / "speech.wav", 48_000)
    audio.save(folder / "mic.wav", audio.to_int16(samples), rate)  # of the rate that Chromium needs
    return folder / "mic.wav"


@pytest.fixture(scope="module")
def server(voice):
    with serve(voice) as address:
        yield address


@pytest.fixture
def browser(voice):
    arguments = [
        "--no-sandbox",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={voice}",
        "--autoplay-policy=no-user-gesture-required",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


def open_page(browser, address):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.requests, page.complaints = [], []
    page.on("request", lambda request: page.requests.append(request.url))
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(f"{address}/")
    page.wait_for_selector("#face option", state="attached")
    return page


def start(page, source="microphone"):
    page.check(f"input[name=source][value={source}]")
    page.check("#consent")
    page.click("#start")
    page.wait_for_function("document.getElementById('video').videoWidth > 0", timeout=60_000)


def viewers(page):
    return page.evaluate("fetch('setup').then((answer) => answer.json())")["viewers"]


def wait_until_free(page, seconds):
    deadline = time.monotonic() + seconds
    while viewers(page) and time.monotonic() < deadline:
        time.sleep(0.1)
    return viewers(page) == 0


def test_a_microphone_drives_the_face(browser, server):
    page = open_page(browser, server)
    start(page)
    assert_accessible(page)
    before = page.evaluate(FRAMES)
    level = page.evaluate(LEVEL)
    assert level > 0.01  # the delayed voice is heard
    page.wait_for_function(
        "document.getElementById('status').textContent === 'Speaking.'", timeout=30_000
    )
    page.wait_for_function(f"{FRAMES} > {before + 100}", timeout=60_000)
    assert page.inner_text("#codec") == "video/H264"
    assert int(page.inner_text("#total")) > 300
    # A second viewer is told that there is no place.
    other = open_page(browser, server)
    other.check("#consent")
    other.click("#start")
    other.wait_for_selector("#status.error", timeout=30_000)
    assert "1 of 1 places are taken" in other.inner_text("#status")
    other.close()
    page.click("#stop")
    assert wait_until_free(page, 5)
    assert page.inner_text("#status") == "Stopped." and page.complaints == []
    assert {url.split("/")[2] for url in page.requests} == {server.split("/")[2]}


def test_a_closed_tab_frees_everything(browser, server):
    page = open_page(browser, server)
    start(page, "recording")
    assert viewers(page) == 1
    watcher = open_page(browser, server)
    page.close()
    assert wait_until_free(watcher, 5)


def test_a_file_of_the_browser_speaks_and_is_recorded(browser, server, voice):
    page = open_page(browser, server)
    page.check("input[name=source][value=file]")
    page.set_input_files("#file", str(voice))
    start(page, "file")
    page.wait_for_selector("#record:not([disabled])", timeout=30_000)
    page.click("#record")
    page.wait_for_function(
        "document.getElementById('status').textContent === 'Speaking.'", timeout=30_000
    )
    time.sleep(3)
    page.click("#record")
    page.wait_for_selector("#recorded:not([hidden])", timeout=60_000)
    with page.expect_download() as download:
        page.click("#download")
    samples, _ = audio.load(download.value.path())
    assert np.abs(samples).max() > 0.05
    page.click("#stop")
    assert wait_until_free(page, 5)


def test_a_recording_that_ended_early_is_told_and_another_can_begin(browser, server):
    page = open_page(browser, server)
    start(page, "recording")
    page.wait_for_selector("#record:not([disabled])", timeout=30_000)
    page.click("#record")
    page.wait_for_selector("#record[aria-pressed=true]:not([disabled])")
    page.route(
        "**/record", lambda route: route.fulfill(status=409, json={"detail": "it ended early"})
    )
    page.click("#record")
    page.wait_for_selector("#record[aria-pressed=false]:not([disabled])")
    page.unroute("**/record")
    time.sleep(1.2)  # figures arrive, which name the state of the voice
    assert page.inner_text("#status") == "it ended early"
    page.click("#record")
    page.wait_for_selector("#record[aria-pressed=true]:not([disabled])")
    page.wait_for_selector("#status:not(.error)")
    page.click("#stop")
    assert wait_until_free(page, 5)


def test_consent_is_asked_and_the_keyboard_is_enough(browser, server):
    page = open_page(browser, server)
    page.click("#start")
    page.wait_for_selector("#status.error")
    assert page.inner_text("#status") == "Tick the consent first."
    assert page.evaluate("document.activeElement.id") == "consent"
    page.keyboard.press("Space")
    page.focus("input[name=source][value=microphone]")
    page.keyboard.press("ArrowUp")  # from the first to the last
    assert page.evaluate("document.activeElement.value") == "samples"
    for _ in range(2):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "start"
    page.keyboard.press("Enter")
    page.wait_for_function("document.getElementById('video').videoWidth > 0", timeout=60_000)
    assert "/samples" in page.inner_text("#source-note")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert wait_until_free(page, 5)


def test_a_microphone_that_is_granted_after_stop_is_released(browser, server):
    page = open_page(browser, server)
    page.evaluate("""() => {
      const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      navigator.mediaDevices.getUserMedia = async (wanted) => {
        await new Promise((resolve) => { window.grant = resolve; });
        return (window.granted = await ask(wanted));
      };
    }""")
    page.check("#consent")
    page.click("#start")
    page.wait_for_function("!!window.grant")
    page.click("#stop")
    page.evaluate("grant()")
    page.wait_for_function("window.granted?.getTracks().every((one) => one.readyState === 'ended')")
    assert page.inner_text("#status") == "Stopped." and page.is_enabled("#start")
    assert page.is_disabled("#stop") and page.complaints == [] and viewers(page) == 0


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_and_all_inputs_have_labels(browser, server, width):
    page = open_page(browser, server)
    page.set_viewport_size({"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    unlabelled = page.evaluate(
        "[...document.querySelectorAll('input, select')].filter((one) => !one.labels.length).length"
    )
    assert unlabelled == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(browser, server, scheme):
    page = open_page(browser, server)
    page.emulate_media(color_scheme=scheme)
    assert_accessible(page)
    page.check("input[name=source][value=file]")
    page.click("#start")
    page.wait_for_selector("#status.error")
    assert_accessible(page)
