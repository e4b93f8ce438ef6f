"""`lipsync evaluate` from inputs to files."""

import base64
import json
import re

import cv2
import numpy as np
import pytest

from lipsync_jax.cli import main
from lipsync_jax.data.clip import Word
from lipsync_jax.evaluation import bootstrap, generators, landmarks, results, samples, transcripts
from lipsync_jax.evaluation import protocol as protocols
from lipsync_jax.evaluation.sync_models import SyncModel
from lipsync_jax.media import video_reader
from lipsync_jax.synthesis import dubbing, model_info
from lipsync_jax.text import naming_options
from tests.helpers import talking


class FewPoints:
    """Replaces dlib: points that encode the box and the brightness of its mouth."""

    def points(self, rgb, box):
        x0, y0, x1 = box[:3]
        points = np.tile(np.array([(x0 + x1) / 2, y0], np.float32), (68, 1))
        points[36], points[45] = (x0, y0), (x1, y0)
        points[39], points[42] = (x0 + 5, y0), (x1 - 5, y0)
        open_ = rgb[int(y0) + 30, int(x0 + x1) // 2, 2] / 64
        points[48:68, 0] += np.linspace(-8, 8, 20)
        points[[65, 66, 67], 1] += open_
        return points

    def embedding(self, rgb, box):
        del box
        return np.append(rgb.mean(axis=(0, 1)) / 255, np.zeros(125)).astype(np.float32)


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch):
    monkeypatch.setattr(SyncModel, "load", lambda directory: talking.sync_model())
    monkeypatch.setattr(model_info, "credit", lambda directory: f"model {directory}")
    monkeypatch.setattr(landmarks, "missing_packages", lambda: "")
    monkeypatch.setattr(landmarks, "Landmarks", FewPoints)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """References a and b; `good` has both, `bad` shows other speech and one file is broken."""
    root = tmp_path_factory.mktemp("videos")
    for name in ("true", "good", "bad", "silent"):
        (root / name).mkdir()
    for seed, clip in enumerate("ab"):
        spoken, other = (
            talking.random_speech_mask(30, seed),
            talking.random_speech_mask(30, seed + 9),
        )
        talking.write_talking_video(root / "true" / f"{clip}.mkv", spoken)
        talking.write_talking_video(root / "good" / f"{clip}.mkv", spoken, transform=_greyer)
        talking.write_talking_video(
            root / "bad" / f"{clip}.mkv", other, talking.speech_audio(spoken)
        )
        talking.write_talking_video(
            root / "silent" / f"{clip}.mkv", spoken * False, talking.speech_audio(spoken * 0)
        )
    (root / "bad" / "b.mkv").write_bytes(b"not a video")
    (root / "true" / "lost.mkv").write_bytes(b"neither")
    (root / "good" / "lost.mkv").write_bytes(b"nor this")
    return root


def _greyer(image):
    return np.where((image == 255).all(axis=2, keepdims=True), np.uint8(235), image)


def _run(out, *options):
    return main.main(["evaluate", "--out", str(out), *map(str, options)])


