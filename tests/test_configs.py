"""Variants of configs, and the fields that each config lists."""

import importlib
import json
import re
from pathlib import Path

import pytest

from lipsync_jax import methods
from lipsync_jax.configs import common
from lipsync_jax.methods import fields
from lipsync_jax.training import checkpoints, inputs, model_cards

ROOT = Path(__file__).parents[1]
NAMES = sorted({p.stem for p in (ROOT / "configs").glob("*.py")} - {"__init__", "common"})


def module(name):
    return importlib.import_module(f"lipsync_jax.configs.{name}")


def load(name, variant):
    return module(name).get_config(variant)


def flat(name, variant):
    return fields.flatten(load(name, variant).to_dict())


ALL = [(name, variant) for name in NAMES for variant in module(name).VARIANTS.all()]


def blocks(config, prefix="config"):
    """Yields each block of a config with its name."""
    yield prefix, config
    for name, value in config.items():
        if hasattr(value, "items"):
            yield from blocks(value, f"{prefix}.{name}")


@pytest.mark.parametrize("name", NAMES)
def test_every_config_has_its_own_name_and_defaults(name):
    variants = module(name).VARIANTS
    assert variants.config == name
    assert module(name).get_config() == load(name, variants.all()[0])


@pytest.mark.parametrize("name", NAMES)
def test_headers_name_command_paper_and_expected_metrics(name):
    header = module(name).__doc__
    assert f"python main.py --config=configs/{name}.py" in header
    sections = re.search(r"^Paper: .+^Expected: (.+)", header, re.MULTILINE | re.DOTALL)
    assert sections, "a paragraph `Paper: ...` and, after it, one `Expected: ...`"
    for variant in re.findall(r"`:([\w=,]+)`", header):
        load(name, variant)
    known = {field for variant in module(name).VARIANTS.all() for field in flat(name, variant)}
    for command in re.findall(
        rf"python main.py --config=configs/{name}\.py.*?\n\n", header, re.DOTALL
    ):
        assert set(re.findall(r"--(config\.[\w.]+)=", command)) <= known
    results = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for number in re.findall(r"\d+\.\d+(?![\d.]|\shours)", sections[1]):
        assert number in results


@pytest.mark.parametrize(
    ("name", "short", "full"),
    [
        ("wav2lip", "published", ""),
        ("wav2lip", "tiny", "size=tiny"),
        ("sync_expert", "small_data", "size=small_data"),
        ("lip_reader", "grid", ""),
        ("lipgan", "published", "size=published,system=mfcc"),
        ("lipgan", "tiny_published", "size=tiny"),
        ("lipgan", "tiny_mel", "system=mel,size=tiny"),
        ("speech2vid", "plain", "system=no_deblur"),
        ("speech2vid", "tiny_five", "size=tiny,system=k5"),
        ("speech2vid", "tiny,system=five", "size=tiny,system=k5"),
        ("vougioukas", "paper2018", ""),
        ("vougioukas", "small_data_successor", "size=small_data,system=v2020"),
        ("vougioukas", "tiny_l1", "size=tiny,system=l1"),
    ],
)
def test_short_and_old_names_of_variants(name, short, full):
    assert load(name, short) == load(name, full)


POD = [(name, variant) for name, variant in ALL if "size=pod" in variant]


@pytest.mark.parametrize(("name", "variant"), POD)
def test_a_pods_batch_sees_as_many_clips_at_a_scaled_rate(name, variant):
    one, pod = load(name, variant.replace("size=pod", "size=published")), load(name, variant)
    factor = pod.data.batch_size / one.data.batch_size
    for devices in (32, 64, 128):
        assert pod.data.batch_size % devices == pod.data.validation_batch_size % devices == 0
    clips = pod.train.steps * pod.data.batch_size
    assert clips == pytest.approx(one.train.steps * one.data.batch_size, rel=1e-3)
    rise = pod.optimizer.learning_rate / one.optimizer.learning_rate
    assert rise == pytest.approx(factor if not pod.get("discriminators") else factor**0.5)
    assert 0 < pod.optimizer.warmup_steps < pod.train.steps / 10
    for discriminator in pod.get("discriminators", {}).values():
        assert discriminator.optimizer.warmup_steps == pod.optimizer.warmup_steps


