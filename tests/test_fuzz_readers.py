"""Any bytes at all: a reader returns a value, or says in one line which file is at fault.

Examples are drawn from a fixed seed, few enough for a second or two each.
"""

import json
import shutil
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lipsync_jax.cli import _batch
from lipsync_jax.interop import torch_files, torch_storage
from lipsync_jax.interop.torch_storage import Storage, StorageBytes
from lipsync_jax.media import audio, samples, video_reader
from lipsync_jax.text import printable, printable_lines
from lipsync_jax.training import arrays, model_cards
from tests.helpers import media_files
from tests.interop.test_torch_files import FOLDER, SAVED, SCRIPTS, STORAGE


def examples(count):
    return settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "insert", "delete", "repeat", "cut", "flip"]),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 40),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=6,
)


def edited(content: bytes, edits) -> bytes:
    made = bytearray(content)
    for kind, where, length, value in edits:
        at = int(where * len(made))
        if kind == "set" and made:
            made[at] = value
        elif kind == "flip" and made:
            made[at] ^= 1 << value % 8
        elif kind == "insert":
            made[at:at] = bytes([value]) * length
        elif kind == "delete":
            del made[at : at + length]
        elif kind == "repeat":
            made[at:at] = made[at : at + length]
        elif kind == "cut":
            del made[at:]
    return bytes(made)