def test_folders_with_references(videos, tmp_path, capsys):
    options = ["--compare", videos / "good", videos / "bad", "--references", videos / "true"]
    options += [
        "--sync-model",
        "expert",
        "--report-clips",
        1,
        "--silent-videos",
        videos / "silent",
        videos / "silent",
        "--json",
        tmp_path / "for_scripts.json",
    ]
    assert _run(tmp_path / "one", *options) == 0
    spoken = capsys.readouterr().out
    result = json.loads((tmp_path / "one" / "results.json").read_text())
    means = {n: result["methods"][n]["metrics"] for n in result["order"]}

    assert result["order"] == ["ground truth", "copy-reference", "mean-mouth", "good", "bad"]
    assert result["protocol"]["name"] == "face"
    assert result["sync_model"] == {"kind": "sync_expert", "model": "0123456789ab"}
    assert [each["clip"] for each in result["skipped"]] == ["lost"]
    assert result["methods"]["bad"]["success"]["rate"] == 0.5
    assert "bad/b.mkv cannot be read" in spoken
    assert "\nbad: no verdict, 1 clip scored; 3 or more are needed. On this clip" in spoken
    assert result["verdict"][-1] in spoken and result["sync_problem"] is None

    assert means["good"]["mouth_l1"]["mean"] < means["bad"]["mouth_l1"]["mean"]
    assert means["good"]["psnr"]["mean"] > means["bad"]["psnr"]["mean"]
    assert means["good"]["lmd"]["mean"] < 0.5 < means["bad"]["lmd"]["mean"]
    assert means["good"]["ssim"]["mean"] > means["mean-mouth"]["ssim"]["mean"]
    assert means["good"]["sync_in_sync"]["mean"] == 1
    assert means["copy-reference"]["sync_in_sync"]["mean"] == 0
    assert means["good"]["lipleak"]["mean"] == 0
    assert "psnr" not in means["ground truth"]
    assert not any(name.startswith(("lse", "syncnet")) for name in means["good"])

    for_scripts = json.loads((tmp_path / "for_scripts.json").read_text())
    assert list(for_scripts["methods"]) == result["order"]
    good = for_scripts["methods"]["good"]
    assert good["clips"] == 2 and good["success"] == result["methods"]["good"]["success"]
    assert good["metrics"]["psnr_db"] == means["good"]["psnr"]
    assert good["metrics"]["sync_offset_frames"] == means["good"]["sync_offset"]
    assert len(good["metrics"]) == len(means["good"])
    assert for_scripts["results"] == str(tmp_path / "one" / "results.json")
    assert for_scripts["skipped"] == result["skipped"]
    assert for_scripts["warnings"][0].startswith("lost: no side-by-side video, ")
    assert for_scripts["verdict"] == result["verdict"]

    beside = video_reader.probe(tmp_path / "one" / "side_by_side" / "a.mp4")
    assert (beside.width, beside.height, beside.has_audio) == (3 * 346, 288, True)
    _check_report((tmp_path / "one" / "report.html").read_text())


def test_two_single_videos_are_a_pair_whatever_their_names(videos, tmp_path, capsys):
    options = ["--videos", videos / "good" / "a.mkv", "--references", videos / "true" / "b.mkv"]
    assert _run(tmp_path, *options, "--sync-model", "none", "--landmarks", "none") == 0
    result = json.loads((tmp_path / "results.json").read_text())
    assert list(result["methods"]["a.mkv"]["clips"]) == ["b"]
    assert capsys.readouterr().out.splitlines()[-1].startswith("a.mkv: no verdict, 1 clip scored")


def test_a_single_video_is_compared_with_that_of_its_name_in_a_folder(videos):
    protocol = protocols.get("face-2")
    paired = samples.from_folders({"m": videos / "good" / "a.mkv"}, videos / "true", protocol)
    assert [(sample.clip, list(sample.methods)) for sample in paired] == [("a", ["m"])]


def test_two_runs_write_equal_bytes(videos, tmp_path):
    options = ["--videos", videos / "good", "--references", videos / "true", "--limit", 1]
    options += ["--sync-model", "expert", "--landmarks", "none"]
    for name in ("one", "two"):
        assert _run(tmp_path / name, *options) == 0
    for name in ("results.json", "report.html"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def _check_report(text):
    assert "http" not in text.replace("http-equiv", "")
    images = re.findall(r'src="data:image/(?:png|jpeg);base64,([^"]+)"', text)
    assert len(images) == 2 + 5 + 1  # intervals and offsets, strips, landmarks over time
    for data in images:
        image = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), 1)
        assert image is not None
        assert image.std() > 1
    for expected in ("copy-reference", "Audio offset", "offset_range", "Left out"):
        assert expected in text


