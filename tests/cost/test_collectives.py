"""Collectives in HLO text: each way of writing them, and those of a compiled program."""

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec
import pytest

from mvjax.cost import collectives
from mvjax.train import sharding

GROUPS = {
    "replica_groups={{0,1},{2,3},{4,5},{6,7}}": 2,
    "replica_groups={}": 8,
    "replica_groups=[2,4]<=[8]": 4,
    "replica_groups=[4,2]<=[2,4]T(1,0)": 2,
    "replica_groups=mesh['axis_0'=4,'axis_1'=2] {'axis_1'}": 2,
    "replica_groups=mesh['axis_0'=4,'axis_1'=2] {'axis_0','axis_1'}": 8,
    "replica_groups=mesh['axis_0'=8] {'axis_0':(2)4}": 4,
}


@pytest.mark.parametrize(("text", "group"), GROUPS.items(), ids=str)
def test_groups_in_every_notation(text, group):
    line = f"  %x = f32[16]{{0}} all-gather(%p), channel_id=1, {text}, dimensions={{0}}"
    assert collectives.parse(line, 8) == [
        collectives.Collective("all-gather", group, 1, 64)
    ]


def test_bytes_of_tuples_layouts_and_small_types():
    hlo = """
  %a = (f32[8]{0:T(128)S(1)}, /*index=1*/bf16[2,3]{1,0:T(8,128)(2,1)}) all-reduce(%p, %q), replica_groups=[1,8]<=[8], to_apply=%add
  ROOT %b = pred[] all-reduce(%c), replica_groups=[1,8]<=[8], to_apply=%or
  %d = s32[2,4]{1,0} reduce-scatter(%e), replica_groups=[1,8]<=[8], dimensions={0}
  %f = f32[4]{0} collective-permute(%g), source_target_pairs={{0,1},{1,0}}
  %h = f32[4]{0} fusion(%all-reduce.1), kind=kLoop, calls=%fused
"""
    assert collectives.parse(hlo, 8) == [
        collectives.Collective("reduce-scatter", 8, 1, 8 * 32),
        collectives.Collective("all-reduce", 8, 2, 32 + 12 + 1),
        collectives.Collective("collective-permute", 8, 1, 16),
    ]


def test_a_start_and_its_end_are_one():
    hlo = """
  %all-gather-start.1 = (f32[2]{0}, f32[8]{0}) all-gather-start(%p), replica_groups={{0,1,2,3},{4,5,6,7}}
  %all-gather-done.1 = f32[8]{0} all-gather-done(%all-gather-start.1)
"""
    assert collectives.parse(hlo, 8) == [collectives.Collective("all-gather", 4, 1, 32)]


def test_an_all_reduce_of_which_each_chip_takes_its_part_is_a_reduce_scatter():
    hlo = """
%all-reduce-scatter.5 (input.5: f32[8,4]) -> f32[2,4] {
  %input.5 = f32[8,4]{1,0} parameter(0)
  %all-reduce.7 = f32[8,4]{1,0} all-reduce(%input.5), replica_groups={{0,1,2,3}}, to_apply=%add
  ROOT %dynamic-slice.2 = f32[2,4]{1,0} dynamic-slice(%all-reduce.7, %i, %zero)
}

ENTRY %main (p: f32[8,4]) -> f32[2,4] {
  ROOT %fusion.1 = f32[2,4]{1,0} fusion(%p), kind=kCustom, calls=%all-reduce-scatter.5
}
"""
    assert collectives.parse(hlo, 4) == [
        collectives.Collective("reduce-scatter", 4, 1, 8 * 4 * 4)
    ]


def test_a_collective_in_a_loop_counts_as_often_as_the_loop_runs():
    hlo = """
%inner (p: f32[2]) -> f32[2] {
  ROOT %all-reduce.1 = f32[2]{0} all-reduce(%p), replica_groups={{0,1}}, to_apply=%add
}

%outer (p: f32[2]) -> f32[2] {
  %call.1 = f32[2]{0} call(%p), to_apply=%wrapped
  ROOT %while.2 = f32[2]{0} while(%p), condition=%more, body=%endless
}

%wrapped (p: f32[2]) -> f32[2] {
  ROOT %while.1 = f32[2]{0} while(%p), condition=%less, body=%inner, \
backend_config={"known_trip_count":{"n":"3"}}
}

%endless (p: f32[2]) -> f32[2] {
  ROOT %all-gather.1 = f32[2]{0} all-gather(%p), replica_groups={{0,1}}
}

ENTRY %main (p: f32[2]) -> f32[2] {
  ROOT %while.3 = f32[2]{0} while(%p), condition=%end, body=%outer, \
backend_config={"known_trip_count":{"n":"5"}}
}
"""
    assert collectives.parse(hlo, 2) == [
        collectives.Collective("all-reduce", 2, 15, 120),
        collectives.Collective("all-gather", 2, 5, 40),
    ]


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        ("all-reduce", 150.0),
        ("all-gather", 75.0),
        ("reduce-scatter", 75.0),
        ("all-to-all", 75.0),
        ("collective-permute", 100.0),
    ],
)
def test_a_ring_of_four_sends(kind, sent):
    collective = collectives.Collective(kind, group=4, count=1, bytes=100)
    assert collectives.sent_bytes(collective) == sent


def test_one_chip_sends_nothing():
    for kind in collectives.KINDS:
        assert collectives.sent_bytes(collectives.Collective(kind, 1, 1, 100)) == 0


def test_a_compiled_sum_over_eight_devices():
    mesh = sharding.make_mesh(dict(data=-1, fsdp=1, model=1), jax.devices()[:8])
    rows = NamedSharding(mesh, PartitionSpec("data"))
    x = jax.ShapeDtypeStruct((16, 5), jnp.float32, sharding=rows)
    whole = sharding.replicated(mesh)
    total = jax.jit(lambda x: jnp.sum(x, axis=0), out_shardings=whole)
    (found,) = collectives.parse(total.lower(x).compile().as_text(), 8)
    assert found == collectives.Collective("all-reduce", 8, 1, 20)
    gather = jax.jit(lambda x: x + 1, out_shardings=whole)
    (found,) = collectives.parse(gather.lower(x).compile().as_text(), 8)
    assert found == collectives.Collective("all-gather", 8, 1, 320)
