"""Every variant of every config lists all fields that the code reads."""

import importlib
import json
import re
from pathlib import Path

import pytest

from lipsync_jax import methods
from lipsync_jax.configs import common, glance, jain, lipgan, speech2vid, temporal_gan
from lipsync_jax.methods import fields
from lipsync_jax.training import checkpoints, inputs

ROOT = Path(__file__).parents[1]
_SMALL = ("published", "small_data", "tiny")
VARIANTS = {
    "flownet": ("published", "tiny"),
    "glance": (*glance.SYSTEMS, *(f"tiny_{system}" for system in glance.SYSTEMS)),
    "glance_autoencoder": ("published", "tiny"),
    "jain": jain.VARIANTS,
    "lip_reader": ("grid", "small_data"),
    "lipgan": (*lipgan.BRANCHES, *(f"tiny_{branch}" for branch in lipgan.BRANCHES)),
    "speech2vid": (*speech2vid.SYSTEMS, *(f"tiny_{system}" for system in speech2vid.SYSTEMS)),
    "sync_expert": _SMALL,
    "temporal_gan": (
        *temporal_gan.SYSTEMS,
        *(f"{size}_{s}" for size in temporal_gan.SIZES for s in temporal_gan.SYSTEMS),
    ),
    "vgan": ("still", "released", "tiny_still", "tiny_released"),
    "wav2lip": _SMALL,
    "wav2lip_gan": _SMALL,
}
ALL = [(name, variant) for name, variants in VARIANTS.items() for variant in variants]


def load(name, variant):
    return importlib.import_module(f"lipsync_jax.configs.{name}").get_config(variant)


def blocks(config, prefix="config"):
    """Every block of a config with its name."""
    yield prefix, config
    for name, value in config.items():
        if hasattr(value, "items"):
            yield from blocks(value, f"{prefix}.{name}")


def test_no_config_is_left_out():
    modules = {p.stem for p in (ROOT / "configs").glob("*.py")} - {"__init__", "common"}
    assert modules == set(VARIANTS)


@pytest.mark.parametrize(("name", "variant"), ALL)
def test_every_variant_lists_every_field(name, variant):
    config = load(name, variant)
    assert fields.lacking(config.to_dict()) == []
    for block, values in blocks(config):
        if "learning_rate" in values:
            assert set(values) == {"learning_rate", *fields.OPTIMISER}, block
    steering = {"steps", "log_every", "validate_every", "checkpoint_every", *fields.TRAIN}
    assert set(config.train) == steering
    # Whatever learns in a variant can begin with a checkpoint.
    method = methods.load(config, {})
    learning = {name for name, player in method.players.items() if player.optimiser}
    assert learning <= set(config.start_from)


@pytest.mark.parametrize("name", VARIANTS)
def test_all_variants_of_a_config_have_the_same_fields(name):
    """But for the discriminators and frozen networks that some do without."""
    optional = ("config.judges", "config.start_from", "config.frozen")
    found = [
        {n for n in fields.flat(load(name, v).to_dict()) if not n.startswith(optional)}
        for v in VARIANTS[name]
    ]
    assert all(each == found[0] for each in found)


def test_no_field_is_read_in_secret():
    """`config.get("x", default)` would be a setting that nobody can see."""
    secret = re.compile(r"\b(config|optimiser|train|data|model|frozen)\.get\(\s*['\"]")
    for folder in ("methods", "training"):
        for path in (ROOT / "lipsync_jax" / folder).rglob("*.py"):
            found = [m.group() for m in secret.finditer(path.read_text(encoding="utf-8"))]
            # These two check files of strangers, which may lack anything.
            assert not found or path.name in ("cards.py", "arrays.py"), f"{path}: {found}"


def test_a_field_that_does_not_exist_is_refused():
    with pytest.raises(TypeError, match=r"no field 'momentum'; there are learning_rate, b1"):
        common.optimiser(1e-4, momentum=0.9)
    with pytest.raises(TypeError, match="no field 'save_every'"):
        common.train(10, every=5, save_every=2)


def test_a_config_that_lacks_fields_is_refused_and_an_old_card_completed(tmp_path):
    config = load("sync_expert", "tiny")
    with config.unlocked():
        del config.optimiser.clip_norm, config.train.patience, config.start_from
    with pytest.raises(ValueError, match=r"has no config.optimiser.clip_norm, config.start_from, "):
        inputs.require(config)
    (tmp_path / "card").mkdir()
    card = {"config": json.loads(config.to_json()), "step": 3}
    (tmp_path / "card" / "metadata").write_text(json.dumps(card), encoding="utf-8")
    known = checkpoints.read_card(tmp_path)
    assert known["step"] == 3 and fields.lacking(known["config"]) == []
    assert known["config"]["optimiser"]["learning_rate"] == config.optimiser.learning_rate
    assert known["config"]["optimiser"]["clip_norm"] == 0.0