def test_pairs_of_a_file_list(videos, tmp_path, monkeypatch, capsys):
    class Dubber:
        @classmethod
        def load(cls, checkpoint):
            return cls()

        def generate(self, face, audio_samples, outfile):
            if face.name == "b.mkv" and audio_samples.name == "b.mkv":
                raise ValueError("generation failed")
            outfile.parent.mkdir(parents=True, exist_ok=True)
            seed = "ab".index(audio_samples.stem)
            spoken = talking.random_speech_mask(30, seed)
            talking.write_talking_video(outfile.with_suffix(".mkv"), spoken)
            outfile.with_suffix(".mkv").rename(outfile)

    monkeypatch.setattr(dubbing, "LipSyncPipeline", Dubber)
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("a.mkv b.mkv\nb.mkv a.mkv\nb.mkv b.mkv\n")
    options = ["--checkpoint-path", "runs/dubber", "--filelist", pairs]
    options += ["--data-root", videos / "true", "--sync-model", "expert"]
    assert _run(tmp_path, *options) == 0
    result = json.loads((tmp_path / "results.json").read_text())
    assert result["order"] == ["ground truth", "original video", "dubber"]
    means = {n: result["methods"][n]["metrics"] for n in result["order"]}
    assert means["ground truth"]["sync_in_sync"]["mean"] == 1
    assert means["dubber"]["sync_in_sync"]["mean"] == 1
    # The third line pairs b with its own audio.
    assert means["original video"]["sync_in_sync"]["mean"] == pytest.approx(1 / 3, abs=1e-5)
    assert "psnr" not in means["dubber"]
    assert result["methods"]["dubber"]["success"]["rate"] == pytest.approx(2 / 3, abs=1e-5)
    assert "generation failed" in capsys.readouterr().out


def test_a_checkpoint_on_shards(toy_data, tmp_path, monkeypatch):
    def generate(audio, faces, reference):
        del audio, reference
        return np.maximum(faces, 10)

    monkeypatch.setattr(
        generators, "load", lambda path: generators.DubbingGenerator("face96", "abc", generate)
    )
    options = ["--checkpoint-path", "runs/x", "--data", toy_data, "--landmarks", "none"]
    assert _run(tmp_path, *options, "--limit", 2) == 0
    result = json.loads((tmp_path / "results.json").read_text())
    assert len(result["methods"]["x"]["clips"]) == 2
    means = {n: result["methods"][n]["metrics"] for n in result["order"]}
    assert means["x"]["mouth_l1"]["mean"] < means["mean-mouth"]["mouth_l1"]["mean"]
    assert result["landmarks"] is None
    assert "lmd" not in means["x"]