def reads_or_reports(read, path):
    """What a reader returns, or None after an error of one line that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read(path)
    except (ValueError, FileNotFoundError) as error:
        assert Path(path).name in str(error)
        assert str(error).isprintable(), str(error)
        assert len(str(error)) < 2000


def torch_values(path):
    found = torch_files.read(path)
    try:
        return torch_files.state_dict(found)
    except ValueError as error:  # its callers name the file
        assert printable(error).isprintable()
        return found


@pytest.fixture(scope="module")
def at(tmp_path_factory):
    return tmp_path_factory.mktemp("strange bytes")


@pytest.mark.parametrize("name", (*SAVED, *SCRIPTS))
@examples(60)
@given(edits=EDITS)
def test_files_of_pytorch(at, name, edits):
    path = at / "weights.pth"
    path.write_bytes(edited((FOLDER / name).read_bytes(), edits))
    reads_or_reports(torch_values, path)


INTEGERS = st.one_of(st.integers(-3, 9), st.integers(-(2**31), 2**31 - 1))
NAMES = (
    b"torch\nSize torch\nFloatStorage torch._utils\n_rebuild_tensor_v2 __torch__.a\nB os\nsystem "
    b"_codecs\nencode collections\nOrderedDict numpy\nndarray numpy\ndtype "
    b"numpy.core.multiarray\nscalar numpy.core.multiarray\n_reconstruct"
).split(b" ")
PIECES = st.one_of(
    st.sampled_from(
        [bytes([n]) for n in b"()]}.0aebsutRQ\x81\x85\x86\x87\x93\x94N\x88\x89\x8f12ldo"]
    ),
    st.sampled_from([b"c" + name + b"\n" for name in NAMES]),
    st.sampled_from([STORAGE, b"h\0", b"q\0", b"h\1", b"q\1", b"i\n\n", b"K\4", b"M\0\1"]),
    st.sampled_from([b"X\2\0\0\0f4", b"X\1\0\0\0<", b"C\4\0\0\x80?"]),
    INTEGERS.map(lambda n: b"J" + struct.pack("<i", n)),
    st.binary(max_size=20).map(lambda text: b"C" + bytes([len(text)]) + text),
    st.text(max_size=9).map(
        lambda text: (
            b"X"
            + struct.pack("<I", len(text.encode("utf-8", "surrogatepass")))
            + text.encode("utf-8", "surrogatepass")
        )
    ),
)


@examples(80)
@given(pieces=st.lists(PIECES, max_size=30))
def test_pickles_of_any_instructions(at, pieces):
    path = at / "instructions.pth"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("a/data.pkl", b"\x80\x02" + b"".join(pieces) + b".")
        made.writestr("a/data/0", bytes(96))
    reads_or_reports(torch_values, path)


SIZES = st.lists(st.integers(-1, 6), max_size=4)


@examples(150)
@given(
    offset=INTEGERS,
    size=SIZES,
    strides=SIZES,
    kind=st.sampled_from(["f4", "f8", "u1", "i2", "c8"]),
    byteorder=st.sampled_from(["little", "big"]),
    begin=st.integers(0, 50),
)
def test_tensors_are_within_their_storage(offset, size, strides, kind, byteorder, begin):
    data, dtype = bytes(range(1, 97)), np.dtype(kind)
    storage = Storage(StorageBytes(memoryview(data), byteorder), dtype, begin)
    try:
        found = torch_storage.tensor_view(storage, offset, tuple(size), tuple(strides))
    except ValueError:
        return
    order = {"little": "<", "big": ">"}[byteorder]
    count = len(data) // 16 * 16
    swapped = np.frombuffer(data[:count], dtype.newbyteorder(order)).astype(dtype).tobytes()
    values = np.frombuffer(swapped[begin:], np.uint8)
    assert found.shape == tuple(size) and found.nbytes <= len(data)
    for place in np.ndindex(found.shape):
        first = dtype.itemsize * (offset + int(np.dot(place, strides)))
        expected = values[first : first + dtype.itemsize].tobytes()
        assert found[place].tobytes() == expected


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=8),
        st.sampled_from(["F32", "I8", "BOOL", 2**63, 2**64, 1e308, "wav2lip", "face96"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)
ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "I8", "F64"]),
        "shape": st.lists(st.integers(0, 3), max_size=2),
        "data_offsets": st.lists(st.sampled_from([0, 4, 8, 12, 16]), min_size=2, max_size=2),
    }
)


@examples(150)
@given(
    header=st.dictionaries(
        st.text(max_size=4), st.one_of(ENTRY, ENTRY, ENTRY, JSON), min_size=1, max_size=3
    ),
    body=st.sampled_from([0, 4, 8, 12, 16]),
)
def test_safetensors_of_any_header(at, header, body):
    path = at / "weights.safetensors"
    text = json.dumps(header).encode()
    content = struct.pack("<Q", len(text)) + text + bytes(range(body))
    path.write_bytes(content)
    found = reads_or_reports(torch_files.read, path)
    if found is not None:  # the format's own library is no less strict, and reads the same
        expected = safetensors.numpy.load(content)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value, strict=True)


@examples(80)
@given(edits=EDITS)
def test_safetensors(at, edits):
    path = at / "edited.safetensors"
    tensors = {"a": np.ones((2, 3), np.float32), "b": np.zeros(4, np.int8)}
    path.write_bytes(edited(safetensors.numpy.save(tensors), edits))
    reads_or_reports(torch_files.read, path)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Tiny files of several formats."""
    folder = tmp_path_factory.mktemp("films")
    times, sound = media_files.uniform_times(4), media_files.tone(440, 0.16, 16_000)
    coded = {"rate": 16_000}
    media_files.write_media(folder / "a.mp4", times, sound, **coded)
    media_files.write_media(folder / "a.mkv", times, sound, **coded, audio_codec="pcm_s16le")
    media_files.write_media(folder / "a.avi", times, sound, **coded, audio_codec="pcm_s16le")
    media_files.write_media(folder / "a.wav", (), sound, rate=16_000, audio_codec="pcm_s16le")
    media_files.write_media(folder / "a.flac", (), sound, rate=16_000, audio_codec="flac")
    video_reader.write_image(folder / "a.png", media_files.quadrants())
    video_reader.write_image(folder / "a.jpg", media_files.quadrants())
    return folder


def watch(path):
    info = video_reader.probe(path)
    for number, frame in enumerate(video_reader.read_frames(path)):
        assert frame.image.dtype == np.uint8 and number < 1000
    return info


