import io
import json
import os
import pickle
import struct
import time
import tracemalloc
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from lipsync_jax.interop import torch_files

FOLDER = Path(__file__).parents[1] / "golden" / "torch_files"
SAVED = ("zip.pth", "zip_protocol4.pth", "legacy.pth")
SCRIPTS = ("scripted.pt", "traced.pt")
BASE = np.arange(24, dtype=np.float32).reshape(4, 6) / 8

STORAGE = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x18tQ"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


@pytest.fixture(scope="module")
def safetensors_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("safetensors") / "weights.safetensors"
    safetensors.numpy.save_file(tensors(), path, {"format": "np"})
    return path


def tensors():
    kinds = (np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.int64, np.uint8, np.bool_)
    made = {np.dtype(kind).name: np.arange(6).astype(kind).reshape(2, 3) for kind in kinds}
    return {**made, "scalar": np.array(7, np.int32), "empty": np.zeros((0, 3), np.float32)}


def rewrite(source, target, change, **options):
    """A copy of a zip archive; `change(name, content)` gives each member's new content."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w", **options) as copy:
        for name in archive.namelist():
            copy.writestr(name, change(name.partition("/")[2], archive.read(name)))
    return target


def with_pickle(code, folder):
    """A zip file of PyTorch's whose pickle is replaced."""
    return rewrite(
        FOLDER / "zip.pth",
        folder / "made.pth",
        lambda name, content: code if name == "data.pkl" else content,
    )


@pytest.mark.parametrize("name", SAVED)
def test_reads_what_torch_saved(name):
    found = torch_files.read(FOLDER / name)
    state = found["state_dict"]
    expected = {
        "module.weight": BASE,
        "module.transposed": BASE.T,
        "module.part": BASE[1:3, ::2],
        "module.expanded": np.array([[1.5] * 3, [2.5] * 3], np.float32),
        "module.scalar": np.array(7),
        "module.empty": np.zeros((0, 3), np.float32),
    }
    assert state.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(state[key], value, strict=True)
    kinds = "float64 float16 bfloat16 int64 int32 int16 int8 uint16 uint8 bool complex64".split()
    assert list(found["kinds"]) == kinds
    for kind, value in found["kinds"].items():
        expected_kind = np.dtype(getattr(ml_dtypes, kind, kind))
        np.testing.assert_array_equal(value, np.arange(5).astype(expected_kind), strict=True)
    np.testing.assert_array_equal(found["numpy"], np.arange(6.0).reshape(2, 3), strict=True)
    assert found["optimizer"] == {
        "state": {0: {"step": 3}},
        "param_groups": [{"lr": 1e-4, "betas": (0.9, 1)}],
    }
    rest = {key: found[key] for key in ("number", "size", "large", "text", "nothing")}
    assert rest == {
        "number": np.float32(0.25),
        "size": (4, 6),
        "large": 2**70,
        "text": "naïve",
        "nothing": None,
    }


@pytest.mark.parametrize("name", SAVED)
def test_tensors_are_views_that_share_memory(name):
    state = torch_files.state_dict(torch_files.read(FOLDER / name))
    assert np.shares_memory(state["module.transposed"], state["module.part"])
    assert not any(value.flags.owndata for value in state.values() if value.size)
    with pytest.raises(ValueError, match="read-only"):
        state["module.weight"][0, 0] = 1


@pytest.mark.parametrize("name", SCRIPTS)
def test_reads_the_attributes_of_torchscript(name):
    state = torch_files.state_dict(torch_files.read(FOLDER / name))
    expected = {
        "blocks.0.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "blocks.0.bias": np.array([0.5, -0.5], np.float32),
        "blocks.1.weight": np.ones(2, np.float32),
        "blocks.1.bias": np.zeros(2, np.float32),
        "blocks.1.running_mean": np.zeros(2, np.float32),
        "blocks.1.running_var": np.ones(2, np.float32),
        "blocks.1.num_batches_tracked": np.array(0),
    }
    assert state.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(state[key], value, strict=True)


def test_reads_safetensors(safetensors_file):
    found = torch_files.read(safetensors_file)
    assert found.keys() == tensors().keys()
    for key, value in tensors().items():
        np.testing.assert_array_equal(found[key], value, strict=True)


def test_swaps_the_bytes_of_big_endian_files(tmp_path):
    big = rewrite(
        FOLDER / "zip.pth",
        tmp_path / "big.pth",
        lambda name, content: b"big" if name == "byteorder" else content,
    )
    state = torch_files.state_dict(torch_files.read(big))
    np.testing.assert_array_equal(
        state["module.weight"].view(np.uint32), BASE.byteswap().view(np.uint32)
    )


