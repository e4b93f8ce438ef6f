"""Wav2Lip's generator, trained against a frozen sync expert (Prajwal et al. 2020).

    python main.py --config=configs/wav2lip.py --workdir=runs/wav2lip --config.data.dir=DATA \\
        --config.frozen.expert.checkpoint=runs/expert

configs/wav2lip_gan.py adds the visual quality discriminator. Arguments, e.g.
`:size=published,sampling=spaced`:

    size=published   the default: the published network, batch and learning rate
    size=pod         published, with a batch of 512 clips for 32 devices and more
    size=accelerator published in bfloat16 with 64 windows a batch, for GPUs and TPUs
    size=small_data  a quarter of the width, for minutes to hours of video
    size=in_the_box  for people not seen in training, by warping the reference image
    size=tiny        an eighth of the width, for synthetic faces, minutes on a CPU (`lipsync demo`)

    sampling=by_size    the default: spaced for small_data, in_the_box and tiny, else reference
    sampling=reference  as the published code: windows whose audio is not all inside of the clip are
                        rejected, so the first frame of a clip is never generated
    sampling=spaced     missing audio is silence

Paper: section 3.4 (generator, L1 and sync loss); the expert is section 3.3.
Expected: `:small_data` on GRID s1, test mouth_l1 0.0218 (lower is better; mean-image baseline
0.0238), 0.6 hours on two shared CPU cores (docs/results.md). `:published` and
`:accelerator`: not measured.
"""

import ml_collections

from lipsync_jax.configs import common

VARIANTS = common.Variants(
    "wav2lip",
    {
        "size": ("published", "accelerator", "small_data", "in_the_box", "tiny", "pod"),
        "sampling": common.SAMPLING,
    },
)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment; `variant` is the text after the colon on the command line."""
    chosen = VARIANTS.parse(variant)
    size = chosen.size
    config = common.experiment("wav2lip", trained_networks=("generator",))
    config.data = common.data(  # clips of `windows_per_clip` windows of 5 frames
        "face96",
        batch_size=16,
        validation_clips=512,  # deviation W16
        validation_batch_size=16,
        num_threads=1,  # more contend for the interpreter lock, as examples are small
    )
    config.windows_per_clip = 1
    config.edge_windows = "reject"  # or pad, see methods/common/window_sampling.py
    config.frames_per_window = 0  # in training, evenly spaced; 0: all, which the sync loss needs
    config.augment_magnitude = 0.0
    config.degrade_magnitude = 0.0  # of light, camera and microphone, see data/degrade.py

    config.network = "published"  # or warp: warps the reference, see methods/wav2lip/warp_model.py
    config.motion_features = 0  # of the network warp: size of the motion code; 0: none
    config.audio_from_expert = False  # the audio encoder of random weights begins as the expert's
    config.model = ml_collections.ConfigDict()
    config.model.width_mult = 1.0
    config.model.depth_mult = 1.0

    config.frozen.expert = common.frozen("sync_expert", "expert")
    config.frozen.expert.min_accuracy = 0.85  # balanced; 0: any, deviation W4
    config.frozen.expert.use_batch_stats = False  # True as published: deviation W1

    config.loss = common.loss(
        lower_half=1.0,
        mouth=0.0,
        edge=0.0,
        painted=0.0,
        motion=0.0,
        sync=0.03,  # deviation W2
        sync_initial=0.0,
        sync_start_below=0.75,
    )
    config.sync_objective = "cosine_bce"  # or info_nce
    config.sharpness_floor = 0.0  # mouth_sharpness that the best checkpoint should have; 0: any
    config.discriminators = ml_collections.ConfigDict()  # configs/wav2lip_gan.py adds one

    config.optimizer = common.optimizer(1e-4)
    config.train = common.train(300_000, every=3000)
    common.set_window_sampling(config, chosen.sampling, size)
    if size == "pod":
        common.set_pod(config, batch_size=512)
    elif size == "accelerator":
        common.set_accelerator(config, batch_size=64)
    elif size != "published":
        _make_small(config, tiny=size == "tiny")
    if size == "in_the_box":
        _make_in_the_box(config)
    return config


def _make_small(config: ml_collections.ConfigDict, tiny: bool) -> None:
    """Sets narrow networks without residual blocks, and short runs."""
    config.model.width_mult = 0.125 if tiny else 0.25
    config.model.depth_mult = 0.0
    config.data.batch_size = 4 if tiny else 8  # images of 4 clips fit a CPU's cache
    config.data.validation_clips = 0
    config.loss.lower_half = 4.0
    config.loss.sync = 0.003 if tiny else 0.005  # more overfits an expert of little data
    config.optimizer.learning_rate = 1e-2 if tiny else 7e-3
    config.optimizer.warmup_steps = 50
    config.train.steps = 900 if tiny else 1200
    config.optimizer.lr_decay_steps = config.train.steps
    config.train.log_every = 20
    config.train.validate_every = 225 if tiny else 200
    config.train.checkpoint_every = 200
    if tiny:
        config.frozen.expert.min_accuracy = 0.65
        config.loss.sync_start_below = 1.1  # early, because the run is short


def _make_in_the_box(config: ml_collections.ConfigDict) -> None:
    """Sets what the built-in generator is trained with, on one core."""
    config.network = "warp"
    config.model.depth_mult = 0.5
    config.motion_features = 16
    config.audio_from_expert = True
    config.frozen.expert.min_accuracy = 0.75  # on people that the expert was not trained on
    config.augment_magnitude = 0.3
    config.degrade_magnitude = 0.15
    config.loss.lower_half = 1.0
    config.loss.mouth = 7.0
    config.loss.painted = 1.0
    config.loss.motion = 0.02
    config.loss.edge = 0.1
    config.loss.sync = 0.0
    config.frames_per_window = 2  # many people a step
    config.windows_per_clip = 2
    config.optimizer.learning_rate = 1e-3
    config.optimizer.warmup_steps = 20
    config.optimizer.lr_decay_steps = 0
    config.train.checkpoint_every = 100
    config.train.steps = 4000