@pytest.mark.parametrize(
    ("variant", "problem"),
    [
        ("huge", "no variant 'huge'"),
        ("size=huge", "no variant 'size=huge'"),
        ("depth=tiny", "no variant 'depth=tiny'"),
        ("tiny_tiny", "no variant 'tiny_tiny'"),
        ("size=tiny,size=published", "sets size to both 'tiny' and 'published'"),
    ],
)
def test_unknown_variants_are_refused_with_the_list_of_arguments(variant, problem):
    with pytest.raises(ValueError, match=problem) as error:
        load("lipgan", variant)
    assert "configs/lipgan.py" in str(error.value)
    assert "size=published|tiny (default published); system=mfcc|mel|unet" in str(error.value)


@pytest.mark.parametrize(("name", "variant"), ALL)
def test_every_variant_lists_every_field(name, variant):
    config = load(name, variant)
    assert fields.missing_fields(config.to_dict()) == []
    for block, values in blocks(config):
        if "learning_rate" in values:
            assert set(values) == {"learning_rate", *fields.OPTIMIZER}, block
    expected = {"steps", "log_every", "validate_every", "checkpoint_every", *fields.TRAIN}
    assert set(config.train) == expected
    # Every trained network of a variant can start from a checkpoint.
    method = methods.load(config, {})
    trained = {name for name, network in method.networks.items() if network.optimizer}
    assert trained <= set(config.init_from)


@pytest.mark.parametrize("name", NAMES)
def test_all_variants_of_a_config_have_the_same_fields(name):
    """Except for discriminators and frozen networks, which some variants lack."""
    optional = ("config.discriminators", "config.init_from", "config.frozen")
    found = [
        {n for n in flat(name, v) if not n.startswith(optional)}
        for v in module(name).VARIANTS.all()
    ]
    assert all(each == found[0] for each in found)


def test_every_field_is_listed_in_configs():
    """`config.get("x", default)` would be a setting that no config lists."""
    hidden = re.compile(r"\b(config|optimizer|train|data|model|frozen)\.get\(\s*['\"]")
    for folder in ("methods", "training"):
        for path in (ROOT / "lipsync_jax" / folder).rglob("*.py"):
            found = [m.group() for m in hidden.finditer(path.read_text(encoding="utf-8"))]
            assert not found, f"{path}: {found}"


def test_unknown_fields_are_refused():
    with pytest.raises(TypeError, match=r"no field 'momentum'; there are learning_rate, b1"):
        common.optimizer(1e-4, momentum=0.9)
    with pytest.raises(TypeError, match="no field 'save_every'"):
        common.train(10, every=5, save_every=2)
    with pytest.raises(TypeError, match="no field 'hinge'; there are l1, lower_half"):
        common.loss(hinge=1.0)
    with pytest.raises(TypeError, match="no field 'samples'; there are frames_per_clip"):
        common.discriminator(1.0, common.optimizer(1e-4), samples=1)


def test_a_config_that_lacks_fields_is_refused_and_a_model_card_completed(tmp_path):
    config = load("sync_expert", "tiny")
    with config.unlocked():
        del config.optimizer.clip_norm, config.train.early_stopping_patience, config.init_from
    with pytest.raises(ValueError, match=r"has no config.init_from, config.optimizer.clip_norm, "):
        inputs.require_inputs(config)
    (tmp_path / model_cards.ITEM).mkdir()
    card = {**model_cards.stamp(), "config": json.loads(config.to_json()), "step": 3}
    (tmp_path / model_cards.ITEM / "metadata").write_text(json.dumps(card), encoding="utf-8")
    known = checkpoints.read_model_card(tmp_path)
    assert known["step"] == 3 and fields.missing_fields(known["config"]) == []
    assert known["config"]["optimizer"]["learning_rate"] == config.optimizer.learning_rate
    assert known["config"]["optimizer"]["clip_norm"] == 0.0
