"""The user study: its page, its key and its result."""

import base64
import json
import re
import shutil

import pytest

from lipsync_jax.cli import main
from lipsync_jax.evaluation import preference
from lipsync_jax.media import video_reader
from tests.helpers import talking


def run(*options):
    return main.main(["evaluate", *map(str, options)])


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of two clips; a third has no counterpart, a fourth is damaged."""
    root = tmp_path_factory.mktemp("study")
    for name in ("ours", "theirs"):
        (root / name).mkdir()
        for seed, clip in enumerate("ab"):
            frames = 12 if name == "ours" else 14
            mask = talking.random_speech_mask(frames, seed)
            talking.write_talking_video(root / name / f"{clip}.mkv", mask)
        (root / name / "d.mkv").write_bytes(b"damaged")
    (root / "ours" / "c.mkv").write_bytes(b"alone")
    assert run("--preference", root / "ours", root / "theirs", "--out", root / "out",
               "--question", "Which </script> is <better>?") == 0  # fmt: skip
    return root


def shown(root):
    """The data in the page."""
    text = (root / "out" / "preference.html").read_text(encoding="utf-8")
    return json.loads(re.search(r"const STUDY = (.*);\n", text).group(1)), text


def test_the_page_holds_all_and_tells_no_method(study, tmp_path):
    data, text = shown(study)
    key = preference.read_key(study / "out")
    assert [pair["clip"] for pair in key["pairs"]] == ["a", "b"] and len(data["pairs"]) == 2
    assert key["methods"] == ["ours", "theirs"]
    assert not re.search(r"\b(ours|theirs)\b", text) and "http" not in text.replace(
        "http-equiv", ""
    )
    assert "Which &lt;/script&gt; is &lt;better&gt;?" in text
    assert text.count("</script>") == 1
    for pair, entry in zip(data["pairs"], key["pairs"], strict=True):
        assert {video["name"] for video in pair} == set(entry["videos"])
        infos = []
        for i, video in enumerate(pair):
            path = tmp_path / f"{i}.mp4"
            path.write_bytes(base64.b64decode(video["data"]))
            info = video_reader.probe(path)
            infos.append((info.width, info.height, len([*video_reader.read_frames(path)])))
            assert info.has_audio
        assert infos[0] == infos[1] and infos[0][2] == 12  # of the shorter one


def save(path, study, picks, participant="p1"):
    """Writes answers: pair -> whether `ours` is chosen."""
    key, rows = preference.read_key(study / "out"), []
    for pair, ours in picks.items():
        wanted = "ours" if ours else "theirs"
        videos = key["pairs"][pair]["videos"]
        rows.append({"pair": pair, "chosen": next(v for v, m in videos.items() if m == wanted)})
    path.write_text(
        json.dumps({"study": key["study"], "participant": participant, "answers": rows})
    )
    return path


def test_answers_become_a_preference_with_its_interval(study, tmp_path, capsys):
    one = save(tmp_path / "1.json", study, {0: True, 1: True})
    two = save(tmp_path / "2.json", study, {0: True, 1: False}, "p2")
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    assert run("--answers", one, two, bad, "--out", study / "out", "--json", "-") == 0
    for_scripts = capsys.readouterr().out
    assert run("--answers", one, two, bad, "--out", study / "out") == 0
    told = capsys.readouterr()
    assert (
        "ours is preferred to theirs in 75.0% [30.1%, 95.4%] of 4 answers by 2 people" in told.out
    )
    assert "no clear preference" in told.out and f"--answers {bad}: expected a file" in told.err
    result = json.loads((study / "out" / "preference.json").read_text())
    assert result["share"] == 0.75 and result["method"] == "wilson"
    (warning,) = (document := json.loads(for_scripts)).pop("warnings")
    assert warning.startswith(f"--answers {bad}: expected a file")
    assert document.pop("result") == str(study / "out" / "preference.json")
    assert document == result
    assert result["clips"] == {
        "a": {"answers": 2, "first_preferred": 2},
        "b": {"answers": 2, "first_preferred": 1},
    }


def test_mistakes_are_explained(study, tmp_path, capsys):
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"study": "x", "participant": "p", "answers": []}))
    for options, message in (
        (["--answers", tmp_path / "no.json", "--out", study / "out"], "no.json does not exist"),
        (["--answers", other, "--out", study / "out"], "found study x"),
        (["--answers", other, "--out", tmp_path], "--out folder of the study"),
        (["--preference", study / "ours", study / "theirs", "--out", study / "out"],
         "holds a study already"),
        (["--preference", study / "ours", tmp_path / "no", "--out", tmp_path], "does not exist"),
        (["--question", "?", "--videos", "v", "--out", tmp_path], "give --preference too"),
        (["--answers", other, "--videos", "v", "--out", tmp_path], "leave --videos, --compare"),
    ):  # fmt: skip
        assert run(*options) == 1
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_page_in_a_browser(study, tmp_path):
    """With playwright and Chromium, where both are installed."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if not (chromium := shutil.which("chromium")):
        pytest.skip("Chromium is not installed")
    arguments = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--mute-audio"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        page, problems = browser.new_page(), []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text))
        page.goto((study / "out" / "preference.html").as_uri())
        page.click("#begin")
        for number in (1, 2):
            assert page.inner_text("#progress") == f"Pair {number} of 2"
            assert page.is_disabled("#choose-left") and page.is_disabled("#choose-right")
            page.click("#both")
            page.wait_for_selector("#choose-left:not([disabled])")
            page.click("#choose-left")
            if number == 1:  # a reloaded page goes on where it was
                page.reload()
                page.click("#begin")
        with page.expect_download() as download:
            page.click("#save")
        download.value.save_as(tmp_path / "answers.json")
        browser.close()
    assert problems == []
    found = preference.read_answers(tmp_path / "answers.json", preference.read_key(study / "out"))
    assert sorted(found.chosen) == [0, 1]


def test_intervals():
    def person(name, wins, total):
        return preference.Answers(name, {i: i < wins for i in range(total)})

    found = preference.preference([person("a", 80, 100)])
    # By hand: (0.8 + z²/200 ± z sqrt(0.0016 + z²/40000)) / (1 + z²/100).
    assert (found.low, found.high) == pytest.approx((0.711169, 0.866633), abs=1e-5)
    assert preference.sentence(found, ("x", "y")).endswith("x is better.")
    people = [person(str(i), 9, 10) for i in range(8)]
    found = preference.preference([*people, person("0", 9, 10)])  # a file twice
    assert found.participants == 8 and (found.low, found.high) == (0.9, 0.9)
    assert found.method == "bootstrap over participants"
    found = preference.preference([person(str(i), 10 * (i % 2), 10) for i in range(6)])
    assert found.low < 0.2 and found.high > 0.8  # people disagree: 60 answers are not independent
    with pytest.raises(ValueError, match="hold no answers"):
        preference.preference([person("a", 0, 0)])