VIEW = REBUILD + b"(h\x00K\x00(M\x00\x04M\x00\x04t(M\x00\x04K\x01ttR"
MEGA = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuJ\0\0\x10\0tQq\x00"


def archive(path, code, byteorder="big"):
    """A zip of PyTorch's with one storage of 2**20 float32 values."""
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("a/data.pkl", b"\x80\x02" + code)
        made.writestr("a/byteorder", byteorder)
        made.writestr("a/data/0", np.arange(2**20, dtype=">f4").tobytes())
    return path


def peak_megabytes(read):
    tracemalloc.start()
    try:
        return read(), tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def test_swaps_a_storage_once_for_all_its_views(tmp_path):
    path = archive(tmp_path / "views.pth", b"](" + MEGA + VIEW * 3000 + b"e.")
    found, peak = peak_megabytes(lambda: torch_files.read(path)[1:])
    assert peak < 30  # the storage has 4 MB; each view with a copy of its own would make 12 GB
    assert len(found) == 3000
    np.testing.assert_array_equal(found[0].ravel()[:3], [0, 1, 2])
    assert np.shares_memory(found[0], found[-1])
    assert not found[0].flags.writeable


def test_refuses_tensors_that_repeat_a_small_storage_without_end(tmp_path):
    expanded = REBUILD + b"(h\x00K\x00(J\0\0\x0f\0K\x01t(K\x00K\x00ttR"
    path = archive(tmp_path / "expanded.pth", b"](" + MEGA + expanded * 3000 + b"e.")
    with pytest.raises(ValueError, match=r"expanded\.pth describes more than \d+ MB"):
        torch_files.read(path)


@pytest.mark.parametrize(
    "code",
    [
        # One text of 1 MB, encoded 100,000 times.
        b"X\0\0\x10\0"
        + b"a" * 2**20
        + b"q\x000]("
        + b"c_codecs\nencode\nh\x00\x85R" * 10**5
        + b"e.",
        # One list of 10,000 pairs, made a dict of 100,000 times.
        b"]("
        + b"".join(b"J" + struct.pack("<i", i) + b"K\x00\x86" for i in range(10**4))
        + b"eq\x000]("
        + b"ccollections\nOrderedDict\nh\x00\x85R" * 10**5
        + b"e.",
        # Arguments without end; names without end.
        b"(" + b"N" * 1000 + b"tq\x000ctorch\nSize\nh\x00R.",
        b"X\0\0\x10\0" + b"a" * 2**20 + b"q\x00h\x00\x93.",
        b"\x8b\0\0\x01\0" + b"a" * 2**16 + b".",
    ],
)
def test_small_pickles_fill_no_memory(tmp_path, code):
    path = with_pickle(b"\x80\x02" + code, tmp_path)
    begun = time.monotonic()
    with pytest.raises(ValueError, match=r"made\.pth "):
        torch_files.read(path)
    assert time.monotonic() - begun < 5


def test_refuses_a_zip_whose_members_overlap(tmp_path):
    path = archive(tmp_path / "overlap.pth", b"N.")
    content = path.read_bytes()
    place = content.rindex(b"PK\1\2")  # the directory's entry of data/0, again and again
    end = content.rindex(b"PK\5\6")
    entry = content[place:end]
    entries = b"".join(entry.replace(b"a/data/0", b"a/data/%d" % i) for i in range(1, 9))
    count, size, offset = struct.unpack_from("<8xHxxII", content, end)
    tail = struct.pack("<4s4xHHIIxx", b"PK\5\6", 11, 11, size + len(entries), offset)
    path.write_bytes(content[:end] + entries + tail)
    assert count == 3
    with pytest.raises(ValueError, match="larger than the file"):
        torch_files.read(path)


