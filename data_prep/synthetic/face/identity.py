"""Parameters of a rendered identity, sampled from a random generator."""

import dataclasses
from typing import Any

import numpy as np

from lipsync_jax.data_prep.synthetic.face.canvas import Light, colour

HAIR_STYLES = ("bald", "buzz", "crop", "quiff", "side", "curly", "bob", "long", "wavy", "bun")
CLOTHES = ("crew", "vee", "shirt", "hoodie", "blazer")
BACKGROUNDS = ("studio", "room", "bokeh", "outdoors")

_SKINS = (  # from light to dark
    (255, 217, 188),
    (246, 200, 165),
    (229, 180, 143),
    (205, 150, 112),
    (168, 113, 78),
    (122, 78, 53),
    (92, 58, 42),
)
_HAIRS = {
    "black": (34, 28, 27),
    "dark brown": (62, 42, 31),
    "brown": (104, 70, 46),
    "light brown": (146, 106, 70),
    "blond": (214, 176, 116),
    "red": (156, 78, 42),
    "grey": (150, 148, 146),
}
_IRISES = (
    (66, 42, 26),
    (92, 60, 34),
    (110, 92, 50),
    (86, 118, 92),
    (92, 130, 164),
    (122, 138, 150),
)
_FABRICS = (
    (38, 44, 58), (72, 78, 88), (150, 44, 48), (40, 88, 120), (228, 226, 220), (44, 96, 78),
    (214, 168, 74), (120, 82, 120), (86, 104, 150), (26, 26, 30), (196, 110, 92), (150, 180, 190),
)  # fmt: skip
_WALLS = (
    (186, 196, 204), (206, 196, 180), (120, 140, 156), (92, 104, 112), (168, 178, 160),
    (204, 178, 170), (70, 88, 110), (146, 130, 150), (216, 214, 208), (60, 76, 74),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Identity:
    """A face, a background and a light. Lengths are in head units, colours linear BGR.

    Attributes:
        seed: of all textures (hair, freckles, folds of cloth).
        male: 0 to 1; shapes and the voice's tract length lean on it.
        melanin: 0 light to 1 dark.
        skin: albedo.
        blush: how red cheeks and nose are.
        freckles: 0 to 1.
        shadow: shaved beard, 0 to 1.
        jaw: 0 pointed to 1 square.
        cheeks: fullness of the lower face, about 1.
        chin: y of the chin.
        age: 0 to 1, deepens folds.
        eye_x: distance of a pupil from the middle.
        eye_width: half the width of the lids' opening.
        eye_height: how wide open the eyes are, about 1.
        eye_tilt: how much higher the outer corners are.
        iris: colour.
        makeup: 0 to 1, lashes and lips.
        brow_y: height above the eyes (negative).
        brow_arch: how bent.
        brow_weight: how thick.
        nose_y: y of the tip.
        nose_width: relative.
        nose_bridge: how far it stands out, relative.
        mouth_y: y of the closed lips.
        mouth_width: half of it.
        upper_lip: thickness.
        lower_lip: thickness.
        smile: how much higher the corners rest.
        lips: colour.
        teeth: how far the upper teeth reach below the rest line.
        hair: one of `HAIR_STYLES`.
        hair_colour: colour.
        hairline: y of its middle.
        parting: x of the parting.
        beard: `none`, `moustache`, `goatee` or `full`.
        glasses: `none`, `round` or `square`.
        frame_colour: of the glasses.
        clothes: one of `CLOTHES`.
        fabric: colour.
        lining: colour of what is worn beneath.
        background: one of `BACKGROUNDS`.
        walls: two colours.
        light: what lights the face.
    """

    seed: int
    male: float
    melanin: float
    skin: np.ndarray
    blush: float
    freckles: float
    shadow: float
    jaw: float
    cheeks: float
    chin: float
    age: float
    eye_x: float
    eye_width: float
    eye_height: float
    eye_tilt: float
    iris: np.ndarray
    makeup: float
    brow_y: float
    brow_arch: float
    brow_weight: float
    nose_y: float
    nose_width: float
    nose_bridge: float
    mouth_y: float
    mouth_width: float
    upper_lip: float
    lower_lip: float
    smile: float
    lips: np.ndarray
    teeth: float
    hair: str
    hair_colour: np.ndarray
    hairline: float
    parting: float
    beard: str
    glasses: str
    frame_colour: np.ndarray
    clothes: str
    fabric: np.ndarray
    lining: np.ndarray
    background: str
    walls: tuple[np.ndarray, np.ndarray]
    light: Light

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Identity":
        """Samples an identity."""
        male = float(np.clip(rng.choice([0.12, 0.88]) + rng.normal(0, 0.12), 0, 1))
        melanin = float(rng.beta(0.9, 1.1))
        age = float(rng.beta(1.4, 2.0))
        makeup = float((1 - male) * rng.uniform(0.2, 1.0))
        skin = _ramp(_SKINS, melanin) * rng.normal(1, 0.03, 3).astype(np.float32)
        return cls(
            seed=int(rng.integers(2**31)),
            male=male,
            melanin=melanin,
            skin=skin,
            age=age,
            makeup=makeup,
            **_sample_shape(rng, male),
            **_sample_skin(rng, male, melanin, age, makeup, skin),
            **_sample_style(rng, male, melanin, age),
            **_sample_scene(rng),
        )

    @property
    def tract(self) -> float:
        """Vocal tract length that matches the face, for `Voice.sample`."""
        return 0.84 + 0.19 * self.male


def _ramp(table: tuple, position: float) -> np.ndarray:
    """Interpolates linear BGR between the rows of a table of display RGB."""
    rows = np.array([colour(*row) for row in table])
    at = position * (len(rows) - 1)
    return np.array([np.interp(at, np.arange(len(rows)), c) for c in rows.T], np.float32)


def _sample_shape(rng: np.random.Generator, male: float) -> dict[str, Any]:
    """Samples the shapes of the face."""
    values = {
        "jaw": np.clip(0.25 + 0.5 * male + rng.normal(0, 0.15), 0, 1),
        "cheeks": rng.normal(0.98, 0.045),
        "chin": rng.normal(1.68 + 0.05 * male, 0.05),
        "eye_x": rng.normal(0.435, 0.016),
        "eye_width": rng.normal(0.205, 0.011),
        "eye_height": rng.normal(1.06 - 0.12 * male, 0.1),
        "eye_tilt": rng.normal(0.02, 0.025),
        "brow_y": rng.normal(-0.315 + 0.045 * male, 0.025),
        "brow_arch": rng.normal(0.07 - 0.035 * male, 0.02),
        "brow_weight": rng.normal(0.85 + 0.3 * male, 0.12),
        "nose_y": rng.normal(0.545, 0.03),
        "nose_width": rng.normal(0.97 + 0.08 * male, 0.1),
        "nose_bridge": rng.normal(1.0, 0.15),
        "mouth_y": rng.normal(1.07, 0.03),
        "mouth_width": rng.normal(0.38 + 0.015 * male, 0.022),
        "upper_lip": rng.normal(0.098 - 0.018 * male, 0.014),
        "lower_lip": rng.normal(0.138 - 0.02 * male, 0.016),
        "smile": rng.normal(0.012, 0.014),
        "teeth": rng.normal(0.06, 0.012),
    }
    return {name: float(value) for name, value in values.items()}


def _sample_skin(
    rng: np.random.Generator,
    male: float,
    melanin: float,
    age: float,
    makeup: float,
    skin: np.ndarray,
) -> dict[str, Any]:
    """Samples skin and marks."""
    beard = rng.choice(["none", "moustache", "goatee", "full"], p=[0.6, 0.08, 0.1, 0.22])
    rose = colour(*(rng.normal((196, 96, 98), 14)))
    natural = skin * np.array([0.50, 0.46, 0.72], np.float32)
    return {
        "blush": float(np.clip(rng.normal(0.5, 0.2), 0, 1)),
        "freckles": float(max(0, rng.normal(0.0, 0.5) * (1 - melanin) - 0.2)),
        "shadow": float(male > 0.5) * float(rng.uniform(0, 0.8)),
        "iris": colour(*_IRISES[rng.choice(2 if melanin > 0.5 else len(_IRISES))]),
        "lips": (natural + (rose * (1 - 0.5 * melanin) - natural) * 0.75 * makeup).astype(
            np.float32
        ),
        "beard": str(beard) if male > 0.5 else "none",
    }


def _sample_style(
    rng: np.random.Generator, male: float, melanin: float, age: float
) -> dict[str, Any]:
    """Samples hair, glasses and clothes."""
    counts = [4, 6, 12, 12, 14, 6, 0, 3, 2, 0] if male > 0.5 else [0, 1, 2, 2, 7, 7, 9, 12, 12, 9]
    weights = np.array(counts, float)
    names = list(_HAIRS)
    tones = np.array([5, 5, 4 - 3 * melanin, 3 - 3 * melanin, 4 * (0.7 - melanin), 1.5, 0.3])
    tones[-1] += 6 * max(age - 0.55, 0)
    tones = np.clip(tones * [1, 1, 1, 1, 1, melanin < 0.4, 1], 0, None)
    fabrics = rng.permutation(len(_FABRICS))
    style = str(rng.choice(HAIR_STYLES, p=weights / weights.sum()))
    return {
        "hair": style,
        "hair_colour": colour(*_HAIRS[names[rng.choice(len(names), p=tones / tones.sum())]])
        * rng.uniform(0.85, 1.2),
        "hairline": float(rng.normal(-1.0 - 0.05 * (male > 0.5) * age, 0.04)),
        "parting": float(rng.choice([-1, 1]) * rng.uniform(0.25, 0.5)),
        "glasses": str(rng.choice(["none", "round", "square"], p=[0.76, 0.12, 0.12])),
        "frame_colour": colour(*[(24, 22, 22), (84, 54, 34), (60, 62, 70)][rng.choice(3)]),
        "clothes": str(rng.choice(CLOTHES)),
        "fabric": colour(*_FABRICS[fabrics[0]]),
        "lining": colour(*_FABRICS[fabrics[1]]),
    }


def _sample_scene(rng: np.random.Generator) -> dict[str, Any]:
    """Samples background and light."""
    azimuth, elevation = rng.choice([-1, 1]) * rng.uniform(0.25, 0.85), rng.uniform(0.35, 0.75)
    direction = np.array([
        np.sin(azimuth) * np.cos(elevation), -np.sin(elevation),
        np.cos(azimuth) * np.cos(elevation),
    ])  # fmt: skip
    warmth, strength = rng.normal(0, 0.07), rng.uniform(0.8, 1.1)
    key = np.array([1 - warmth, 1.0, 1 + warmth]) * strength * 0.86
    ambient = np.array([1 + warmth, 1.0, 1 - 0.5 * warmth]) * rng.uniform(0.2, 0.32)
    walls = rng.permutation(len(_WALLS))
    return {
        "background": str(rng.choice(BACKGROUNDS)),
        "walls": (colour(*_WALLS[walls[0]]), colour(*_WALLS[walls[1]])),
        "light": Light(
            direction.astype(np.float32), key.astype(np.float32), ambient.astype(np.float32)
        ),
    }
