"""What is read from the text of compiled programs, on programs of known arithmetic."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec

from lipsync_jax.training import sharding
from lipsync_jax.training.ahead_of_time import hlo, hlo_costs
from lipsync_jax.training.ahead_of_time.hlo import Array


def program(function, *shapes, **options):
    inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return hlo.Program(jax.jit(function, **options).lower(*inputs).compile().as_text())


def flops(program):
    return sum(operation.flops for operation in hlo_costs.operations(program))


@pytest.mark.parametrize(
    "options",
    [
        {"padding": "VALID"},
        {"padding": "SAME"},
        {"padding": [(0, 0), (0, 0)], "window_strides": (2, 2)},
        {"padding": [(1, 2), (1, 2)], "lhs_dilation": (2, 2)},
        {"padding": [(2, 2), (2, 2)], "rhs_dilation": (2, 2)},
    ],
)
def test_the_products_of_convolutions_are_counted_without_zeros(options):
    options = {"window_strides": (1, 1), **options}

    def convolve(x, w):
        return lax.conv_general_dilated(x, w, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options)

    inputs = np.ones((1, 8, 5, 1)), np.ones((3, 3, 1, 1))
    expected = int(np.asarray(convolve(*inputs)).sum())  # with ones, a sum of products
    found = program(convolve, (4, 8, 5, 6), (3, 3, 6, 7))
    assert flops(found) == 2 * 4 * 6 * 7 * expected
    assert hlo_costs.convolution_dtypes(found) == {"f32 x f32 -> f32": 1}


def scanned(x, w):
    """Steps, each of which reads its own row of x."""
    return lax.scan(lambda state, row: (jnp.tanh((state + row) @ w), None), x[0], x)[0]


def test_loops_count_as_often_as_they_turn_and_read_only_their_slices():
    found = program(scanned, (100, 64, 128), (128, 128))
    assert flops(found) == 100 * 2 * 64 * 128 * 128 and found.unknown_loops == 0
    # Each turn reads the kernel and its row; reading the whole of x would be 330 MB in all.
    traffic = sum(operation.bytes for operation in hlo_costs.operations(found))
    assert 100 * 128 * 128 * 4 < traffic < 40e6


@pytest.mark.parametrize("in_loop", [False, True])
def test_collectives_are_found_inside_and_outside_of_loops(in_loop):
    mesh = sharding.make_mesh(jax.devices()[:4])

    @functools.partial(
        jax.shard_map, mesh=mesh, in_specs=PartitionSpec("data"), out_specs=PartitionSpec()
    )
    def summed(x):
        if not in_loop:
            return lax.psum(x, "data")
        start = jnp.zeros((1, 1000))
        turns = lax.scan(lambda c, _: (lax.psum(jnp.sin(x + c), "data"), None), start, length=7)
        return turns[0]

    split = sharding.batch_sharding(mesh)
    found = hlo_costs.collectives(program(summed, (4, 1000), in_shardings=split))
    [one] = [x for x in found if x.kind == "all-reduce"]
    assert (one.in_loop, one.count, one.bytes) == (in_loop, 7 if in_loop else 1, one.count * 4000)
    assert one.small


def test_all_branches_are_counted():
    def chosen(x, w):
        return lax.cond(x[0, 0] > 0, lambda: jnp.sin(x @ w), lambda: jnp.cos(x))

    assert flops(program(chosen, (8, 8), (8, 8))) == 2 * 8**3


TPU = """HloModule jit_step, is_scheduled=true

%all-reduce-scatter (input: f32[128,64]) -> f32[32,64] {
  %input = f32[128,64]{1,0:T(8,128)} parameter(0)
  %all-reduce.1 = f32[128,64]{1,0:T(8,128)} all-reduce(%input), channel_id=1, to_apply=%add
  ROOT %dynamic-slice.5 = f32[32,64]{1,0:T(8,128)} dynamic-slice(%all-reduce.1, %a, %b)
}

%fused (param_0: bf16[8,16,16,4], param_1: f32[3,3,4,8]) -> f32[8,16,16,8] {
  %param_0 = bf16[8,16,16,4]{0,3,2,1:T(8,128)(2,1)} parameter(0)
  %param_1 = f32[3,3,4,8]{3,2,1,0:T(8,128)} parameter(1)
  ROOT %convolution.1 = f32[8,16,16,8]{0,3,2,1:T(8,128)} convolution(%param_0, %param_1), \
window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_01io->b01f
}