def read_audio(path):
    count = 0
    for chunk in samples.SampleStream(path):
        count += len(chunk)
        assert chunk.dtype == np.float32 and count < 10**8
    audio.load(path)
    return count


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.wav", "a.flac", "a.png", "a.jpg"])
@examples(25)
@given(edits=EDITS)
def test_media(at, films, name, edits):
    path = at / name
    path.write_bytes(edited((films / name).read_bytes(), edits))
    if path.suffix not in (".wav", ".flac"):
        reads_or_reports(watch, path)
    if path.suffix not in (".png", ".jpg"):
        reads_or_reports(read_audio, path)


def options():
    def add(parser):
        for name in ("--face", "--audio", "--outfile", "--crf"):
            parser.add_argument(name)
        parser.add_argument("--box", nargs=4)

    return _batch.make_row_options(add, "dub")


TABLE = b"face,audio,outfile,crf,box\na.mp4,b.wav,c.mp4,20,1 2 3 4\nd.mp4,e.wav,f.mp4,,\n"


@examples(200)
@given(content=st.one_of(st.binary(max_size=80), EDITS.map(lambda e: edited(TABLE, e))))
def test_tables_of_many_videos(at, content):
    path = at / "list.csv"
    path.write_bytes(content)
    known = options()
    rows = reads_or_reports(lambda p: _batch.read_rows(p, known, str(p)), path)
    for row in rows or ():
        assert set(row) <= known.columns | {""}
        assert all(isinstance(cell, str) and cell for cell in row.values())


CARD = {
    **model_cards.stamp(),
    "config": {
        "method": "wav2lip",
        "model": {"width_mult": 0.5, "image_size": [96, 96]},
        "data": {"crop": "face96"},
        "frame_rate": 25,
    },
    "validation": {"balanced_accuracy": 0.9},
    "step": 100,
    "source": {"file": "a.pth"},
}


@examples(150)
@given(
    content=st.one_of(
        EDITS.map(lambda e: edited(json.dumps(CARD).encode(), e)),
        JSON.map(lambda card: json.dumps(card).encode()),
        st.tuples(st.sampled_from(sorted(CARD)), JSON).map(
            lambda pair: json.dumps({**CARD, pair[0]: pair[1]}).encode()
        ),
        st.tuples(st.sampled_from(sorted(CARD["config"])), JSON).map(
            lambda pair: json.dumps(
                {**CARD, "config": {**CARD["config"], pair[0]: pair[1]}}
            ).encode()
        ),
    )
)
def test_model_cards(at, content):
    folder = at / "run"
    (folder / "model_card").mkdir(parents=True, exist_ok=True)
    (folder / "model_card" / "metadata").write_bytes(content)
    card = reads_or_reports(model_cards.read, folder)
    if card is not None:
        assert isinstance(card["config"]["method"], str)


@pytest.fixture(scope="module")
def item(tmp_path_factory):
    from lipsync_jax.training import checkpoints

    folder = tmp_path_factory.mktemp("stored") / "run"
    params = {"a": {"kernel": np.ones((3, 4), np.float32), "bias": np.ones(4, np.float32)}}
    checkpoints.export_networks(folder, {"generator": {"params": params, "batch_stats": {}}}, CARD)
    return folder / "generator"


@pytest.mark.parametrize("name", ["_METADATA", "manifest.ocdbt", "d"])
@examples(40)
@given(edits=EDITS)
def test_stored_arrays(at, item, name, edits):
    folder = shutil.copytree(item, at / "copy" / "generator", dirs_exist_ok=True)
    path = next((folder / "d").iterdir()) if name == "d" else folder / name
    path.write_bytes(edited(path.read_bytes(), edits))
    try:
        found = arrays.read(folder)
        assert all(
            leaf.nbytes < 1000 for part in found["params"].values() for leaf in part.values()
        )
    except (arrays.CheckpointError, KeyError) as error:
        assert str(error).isprintable()


@examples(200)
@given(text=st.text())
def test_printable_text(text):
    assert printable(text).isprintable()
    assert "\n" not in printable(text)
    assert printable_lines(text).count("\n") == text.count("\n")
    if text.isprintable():
        assert printable(text) == text
    assert len(printable(text, 10)) <= 10 * len("\\U0010ffff")