@pytest.mark.parametrize(
    ("options", "spoken"),
    [
        ([], "give one of --videos"),
        (["--videos", "v"], "--references is missing"),
        (["--videos", "v", "--references", "r"], "--references r does not exist; give a video or"),
        (["--checkpoint-path", "c"], "needs either --data"),
        (["--videos", "v", "--references", "r", "--protocol", "mine"], "no protocol 'mine'"),
        (["--videos", "v", "--references", "{true}"], "--videos v does not exist; give a video or"),
        (["--compare", "v", "v", "--references", "{true}"], "two of the folders are the same"),
        (
            ["--videos", "{good}", "--references", "{true}", "--transcripts", "t"],
            "--transcripts needs --lip-reader or --hypotheses",
        ),
        (
            ["--checkpoint-path", "c", "--filelist", "none.txt"],
            "--filelist none.txt does not exist",
        ),
    ],
)
def test_mistakes_are_reported_before_slow_work(videos, tmp_path, capsys, options, spoken):
    filled = [str(option).format(true=videos / "true", good=videos / "good") for option in options]
    assert _run(tmp_path / "out", *filled) == 1
    assert spoken in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_file_lists(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("x/1 y/2\n\nz.wav v.mp4\n")
    first, second = samples.read_pairs(path, "root", "audio-video")
    assert [str(p) for p in first] == ["root/x/1.mp4", "root/y/2.mp4"]
    assert [str(p) for p in second] == ["root/z.wav", "root/v.mp4"]
    assert samples.read_pairs(path, "", "video-audio")[1][0].name == "v.mp4"
    path.write_text("one two three\n")
    with pytest.raises(ValueError, match="line 1: two names are needed"):
        samples.read_pairs(path, "", "audio-video")
    path.write_text("\n")
    with pytest.raises(ValueError, match="is empty"):
        samples.read_pairs(path, "", "audio-video")


def test_a_file_list_that_is_a_folder_is_named_alone(tmp_path):
    given = {"filelist": tmp_path, "data_root": tmp_path}
    with pytest.raises(FileNotFoundError, match=f"^`filelist` {tmp_path} is a folder; give"):
        with naming_options(given):
            samples.read_pairs(tmp_path, tmp_path, "audio-video")


def test_word_error_rates_of_a_lip_reader(tmp_path):
    (tmp_path / "a.align").write_text("0 1000 sil\n1000 2000 bin\n2000 3000 blue\n3000 9000 sil\n")
    (tmp_path / "read.json").write_text('{"a": "bin red"}')
    spoken = transcripts.load_transcripts(tmp_path)
    assert spoken == {"a": "bin blue"}
    assert [transcripts.transcript_of_clip(spoken, clip) for clip in ("a", "s1/a", "b")] == [
        "bin blue"
    ] * 2 + [""]
    assert transcripts.error_rates(spoken, tmp_path / "read.json", ["m"]) == {"m": {"a": (0.5, 2)}}
    with pytest.raises(ValueError, match="for m, n"):
        transcripts.error_rates(spoken, tmp_path / "read.json", ["m", "n"])
    with pytest.raises(ValueError, match="no clip has a transcript"):
        transcripts.error_rates({"b": "x"}, tmp_path / "read.json", ["m"])
    for text in ('{"a": null}', '{"m": {"a": null}}'):
        (tmp_path / "read.json").write_text(text)
        with pytest.raises(ValueError, match="the value of a is null; give the clip's text"):
            transcripts.error_rates(spoken, tmp_path / "read.json", ["m"])
    (tmp_path / "read.json").write_text('{"m": {"a": "bin"}, "b": "bin"}')
    with pytest.raises(ValueError, match=r"the value of m is .*\"a\": \"bin\""):
        transcripts.load_transcripts(tmp_path / "read.json")
    (tmp_path / "read.json").write_text('{"n": {"a": "bin"}}')
    with pytest.raises(ValueError, match="there is no method n; name the methods m, o"):
        transcripts.error_rates(spoken, tmp_path / "read.json", ["m", "o"])
    (tmp_path / "read.json").write_text("[1]")
    with pytest.raises(ValueError, match="must hold a JSON object"):
        transcripts.load_transcripts(tmp_path / "read.json")
    assert Word("bin", 0.04, 0.08)


def test_intervals():
    values = np.random.default_rng(0).normal(5, 1, 400)
    found = bootstrap.interval(values)
    assert found.clips == 400
    assert found == bootstrap.interval(values)
    assert found.high - found.low == pytest.approx(2 * 1.96 / 20, rel=0.15)
    weighted = bootstrap.interval([1, 3, np.nan], [3, 1, 9])
    assert (weighted.mean, weighted.clips) == (1.5, 2)
    assert bootstrap.interval([]).clips == 0
    assert bootstrap.interval([2.0])[:3] == (2, 2, 2)


def test_intervals_of_many_clips_do_not_depend_on_the_block(monkeypatch):
    values, weights = np.random.default_rng(0).random((2, 301))
    whole = bootstrap.interval(values, weights, resamples=100)
    monkeypatch.setattr(bootstrap, "_MAX_INDICES", 301 * 7)  # blocks of seven resamples
    assert bootstrap.interval(values, weights, resamples=100) == whole


def test_metrics_with_units_say_so_to_scripts():
    units = ("dB", "px", "frames", "a second", " s")
    for metric in results.METRICS.values():
        label = metric.label.partition(",")[0] if "windows" in metric.label else metric.label
        assert bool(metric.unit) == any(f"{label} ".find(f"{unit} ") > 0 for unit in units), label
    interval = {"mean": 1.0, "low": 0.5, "high": 1.5}
    methods = {"m": {"metrics": {"lmd": interval, "sync_offset": interval}, "clips": {"a": {}}}}
    result = {"order": ["m"], "methods": methods, "clips": 2, "skipped": []}
    assert results.summary(result, {"sync_offset"}) == {
        "clips": 2,
        "skipped": [],
        "methods": {
            "m": {"clips": 1, "metrics": {"lmd_px": interval, "sync_offset_frames": interval}}
        },
        "unreliable_metrics": ["sync_offset_frames"],
    }


def test_a_table_leaves_out_metrics_without_values():
    interval = {"mean": 1.0, "low": 0.5, "high": 1.5, "clips": 2}
    result = {"order": ["m"], "methods": {"m": {"metrics": {"psnr": interval}}}}
    assert results.table(result).splitlines()[1].split() == [
        "PSNR",
        "dB",
        "1.00",
        "[0.50,",
        "1.50]",
    ]
    assert results.cell("psnr", {"mean": None}) == "-"


def test_names_that_are_not_utf8_are_written(tmp_path):
    result = {"skipped": [{"clip": "caf\udce9", "reason": "ü"}]}
    results.write(tmp_path / "results.json", result)
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8")) == result
