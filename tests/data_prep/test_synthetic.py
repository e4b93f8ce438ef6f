import argparse
import concurrent.futures
import shutil
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest

from lipsync_jax import faces
from lipsync_jax.data import loader
from lipsync_jax.data.clip import decode_frames
from lipsync_jax.data_prep.synthetic import corpus as synthetic
from lipsync_jax.data_prep.synthetic import parts, recordings, render_clips
from lipsync_jax.faces import alignment
from lipsync_jax.media import audio, video_reader

CLIPS = 7


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "SECONDS", 0.8)
        yield synthetic.generate_corpus(
            tmp_path_factory.mktemp("synthetic"), CLIPS, seed=3, workers=1
        )


@pytest.fixture(scope="module")
def splits(corpus):
    found = {
        split: loader.ClipDataSource(corpus, split) for split in ("train", "validation", "test")
    }
    return {split: [clips[i] for i in range(len(clips))] for split, clips in found.items()}


def test_the_loader_finds_it(corpus):
    assert loader.find_dataset(str(corpus), "face96") == corpus
    assert loader.find_dataset(str(corpus.parents[2]), "face96") == corpus
    loader.check_crop(loader.ClipDataSource(corpus, "train"), "face96")


def test_clips_are_whole(splits):
    clips = [clip for split in splits.values() for clip in split]
    assert len({clip.clip_id for clip in clips}) == CLIPS
    for clip in clips:
        assert len(clip.frames) == 20 and clip.frame_rate == 25
        assert clip.audio.shape == (12800,) and clip.audio_rate == 16000
        assert clip.landmarks.shape == (20, 5, 2) and np.isfinite(clip.landmarks).all()
        assert decode_frames(clip, range(1)).shape == (1, 96, 96, 3)
        assert (clip.landmarks[:, 3:, 1] > 48).all() and (clip.landmarks[:, 3:, 1] < 86).all()


def test_identities_are_in_one_split_only(splits):
    identities = {split: {clip.speaker for clip in clips} for split, clips in splits.items()}
    assert [len(p) for p in identities.values()] == [2, 1, 1]
    assert len(set.union(*identities.values())) == 4


