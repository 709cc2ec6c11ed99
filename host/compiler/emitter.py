"""Instructions with what they touch, appended to an `Order`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from bnnedge import isa
from bnnedge.compiler.tensors import View
from bnnedge.compiler.tokens import Access, Order
from bnnedge.configuration import Configuration
from bnnedge.formats import RECORD_WORDS
from bnnedge.isa import Buffer, Opcode

REPORT_BYTES = 16
RECORD_BYTES = 8 * len(RECORD_WORDS)
_FIELDS = isa.layout(Opcode.LOAD)
MOST_REPEATS = (1 << _FIELDS["repeats"].bits) - 1
MOST_COUNT = (1 << _FIELDS["count"].bits) - 1


@dataclasses.dataclass(frozen=True)
class Addresses:
    """DDR addresses of what a program touches (0: not used).

    tensors: by name. latents: of each layer's weight words. records: parameter memory image. samples: data set. order:
    index list, padded by one batch. reports: REPORT_BYTES for each step. scores: logits.
    """

    tensors: Mapping[str, int] = dataclasses.field(default_factory=dict)
    latents: tuple[int, ...] = ()
    records: int = 0
    samples: int = 0
    order: int = 0
    reports: int = 0
    scores: int = 0


def inside(view: View, *, writes: bool, late: bool = False) -> Access:
    """A touch of the buffer under a view."""
    return Access(view.buffer, ((view.base, view.base + view.size),), writes, late)


def outside(view: View, *, writes: bool) -> Access:
    """A touch of that part of the tensor in DDR."""
    box = ((view.group, view.group + view.groups), (view.y, view.y + view.rows), (view.word, view.word + view.words))
    return Access(f"DDR {view.tensor.name}", box, writes)


class Emitter:
    """Appends instructions; see `Order` for how they wait for each other."""

    def __init__(self, config: Configuration, addresses: Addresses) -> None:
        self.config, self.addresses = config, addresses
        self.order = Order()
        self.last_pass = 0
        self.bank = config.lanes * config.word // 8  # bytes of an address of all banks

    def execute(
        self,
        comment: str,
        fields: dict[str, int],
        reads: Iterable[View],
        writes: Iterable[View],
        others: Iterable[Access] = (),
        opcode: Opcode = Opcode.PASS,
    ) -> None:
        """A PASS, or a TRANSPOSE."""
        accesses = [inside(view, writes=False) for view in reads]
        accesses += [inside(view, writes=True, late=opcode == Opcode.PASS) for view in writes]
        self.last_pass = len(self.order)
        self.order.add(opcode, fields, comment, [*accesses, *others])

    def amend(self, **fields: int) -> None:
        """Set fields of the last PASS."""
        self.order.fields[self.last_pass].update(fields)

    def load(self, view: View) -> None:
        """Bring a view from DDR."""
        self._move(Opcode.LOAD, view, [inside(view, writes=True), outside(view, writes=False)])

    def store(self, view: View) -> None:
        """Take a view to DDR."""
        self._move(Opcode.STORE, view, [inside(view, writes=False), outside(view, writes=True)])

    def _move(self, opcode: Opcode, view: View, accesses: list[Access]) -> None:
        tensor = view.tensor
        if view.words == tensor.words:
            # Rows of a group lie one behind the other; so do groups, if the view has all rows.
            count, repeats, stride = view.along_group, view.groups, tensor.height * tensor.row
            if view.rows == tensor.height and count * repeats <= MOST_COUNT:
                count, repeats = count * repeats, 1
        elif view.rows < tensor.height and view.groups > 1:
            for group in range(view.group, view.group + view.groups):
                part = dataclasses.replace(view, group=group, groups=1, base=view.address(group, view.y, 0))
                self._move(opcode, part, accesses)
            return
        else:
            count, stride = view.words, tensor.words
            repeats = view.groups * view.rows * tensor.width * tensor.planes
        first = view.group * tensor.height * tensor.row + view.y * tensor.row + view.word - tensor.word
        address = self.addresses.tensors.get(tensor.name, 0) + first * self.bank
        done = 0
        while done < repeats:
            now = min(repeats - done, MOST_REPEATS)
            fields = {
                "buffer": Buffer[view.buffer.upper()],
                "base": view.base + done * count,
                "count": count,
                "repeats": now,
                "base_stride": count,
                "address": address + done * stride * self.bank,
                "address_stride": stride * self.bank,
            }
            self.order.add(opcode, fields, tensor.name, accesses)
            done += now

    def records(self, opcode: Opcode, channel: int, count: int, entry: int) -> None:
        """LOAD or STORE of entries of the parameter memory; `entry` is the first one's place in DDR."""
        fields = {
            "buffer": Buffer.PARAMETERS,
            "base": channel,
            "count": count,
            "repeats": 1,
            "address": self.addresses.records + entry * RECORD_BYTES,
        }
        access = Access("parameters", ((channel, channel + count),), opcode == Opcode.LOAD)
        there = Access("DDR parameters", ((entry, entry + count),), opcode == Opcode.STORE)
        self.order.add(opcode, fields, "parameters", [access, there])

    def gather(
        self,
        view: View,
        first: int,
        samples: int,
        sample_bytes: int,
        *,
        batch: int,
        labels: bool,
        ahead: int = 0,
        comment: str = "",
    ) -> None:
        """Samples `first` .. of the batch `ahead` iterations from now: their uppermost planes."""
        fields = {
            "buffer": Buffer.LEFT,
            "base": view.base,
            "count": samples,
            "address": self.addresses.order + 4 * (first + ahead * batch),
            "stride": 4 * batch,
            "sample_address": self.addresses.samples,
            "sample_bytes": sample_bytes,
            "sample_words": view.along_group,
            "labels": int(labels),
        }
        self.order.add(Opcode.GATHER, fields, comment or "samples", [inside(view, writes=True)])

    def report(self) -> None:
        """STORE of loss, hits and cycle."""
        fields = {"buffer": Buffer.REPORT, "count": 1, "repeats": 1, "address": self.addresses.reports, "stride": REPORT_BYTES}
        self.order.add(Opcode.STORE, fields, "loss, hits, cycle", [Access("report", ((0, 1),), False)])

    def scores(self, beats: int) -> None:
        """STORE of a batch's logits, as the softmax sends them."""
        fields = {"buffer": Buffer.SCORES, "count": beats, "repeats": 1, "address": self.addresses.scores, "stride": 8 * beats}
        self.order.add(Opcode.STORE, fields, "logits")

    def barrier(self) -> None:
        """Wait for everything."""
        self.order.add(Opcode.SYNC, {}, "until all is done")
