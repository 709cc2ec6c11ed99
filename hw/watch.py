"""The assertions of the top, about what passes between its units; see `bnnedge.hw.checks`."""

from __future__ import annotations

from amaranth import Module
from amaranth.hdl import Value

from bnnedge.configuration import Configuration
from bnnedge.hw.checks import CHECKED, check, check_stream
from bnnedge.hw.heads.owners import Owners


def watch(m: Module, config: Configuration, error: Value) -> None:
    """Add them to the core `m`, whose submodules are all there. `error`: it has stopped, and what was offered may go."""
    units = m.submodules
    _buffers(m, config)
    _owners(m, config)
    with m.If(~error):
        for unit, names in {
            "sequencer": ("transfer", "execute", "load", "store"),
            "execute_queue": ("order",),
            "load_queue": ("order",),
            "store_queue": ("order",),
            "fetch": ("head", "pivots"),
            "orders": ("output",),
            "statistics": ("group",),
            "totals": ("added",),
            "head": ("latents", "new"),
            "load": ("transfer", "label"),
            "store": ("transfer", "beat"),
            "read_0": ("beat_0", "beat_1"),
            "read_1": ("beat_0",),
        }.items():
            for name in names:
                check_stream(m, CHECKED, f"{unit}.{name}", getattr(getattr(units, unit), name))
        check_stream(m, CHECKED, "softmax.score", units.head.softmax.score)


def _buffers(m: Module, config: Configuration) -> None:
    """Reads of buffers and parameter memory: within their depth, and not of a line that is being written."""
    units = m.submodules
    fetch, store = units.fetch, units.store
    operands = fetch.tag.valid & (fetch.tag.high != fetch.tag.low)  # of a tile without taps nothing counts
    for name, reads, fetched in (
        ("left", operands | fetch.side.any() | fetch.transpose, fetch.left_address),
        ("right", operands, fetch.right_address),
    ):
        buffer = getattr(units, name)
        beyond = f"{name} buffer: the engine reads address {{}}, beyond its {buffer.depth} words"
        check(m, CHECKED, reads, fetched < buffer.depth, beyond, fetched)
        write, reads = buffer.write, reads | getattr(store, f"read_{name}")
        meets = f"{name} buffer: address {{}} is written while it is read"
        check(m, CHECKED, reads & Value.cast(write.granules).any(), write.address != buffer.address, meets, write.address)
    statistics, head, load = units.statistics, units.head, units.load
    pivots = fetch.pivots
    begins, last = pivots.valid & pivots.ready & pivots.payload.forward, pivots.payload.channel + (config.lanes - 1)
    beyond = "parameter memory: the statistics read address {}, beyond its depth"
    check(m, CHECKED, begins, last < config.channels, beyond, last)
    for writes, place in ((head.record_write, head.record_write_address), (load.record_write, load.record_address)):
        for reads, read in (
            (statistics.reading, statistics.mean_address),
            (store.record_granted, store.address),
            (head.record_read, head.record_address),
        ):
            check(m, CHECKED, writes & reads, place != read, "parameter memory: address {} is written while it is read", place)


def _owners(m: Module, config: Configuration) -> None:
    """Who writes and reads the totals, see `Owners`."""
    units = m.submodules
    fetch, head, group = units.fetch, units.head, units.statistics.group
    units.owners = owners = Owners(config)
    order = head.order.payload
    pivots, lane_bits = fetch.pivots, config.lanes.bit_length() - 1
    m.d.comb += [
        owners.begins.eq(pivots.valid & pivots.ready),
        owners.owner.layer.eq(fetch.instruction.payload.layer),
        owners.owner.forward.eq(pivots.payload.forward),
        owners.owner.channel.eq(pivots.payload.channel),
        owners.ends.eq(group.valid & group.ready & group.payload.counts),
        owners.fresh.eq(group.payload.fresh),
        owners.place.eq(group.payload.group),
        owners.reads.eq(head.reading),
        owners.reader.layer.eq(order.layer),
        owners.reader.forward.eq(~head.coding),
        owners.reader.channel.eq(head.channel),
        owners.read_place.eq(head.address >> lane_bits),
    ]