@pytest.mark.parametrize("clips", [6, 7, 40, 160, 1001])
def test_split_sizes(clips):
    identities = synthetic.split_clips(clips)
    numbers = [number for part in identities.values() for number in part]
    assert sorted(numbers) == list(range(-(-clips // 2)))
    if clips >= 40:
        assert len(identities["validation"]) == len(identities["test"])
        assert abs(len(identities["test"]) / len(numbers) - 0.1) < 0.01


def test_few_identities_share_all_splits():
    clip_numbers = synthetic.split_clips(23, num_identities=2)
    assert all(list(of_identity) == [0, 1] for of_identity in clip_numbers.values())
    for identity, count in ((0, 12), (1, 11)):
        numbers = [
            number for of_identity in clip_numbers.values() for number in of_identity[identity]
        ]
        assert sorted(numbers) == list(range(count))
        assert len(clip_numbers["test"][identity]) == len(clip_numbers["validation"][identity]) == 1
    with pytest.raises(ValueError, match="ask for 30"):
        synthetic.generate_corpus("unused", clips=29, num_identities=3)


def test_the_same_seed_gives_the_same_bytes(splits):
    clip = splits["validation"][0]
    identity = np.random.SeedSequence(3, spawn_key=(0, int(clip.speaker[1:])))
    again = render_clips.render_speaker(identity, clip.speaker, range(2), 0.8, "face96")
    again = next(other for other in again if other.clip_id == clip.clip_id)
    assert again.frames == clip.frames
    np.testing.assert_array_equal(again.audio, clip.audio)
    np.testing.assert_array_equal(again.landmarks, clip.landmarks)
    assert [word.text for word in again.words] == [word.text for word in clip.words]


def test_another_seed_gives_others(splits):
    identity = np.random.SeedSequence(4, spawn_key=(0, 0))
    (other,) = render_clips.render_speaker(identity, "p0000", range(1), 0.2, "face96")
    assert all(other.frames[0] != clip.frames[0] for clips in splits.values() for clip in clips)


def test_aligned_crops_match_the_canonical_face():
    def render(crop):
        identity = np.random.SeedSequence(3, spawn_key=(0, 1))
        return render_clips.render_speaker(identity, "p0001", range(1), 0.6, crop)[0]

    clip = render("aligned128x96")
    assert decode_frames(clip, range(15)).shape == (15, 128, 96, 3)
    points = alignment.stable_points(clip.landmarks).mean(axis=0) - 0.5
    assert np.abs(points - alignment.CANONICAL_FACE).max() < 4
    mouth = clip.landmarks[:, 3:].mean(axis=(0, 1))
    assert 40 < mouth[0] < 58 and 75 < mouth[1] < 95
    np.testing.assert_array_equal(clip.audio, render("face96").audio)


def test_a_finished_corpus_is_used_again_and_another_one_is_not_mixed_in(corpus, monkeypatch):
    monkeypatch.setattr(synthetic, "SECONDS", 0.8)
    monkeypatch.setattr(render_clips, "render_speaker", None)  # nothing may be rendered
    out = corpus.parents[2]
    assert synthetic.generate_corpus(out, CLIPS, seed=3) == corpus
    with pytest.raises(ValueError, match="choose another folder"):
        synthetic.generate_corpus(out, CLIPS, seed=4)


def test_an_incomplete_corpus_is_written_anew(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "SECONDS", 0.2)
    folder = tmp_path / "synthetic" / "face96" / "1.2.0"
    shutil.copytree(corpus, folder)
    (folder / "recipe.json").unlink()
    (folder.parent / "incomplete.ABCDEF_1.2.0").mkdir()
    assert synthetic.generate_corpus(tmp_path, 6, seed=5, workers=1) == folder
    assert {path.name for path in folder.parent.iterdir()} == {".lock", "1.2.0"}
    assert len(loader.ClipDataSource(folder, "train")[0].frames) == 5


def test_impossible_requests_are_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match="ask for 6"):
        synthetic.generate_corpus(tmp_path, clips=5)
    with pytest.raises(ValueError, match="--crop 'oval96'"):
        synthetic.generate_corpus(tmp_path, crop="oval96")
    assert not list(tmp_path.iterdir())


def test_a_video_has_a_face_and_audio(tmp_path):
    path = recordings.write_video(tmp_path / "face.mp4", seconds=0.6, size=256)
    info = video_reader.probe(path)
    assert (info.width, info.height, info.frame_rate) == (256, 256, 25)
    frames = [frame.image for frame in video_reader.read_frames(path)]
    assert len(frames) == 15
    assert all(len(faces.detect(image)) == 1 for image in frames[::3])
    samples, _ = audio.load(path, 16000)
    assert abs(len(samples) / 16000 - 0.6) < 0.1 and np.abs(samples).max() > 0.05


def test_utterances_of_one_identity(tmp_path, monkeypatch):
    identities, speech = [], []

    def keep(path, identity, performance, size):
        del path, size
        identities.append(identity)
        speech.append(performance.utterance.samples)

    monkeypatch.setattr(recordings, "_write_performance", keep)
    for utterance in (0, 1, 1):
        recordings.write_video(tmp_path / "face.mp4", 0.4, utterance=utterance)
    assert repr(identities[0]) == repr(identities[1]) == repr(identities[2])
    assert not np.array_equal(speech[0], speech[1]) and np.array_equal(speech[1], speech[2])


def test_a_dubbing_example_differs_from_its_target_in_the_mouth_only(tmp_path):
    paths = recordings.write_dubbing_example(tmp_path, seconds=0.8, seed=3, size=128)
    assert [path.name for path in paths] == ["face.mp4", "voice.wav", "real.mp4"]
    before, real = (
        np.stack([frame.image for frame in video_reader.read_frames(path)]).astype(float)
        for path in (paths[0], paths[2])
    )
    assert before.shape == real.shape == (20, 128, 128, 3)
    difference = np.abs(before - real).mean(axis=(0, 3))
    rows = np.argsort(difference.max(axis=1))[::-1]
    assert difference.max() > 10 and 64 < rows[0] < 115
    assert difference[:48].max() < 3
    speech, rate = audio.load(paths[1])
    assert (len(speech), rate) == (12800, 16000)


def test_speech_is_written(tmp_path):
    path = recordings.write_speech(tmp_path / "voice.wav", seconds=1.5)
    samples, rate = audio.load(path)
    assert rate == 16000 and samples.shape == (24000,)


def test_the_command(corpus, monkeypatch, capsys):
    monkeypatch.setattr(synthetic, "SECONDS", 0.8)
    monkeypatch.setattr(synthetic, "_SHEET_FRAMES", range(0, 20, 4))
    parser = argparse.ArgumentParser()
    synthetic.add_arguments(parser)
    out = corpus.parents[2]
    wanted = parser.parse_args(["--out", str(out), "--clips", str(CLIPS), "--seed", "3"])
    assert synthetic.run(wanted) == 0
    printed = capsys.readouterr().out
    assert str(corpus) in printed and "contact_sheet_face96.png" in printed
    assert (out / "contact_sheet_face96.png").is_file()


@pytest.mark.slow
def test_processes_do_not_change_the_corpus(corpus, splits, tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "SECONDS", 0.8)
    clips = loader.ClipDataSource(
        synthetic.generate_corpus(tmp_path, CLIPS, seed=3, workers=2), "train"
    )
    for i, clip in enumerate(splits["train"]):
        assert clips[i].clip_id == clip.clip_id and clips[i].frames == clip.frames


def test_parts_by_ranges_of_seeds_make_the_same_corpus(corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(synthetic, "SECONDS", 0.8)
    rendered = []
    monkeypatch.setattr(
        render_clips,
        "render_speaker",
        lambda *job, render=render_clips.render_speaker: rendered.append(job[1]) or render(*job),
    )
    arguments = {"out": tmp_path, "clips": CLIPS, "seed": 3, "crop": "face96", "workers": 1}
    arguments = argparse.Namespace(**arguments, identities=None, part="2/3")
    assert synthetic.run(arguments) == synthetic.run(arguments) == 0  # a second run renders nothing
    assert "part   2/3 in" in capsys.readouterr().out
    parts_dir = tmp_path / "synthetic/face96/parts"
    assert len(rendered) == len(list(parts_dir.glob("*.npz"))) == 1
    arguments.part = "3/3"
    synthetic.run(arguments)
    joined = synthetic.generate_corpus(tmp_path, CLIPS, 3, workers=1)
    assert sorted(rendered) == ["p0000", "p0001", "p0002", "p0003"]  # each once
    assert not parts_dir.exists()
    shards = {p.name: p.read_bytes() for p in joined.glob("*.array_record*")}
    assert shards == {p.name: p.read_bytes() for p in corpus.glob("*.array_record*")}


def test_parts_are_rendered_side_by_side_and_joined_when_all_have_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "SECONDS", 0.8)
    (tmp_path / "synthetic/face96").mkdir(parents=True)
    with synthetic._lock(tmp_path / "synthetic/face96", is_part=True):
        synthetic.generate_corpus(tmp_path, CLIPS, 3, workers=1, part=(1, 4))
        with pytest.raises(
            ValueError, match=r"face96 is in use: process \d+ .* only runs with --pa"
        ):
            synthetic.generate_corpus(tmp_path, CLIPS, 3, workers=1)
        assert list((tmp_path / "synthetic/face96/parts").iterdir())


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "-1/2"])
def test_a_part_out_of_range_is_refused(text):
    with pytest.raises(ValueError, match="expected I/N with I from 1 to N"):
        parts.parse(text)


def test_few_jobs_begin_before_the_clips_of_the_first_are_taken():
    begun = []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = synthetic._map(pool, 2, lambda job: begun.append(job) or job, range(100))
        assert [next(results), next(results)] == [0, 1]
        assert len(begun) <= 2 + 4 * 2
        assert list(results) == [*range(2, 100)]


def test_the_parts_of_ten_thousand_clips_are_all_of_them():
    clip_numbers = synthetic.split_clips(10_000)["train"]
    selected = [parts.select(list(clip_numbers), (i, 7)) for i in range(1, 8)]
    assert [n for part in selected for n in part] == list(clip_numbers)
    assert {len(part) for part in selected} == {571, 572}


def test_the_death_of_a_process_that_renders_is_told_in_words():
    class Broken:
        def submit(self, *_):
            future = concurrent.futures.Future()
            future.set_exception(BrokenProcessPool("terminated abruptly"))
            return future

    with pytest.raises(OSError, match=r"a process that renders died.* fewer --workers"):
        list(synthetic._map(Broken(), 1, abs, [1]))