def safetensors_of(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(begin, end, shape=(1,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("header", "size", "message"),
    [
        ({"a": entry(4, 8)}, 8, "a follows a gap at byte 4"),
        ({"a": entry(0, 4), "b": entry(8, 12)}, 12, "b follows a gap at byte 8"),
        ({"a": entry(0, 4), "b": entry(0, 4)}, 4, "b overlaps another tensor at byte 0"),
        ({"a": entry(0, 8, [2]), "b": entry(4, 8)}, 8, "b overlaps another tensor at byte 4"),
        ({"a": entry(0, 4)}, 9, "its tensors end at byte 4, its data at 9"),
        ({"a": entry(0, 4)}, 3, "truncated: a ends at byte 4 of 3"),
        ({"a": entry(-4, 0)}, 4, "shape or data_offsets of a are no whole numbers"),
        ({"a": entry(0, 4, [-1])}, 4, "no whole numbers"),
        ({"a": entry(0, 4, [1.0])}, 4, "no whole numbers"),
        ({"a": entry(0, 4, [True])}, 4, "no whole numbers"),
        ({"a": entry(0, 4, [2**70])}, 4, "no whole numbers"),
        ({"a": entry(0, 0, [2**62, 2**62, 0])}, 0, "damaged"),
        ({"a": {**entry(0, 4), "data_offsets": 4}}, 4, "no whole numbers"),
        ({"a": {**entry(0, 4), "data_offsets": [0]}}, 4, "damaged"),
        ({"a": entry(0, 4, [2])}, 4, "a has 4 bytes where its shape needs 8"),
        ({"a": entry(0, 4, dtype=["F32"])}, 4, "in the type"),
        ({"a": entry(0, 4, dtype=None)}, 4, "in the type"),
        ({"a": entry(0, 4, dtype="F8_E4M3")}, 4, "in the type F8_E4M3"),
        ({"a": 4}, 4, "a has not just data_offsets, dtype, shape"),
        ({"a": {**entry(0, 4), "more": 1}}, 4, "a has not just"),
        ({"__metadata__": [1]}, 0, "__metadata__ is no table of texts"),
        ({"__metadata__": {"a": 1}}, 0, "__metadata__ is no table of texts"),
        (b'{"a": 1, "a": 2}', 0, "a name twice"),
        (b'{"a"', 0, "damaged or truncated"),
        (b'{"\xff": 1}', 0, "damaged or truncated"),
        (b'{"a":' + b"[" * 10**5, 0, "damaged or truncated"),
        (b'{"a":' + b"9" * 10**5 + b"}", 0, "damaged or truncated"),
    ],
)
def test_refuses_safetensors_that_do_not_account_for_each_byte(tmp_path, header, size, message):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(safetensors_of(header, bytes(size)))
    with pytest.raises(ValueError, match=rf"^checkpoint .*weights\.safetensors .*{message}"):
        torch_files.read(path)


def test_escapes_what_it_quotes_of_a_file(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(safetensors_of({"\x1b[2J\n" + "a" * 10**4: entry(4, 8)}, bytes(8)))
    with pytest.raises(ValueError, match=r"\\x1b\[2J\\n") as caught:
        torch_files.read(path)
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isprintable()


def test_reads_python_2_pickles(tmp_path):
    """Byte strings for text, an OrderedDict of a list of pairs, and a storage within another."""
    storage = b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x18"
    tensor = b"ctorch._utils\n_rebuild_tensor\n("
    whole = tensor + storage + b"tQK\x01(K\x02K\x02t(K\x06K\x01ttR"
    row = tensor + storage + b"(U\x011K\x06K\x06ttQK\x00(K\x06t(K\x01ttR"
    pairs = b"](U\x01a" + whole + b"e](U\x01b" + row + b"e"
    code = b"\x80\x02ccollections\nOrderedDict\n(](" + pairs + b"etR."
    found = torch_files.read(with_pickle(code, tmp_path))
    np.testing.assert_array_equal(found["a"], BASE[:2, 1:3])
    np.testing.assert_array_equal(found["b"], BASE[1])


class Attack:
    """Pickles as a call that makes a file."""

    def __init__(self, function, argument):
        self.call = (function, (argument,))

    def __reduce__(self):
        return self.call


def legacy(code):
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    return b"".join(pickle.dumps(value, 2) for value in head) + code + pickle.dumps([], 2)


@pytest.mark.parametrize("container", ["plain", "zip", "legacy"])
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_runs_nothing(tmp_path, container, protocol):
    made = tmp_path / "made"
    for function, argument, name in (
        (os.system, f"touch {made}", f"{os.system.__module__}.system"),
        (eval, f"open({str(made)!r}, 'w')", r"(builtins|__builtin__).eval"),
        (Path.touch, made, ".*(pathlib|getattr)"),
    ):
        code = pickle.dumps({"state_dict": Attack(function, argument)}, protocol)
        if protocol == 0:
            code = pickle.dumps(Attack(function, argument), protocol)
        path = tmp_path / "attack.pth"
        if container == "zip":
            path = with_pickle(code, tmp_path)
        else:
            path.write_bytes(code if container == "plain" else legacy(code))
        with pytest.raises(ValueError, match=f"{path.name} names ({name})"):
            torch_files.read(path)
        assert not made.exists()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (REBUILD + b"}X\x08\0\0\0__code__Nsb.", "sets attributes of an object"),
        (b"ctorch\nFloatStorage\n)R.", "calls an object that is no function"),
        (b"X\x01\0\0\0aX\x01\0\0\0bR.", "calls an object that is no function"),
        (b"(dios\nsystem\n.", "instruction DICT"),
        (b"(X\x01\0\0\0aios\nsystem\n.", "instruction INST"),
        (REBUILD + b"(" + STORAGE + b"K\x00(M\xff\x7fM\xff\x7ft(K\x00K\x00ttR.", "whole file"),
        (REBUILD + b"(" + STORAGE + b"K\x14(K\x05t(K\x01ttR.", "leaves its storage"),
        (REBUILD + b"(" + STORAGE + b"J\xff\xff\xff\xff(K\x05t(K\x01ttR.", "no whole numbers"),
        (b"}" + b")\x85" + b"\x85" * 9 + b"Ns.", "no plain value"),
        (b"(X\x06\0\0\0moduleNNNtQ.", r"save its state_dict\(\)"),
        (b"]K\x01K\x02s.", "damaged or truncated"),
        (b"K\x01a.", "damaged or truncated"),
        (b"h\x07.", "damaged or truncated"),
        (b".", "damaged or truncated"),
        (b"cnumpy\ndtype\n(X\x02\0\0\0O8K\x00K\x01tR.", "a type that is not numeric"),
    ],
)
def test_refuses_pickles_that_make_no_sense(tmp_path, code, message):
    with pytest.raises(ValueError, match=message):
        torch_files.read(with_pickle(b"\x80\x02" + code, tmp_path))


def all_files(safetensors_file):
    return [*(FOLDER / name for name in (*SAVED, *SCRIPTS)), safetensors_file]


def test_names_every_truncated_file(tmp_path, safetensors_file):
    cut = tmp_path / "cut.pth"
    for path in all_files(safetensors_file):
        whole = path.read_bytes()
        for length in np.linspace(0, len(whole) - 1, 20).astype(int):
            cut.write_bytes(whole[:length])
            with pytest.raises(ValueError, match=r"checkpoint .*cut\.pth "):
                torch_files.read(cut)


def test_damaged_files_raise_nothing_but_value_errors(tmp_path, safetensors_file):
    damaged, rng = tmp_path / "damaged.pth", np.random.default_rng(0)
    refused = 0
    for path in all_files(safetensors_file):
        whole = path.read_bytes()
        for _ in range(60):
            content = bytearray(whole)
            for place in rng.integers(0, len(whole), 4):
                content[place] = rng.integers(256)
            damaged.write_bytes(content)
            try:
                torch_files.state_dict(torch_files.read(damaged))
            except ValueError:
                refused += 1
    assert refused > 30


def foreign_zip(compression):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("word/document.xml", "text" * 9)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "neither"),
        (bytes(257) + b"ustar" + bytes(512), "tar archive"),
        (pickle.dumps({"a": 1}), "pickle, but none of PyTorch's"),
        (foreign_zip(zipfile.ZIP_STORED), "no data.pkl"),
        (struct.pack("<Q", 10**8) + b"{}", "truncated"),
        (struct.pack("<Q", 10**8 + 1) + b"{}", "no safetensors file: its header has 100000001"),
    ],
)
def test_names_foreign_files(tmp_path, content, message):
    path = tmp_path / "wav2lip.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"wav2lip\.pth .*{message}"):
        torch_files.read(path)


def test_unpacks_no_compressed_tensors(tmp_path):
    options = {"compression": zipfile.ZIP_DEFLATED}
    path = rewrite(FOLDER / "zip.pth", tmp_path / "bomb.pth", lambda _, c: c, **options)
    with pytest.raises(ValueError, match="compressed"):
        torch_files.read(path)


def test_says_that_a_file_is_missing(tmp_path):
    for path in (tmp_path, tmp_path / "missing.pth"):
        with pytest.raises(FileNotFoundError, match="does not exist or is no file"):
            torch_files.read(path)


@pytest.mark.parametrize(
    ("tree", "message"),
    [([1], "a list, no state dict"), ({"epoch": 3}, "top-level keys are epoch"), ({}, "nothing")],
)
def test_says_where_there_is_no_state_dict(tree, message):
    with pytest.raises(ValueError, match=message):
        torch_files.state_dict(tree)


def test_trapped_torchscript_ends():
    module = torch_files.ScriptModule(weight=np.zeros(1))
    for _ in range(60):
        module = torch_files.ScriptModule(a=module, b=module)
    with pytest.raises(ValueError, match="two places"):
        torch_files.state_dict(module)