ENTRY %main (p0: bf16[8,16,16,4], p1: f32[3,3,4,8], p2: f32[128,64]) -> f32[32,64] {
  %p0 = bf16[8,16,16,4]{0,3,2,1:T(8,128)(2,1)} parameter(0)
  %p1 = f32[3,3,4,8]{3,2,1,0:T(8,128)S(1)} parameter(1)
  %p2 = f32[128,64]{1,0:T(8,128)} parameter(2)
  %fusion.1 = f32[8,16,16,8]{0,3,2,1:T(8,128)} fusion(%p0, /*index=1*/%p1), kind=kOutput, \
calls=%fused, metadata={op_name="jit(step)/conv"}, backend_config={"estimated_cycles":"1234"}
  %start = (f32[64]{0}, f32[256]{0}) all-gather-start(%p2), dimensions={0}
  %done = f32[256]{0} all-gather-done(%start)
  ROOT %fusion.2 = f32[32,64]{1,0:T(8,128)} fusion(%p2), kind=kCustom, calls=%all-reduce-scatter
}
"""


def test_the_text_of_a_tpu_program():
    found = hlo.Program(TPU)
    assert found.entry == "main" and len(found.computations) == 3
    [convolution, *_] = operations = hlo_costs.operations(found)
    assert convolution.opcode == "fusion(convolution)" and convolution.cycles == 1234
    assert convolution.op_name == "jit(step)/conv"
    assert convolution.flops == 2 * 8 * 4 * 8 * (16 * 3 - 2) ** 2
    # Tiles of 8 by 128 pad a batch of 8 to 128; p1 is not in main memory.
    assert convolution.bytes == 16 * 16 * 128 * (8 * 2 + 8 * 4)
    assert [x.opcode for x in operations] == ["fusion(convolution)", "all-gather-start", "fusion"]
    assert hlo_costs.convolution_dtypes(found) == {"bf16 x f32 -> f32": 1}
    kinds = {x.kind: x.count for x in hlo_costs.collectives(found)}
    assert kinds == {"reduce-scatter": 1, "all-gather": 1}


GPU = """HloModule jit_step

ENTRY %main (p0: bf16[4,8,8,16], p1: bf16[32,3,3,16]) -> bf16[4,8,8,32] {
  %p0 = bf16[4,8,8,16]{3,2,1,0} parameter(0)
  %p1 = bf16[32,3,3,16]{3,2,1,0} parameter(1)
  %conv = (bf16[4,8,8,32]{3,2,1,0}, u8[64]{0}) custom-call(%p0, %p1), \
window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, \
custom_call_target="__cudnn$convForward"
  %y = bf16[4,8,8,32]{3,2,1,0} get-tuple-element(%conv), index=0
  %kernel = (bf16[32,3,3,16]{3,2,1,0}, u8[64]{0}) custom-call(%p0, %y), \
window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, \
custom_call_target="__cudnn$convBackwardFilter"
  %image = (bf16[4,8,8,16]{3,2,1,0}, u8[64]{0}) custom-call(%y, %p1), \
window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, \
custom_call_target="__cudnn$convBackwardInput"
}
"""


def test_convolutions_of_a_gpu_library():
    found = hlo.Program(GPU)
    expected = 2 * 4 * 32 * 16 * (8 * 3 - 2) ** 2  # padding has no products
    operations = hlo_costs.operations(found)
    assert [x.flops for x in operations] == [expected] * 3
    assert {x.opcode for x in operations} == {"custom-call(convolution)"}
    assert hlo_costs.convolution_dtypes(found) == {"bf16 x bf16 -> bf16": 3}


def test_sizes_of_arrays():
    assert Array("bf16", (3, 5)).bytes == 30 and Array("pred", (7,)).bytes == 7
    assert Array("token", ()).bytes == 0 and Array("s4", (3,)).bytes == 2
    assert Array("f8e4m3fn", (3,)).bytes == 3 and Array("f32", (2, 0)).bytes == 0
    assert Array("f32", (2, 130), "1,0:T(8,128)").stored_bytes == 8 * 256 * 4
    assert Array("f32", (2, 130), "1,0:T(8,128)S(1)").stored_bytes == 0
    assert Array("f32", (2, 130), "1,0").stored_bytes == 2 * 130 * 4
