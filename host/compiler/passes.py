"""PASS instructions: the loops, addresses and taps of each product of training, from where its operands lie."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from bnnedge import formats, isa
from bnnedge.compiler.tensors import View
from bnnedge.configuration import Configuration
from bnnedge.formats import Code
from bnnedge.isa import Head, Pool
from bnnedge.network import Geometry
from bnnedge.rates import decay, layer_rate
from bnnedge.settings import Settings

NO_LIMIT = (1 << isa.layout(isa.Opcode.PASS)["y_limit"].bits) - 1  # of a map, where every tap counts
POOL = {"none": Pool.NONE, "signs": Pool.SIGNS, "sums": Pool.SUMS}
MOST_IN_STRIP = (1 << isa.layout(isa.Opcode.PASS)["strip"].bits) - 1
ADDRESS_BITS = isa.layout(isa.Opcode.PASS)["left_base"].bits
# Addresses and places for random numbers, and what is added to them, are modulo this.
WALKED = {
    name: 1 << field.bits
    for name, field in isa.layout(isa.Opcode.PASS).items()
    if name.startswith("random_") or (field.bits == ADDRESS_BITS and name != "rate")
}


@dataclasses.dataclass(frozen=True)
class Part:
    """What a pass covers: groups, rows of the (pooled) output map and tiles; of each the first and how many."""

    group: int
    groups: int
    y: int
    rows: int
    tile: int
    tiles: int


@dataclasses.dataclass(frozen=True)
class Place:
    """A layer's number, its geometry, and its first entry and its exponent's entry in the parameter memory."""

    number: int
    geometry: Geometry
    channel: int
    exponent: int


@dataclasses.dataclass(frozen=True)
class Outputs:
    """Where a pass writes (None: nowhere). FORWARD: `rows` has sign, mask and, with a pool, the route (2 planes), each a
    view of its own, as far apart as the first two. BACKWARD: `rows` is one view.
    """

    rows: tuple[View, ...] = ()
    columns: View | None = None

    def views(self) -> list[View]:
        """All of them."""
        return [*self.rows, *([self.columns] if self.columns is not None else [])]


def strips(geometry: Geometry, word: int) -> tuple[int, int]:
    """(steps of x that share a word, words of a row of pixels) of a convolution of pixels.

    Word j of a row begins with the pixel under the left end of the window at step j * steps; windows do not cross words.
    Steps are 0 if no word is wide enough.
    """
    outputs = 1 if geometry.pool == "none" else 2
    pixels = word // geometry.channels
    fitting = min((pixels - geometry.kernel_x) // geometry.stride + 1, MOST_IN_STRIP)
    steps = min(fitting // outputs, geometry.pooled_width)
    return steps, -(-geometry.pooled_width // max(1, steps))


class Passes:
    """Makes the fields of PASS instructions; `flags` are fields that it takes as they are. codes: of each layer's gradient."""

    def __init__(self, config: Configuration, settings: Settings, codes: Sequence[Code], rate: int) -> None:
        self.config, self.settings, self.codes, self.rate = config, settings, codes, rate

    # The three products

    def forward(self, place: Place, part: Part, x: View, w: View, out: Outputs, *, loss: bool, **flags: int) -> dict[str, int]:
        """Sums of a layer and, of the last one (`loss`), its codes; `x` rows of its input, `w` its forward weights."""
        g = place.geometry
        outputs = 1 if g.pool == "none" else 2
        step = g.stride * outputs
        fields = {
            "head": Head.LOSS if loss else Head.FORWARD,
            **self._part(place, part, g.pooled_width),
            **self._axis("y", -g.pad_y + part.y * step, step, 0, g.kernel_y, g.height),
            **self._axis("x", -g.pad_x, step, 0, g.kernel_x, g.width),
            **_left(x, x.top(part.tile, part.y * step - g.pad_y, 0 if g.pixels else -g.pad_x)),
            "left_y": step * x.along_y,
            "left_x": step * x.along_x,
            "left_tap_y": x.along_y,
            "left_tap_x": x.along_x,
            **_right(w, part.group),
            "right_tap_y": w.along_y,
            "right_tap_x": w.along_x,
            **self._words(g.channels),
            **(self._codes_out(place, part, out) if loss and out.columns else self._signs_out(part, out)),
        }
        if loss:
            fields |= {"images": self.settings.batch, "own_centre": g.own_centre}
        if g.pixels:
            steps, _ = strips(g, self.config.word)
            fields |= {"window": g.channels, "strip": steps, "strip_shift": step * g.channels, "left_x": x.along_x}
            fields |= {"words": 1, "tail": self.config.word}
        return self._finish(fields, flags)

    def backward(
        self,
        place: Place,
        above: Geometry,
        part: Part,
        code: View,
        w: View,
        sides: Sequence[View],
        out: Outputs,
        *,
        first_x: int,
        width: int,
        **flags: int,
    ) -> dict[str, int]:
        """Gradient of a layer's output from the codes of the layer above.

        Pixels are those from row `part.y` and column `first_x` on, apart by the stride above. sides: masks and, with a pool,
        routes.
        """
        y, x, step = part.y, first_x, above.stride
        axes: dict[str, int] = {}
        tap: dict[str, int] = {}
        origins: list[int] = []
        for axis, first, kernel, pad, limit in (
            ("y", y, above.kernel_y, above.pad_y, above.out_height),
            ("x", x, above.kernel_x, above.pad_x, above.out_width),
        ):
            # Tap k reaches output (i + pad - k) / stride: of the taps, those that divide evenly, the last one first.
            nearest = (first + pad) % step
            taps = -(-(kernel - nearest) // step)
            origin = (first + pad - nearest) // step - (taps - 1)
            tap[axis] = nearest + step * (taps - 1)
            axes |= self._axis(axis, origin, 1, 0, max(1, taps), limit if taps > 0 else 0)
            origins.append(origin)
        fields = {
            "head": Head.BACKWARD,
            "own_centre": place.geometry.own_centre,
            **self._part(place, part, width),
            **axes,
            **_left(code, code.top(part.tile, *origins)),
            "left_twin": self.codes[place.number + 1].twin,
            "left_y": code.along_y,
            "left_x": code.along_x,
            "left_tap_y": code.along_y,
            "left_tap_x": code.along_x,
            **_right(w, part.group, max(tap["y"], 0), max(tap["x"], 0)),
            "right_tap_y": -step * w.along_y,
            "right_tap_x": -step * w.along_x,
            **self._words(above.filters),
            **self._codes_out(place, part, out, step, x),
            **_walk("side", sides[0], part.tile, y, x, step, part.group // self.config.granules),
            "side_plane": sides[1].base - sides[0].base if len(sides) > 1 else 0,
        }
        return self._finish(fields, flags)

    def update(
        self,
        place: Place,
        part: Part,
        x: View,
        dy: View,
        out: Outputs,
        *,
        columns: tuple[int, int],
        taps_y: tuple[int, int],
        words: tuple[int, int],
        **flags: int,
    ) -> dict[str, int]:
        """Weight gradient: `x` columns of the input, `dy` columns of the codes; rows `part.y` .. of the output map.

        Tiles are groups of inputs. columns: of the output, (first, how many): all, but in a convolution of pixels. taps_y:
        rows of the window. words: of images, those that are summed.
        """
        g = place.geometry
        (first_x, width), (tap_y, window_y) = columns, taps_y
        pitch = g.stride.bit_length() - 1
        top = part.y * g.stride + tap_y - g.pad_y
        window = 1 if g.pixels else g.kernel_x
        fields = {
            "head": Head.UPDATE,
            **self._part(place, dataclasses.replace(part, y=0, rows=window_y), window),
            **self._axis("y", top, 1, pitch, part.rows, g.height),
            **_left(x, x.top(part.tile, top, first_x if g.pixels else -g.pad_x) + words[0] - x.word),
            "left_y": x.along_y,
            "left_x": x.along_x,
            "left_tap_y": g.stride * x.along_y,
            **_right(dy, part.group, part.y, first_x, words[0] - dy.word),
            "right_twin": self.codes[place.number].twin,
            "right_tap_y": dy.along_y,
            "right_tap_x": dy.along_x,
            **self._words(words[1] * self.config.word),
            "random_base": tap_y * window,
            "random_y": window,
            "random_x": 1,
            "rows": part.groups * window_y * window * part.tiles * self.config.lanes,
        }
        if g.pixels:
            fields |= {**self._axis("x", 0, 0, 0, width, NO_LIMIT), "left_tap_x": x.along_x}
        else:
            fields |= {**self._axis("x", -g.pad_x, 1, pitch, width, g.width), "left_tap_x": g.stride * x.along_x}
        granules = self.config.granules
        if out.columns is not None:  # forward weights: bank = output channel, a word holds inputs
            view = out.columns
            fields |= {
                "columns_planes": 1,
                "columns_buffer": isa.Buffer[view.buffer.upper()],
                "columns_base": view.address(part.group, tap_y, 0) + part.tile // granules - view.word,
                "columns_group": view.along_group,
                "columns_y": view.along_y,
                "columns_x": view.along_x,
            }
        if out.rows:  # backward weights: bank = input, a word holds output channels
            view = out.rows[0]
            fields |= {"rows_planes": 1, "rows_buffer": isa.Buffer[view.buffer.upper()]}
            fields |= _walk("rows", view, part.tile, tap_y, 0, 1, part.group // granules)
        fields["sign_sgd"] = int(self.settings.optimiser == "sign-sgd")
        fields["rate"] = layer_rate(self.rate, g.fan_in, self.config.latent)
        return self._finish(fields, flags)

    def transpose(self, part: Part, source: View, target: View, geometry: Geometry) -> dict[str, int]:
        """The input as columns: of a convolution of pixels the window's columns at each output column."""
        g = geometry
        fields = {
            "groups": target.tensor.groups,
            "height": part.rows,
            "width": g.out_width if g.pixels else 1,
            "tiles": part.tiles,
            "first_tile": part.tile,
            **self._axis("y", 0, 0, 0, 1, NO_LIMIT),
            **self._axis("x", 0, 0, 0, 1, NO_LIMIT),
            "left_planes": target.tensor.planes,
            "left_base": source.top(part.tile, part.y, 0),
            "left_y": source.along_y,
            "left_x": source.along_x,
            "left_tile": source.along_group,
            "left_plane": -source.along_plane,
            "words": source.tensor.words,
            "tail": self.config.word,
            "strip": 1,
            "columns_planes": target.tensor.planes,
            "columns_buffer": isa.Buffer[target.buffer.upper()],
            "columns_base": target.address(0, part.y, 0),
            "columns_y": target.along_y,
            "columns_x": target.along_x,
            "columns_group": target.along_group,
            "columns_plane": target.along_plane,
        }
        if g.pixels:
            steps, _ = strips(g, self.config.word)
            outputs = steps * (1 if g.pool == "none" else 2)
            fields |= {"window": g.channels, "strip": outputs, "strip_shift": g.stride * g.channels}
        return self._finish(fields, {})

    # Pieces

    def _part(self, place: Place, part: Part, width: int) -> dict[str, int]:
        g, lanes = place.geometry, self.config.lanes
        n = self.settings.batch * g.samples
        log2 = (n - 1).bit_length()
        groups = -(-g.filters // lanes)
        ends = part.group + part.groups == groups
        return {
            "pool": POOL[g.pool],
            "groups": part.groups,
            "height": part.rows,
            "width": width,
            "tiles": part.tiles,
            "first_group": part.group,
            "first_tile": part.tile,
            "columns": g.filters - (groups - 1) * lanes if ends else lanes,
            "row_last": formats.WINDOW_BITS - 1,
            "strip": 1,
            "layer": place.number,
            "channel": place.channel + part.group * lanes,
            "reciprocal": ((1 << formats.MEAN + log2) + n // 2) // n,
            "mean_log2": log2,
            "decay": decay(self.rate),
        }

    def _axis(self, axis: str, origin: int, step: int, pitch: int, taps: int, limit: int) -> dict[str, int]:
        bits = isa.layout(isa.Opcode.PASS)[f"{axis}_origin"].bits
        return {
            f"{axis}_origin": origin % (1 << bits),
            f"{axis}_step": step,
            f"{axis}_pitch": pitch,
            f"taps_{axis}": taps,
            f"{axis}_limit": limit,
        }

    def _words(self, bits: int) -> dict[str, int]:
        words = -(-bits // self.config.word)
        return {"words": words, "tail": bits - (words - 1) * self.config.word}

    def _signs_out(self, part: Part, out: Outputs) -> dict[str, int]:
        """Fields of what a FORWARD pass writes."""
        fields: dict[str, int] = {}
        if out.rows:
            first = out.rows[0]
            fields |= _walk("rows", first, part.tile, part.y, 0, 1, part.group // self.config.granules)
            fields |= {"rows_planes": len(out.rows), "rows_buffer": isa.Buffer[first.buffer.upper()]}
            fields["rows_plane"] = out.rows[1].base - first.base if len(out.rows) > 1 else 0
        if out.columns is not None:
            fields |= self._columns(out.columns, part, part.y, 0, 1, 1)
        return fields

    def _codes_out(self, place: Place, part: Part, out: Outputs, step: int = 1, x: int = 0) -> dict[str, int]:
        """Fields of the gradient codes that a LOSS or BACKWARD pass writes, at pixels `step` apart."""
        g, code = place.geometry, self.codes[place.number]
        places = 1 if g.pool == "none" else 2
        stride = places if places == 2 else step
        y, x = places * part.y, places * x
        fields = {
            "random_base": y * g.out_width + x,
            "random_y": stride * g.out_width,
            "random_x": stride,
            "exponent": place.exponent,
            "clips": code.clips(self.settings.batch * g.pooled_outputs * g.filters),
            "twin": code.twin,
            "rate": self.rate,
        }
        if out.rows:
            view = out.rows[0]
            fields |= _walk("rows", view, part.tile, y, x, stride, part.group // self.config.granules)
            fields |= {"rows_planes": code.planes, "rows_plane": view.along_plane}
            fields["rows_buffer"] = isa.Buffer[view.buffer.upper()]
        assert out.columns is not None
        return fields | self._columns(out.columns, part, y, x, stride, code.planes)

    def _columns(self, view: View, part: Part, y: int, x: int, stride: int, planes: int) -> dict[str, int]:
        return {
            "columns_planes": planes,
            "columns_buffer": isa.Buffer[view.buffer.upper()],
            "columns_base": view.address(part.group, y, x) + part.tile // self.config.granules - view.word,
            "columns_group": view.along_group,
            "columns_y": stride * view.along_y,
            "columns_x": stride * view.along_x,
            "columns_plane": view.along_plane,
        }

    def _finish(self, fields: dict[str, int], flags: dict[str, int]) -> dict[str, int]:
        """All fields as they are encoded."""
        values = {name: int(value) for name, value in {**fields, **flags}.items()}
        return {name: value % WALKED[name] if name in WALKED else value for name, value in values.items()}


def _left(view: View, base: int) -> dict[str, int]:
    return {
        "left_planes": view.tensor.planes,
        "left_base": base,
        "left_tile": view.along_group,
        "left_plane": -view.along_plane,
    }


def _right(view: View, group: int, y: int = 0, x: int = 0, word: int = 0) -> dict[str, int]:
    return {
        "right_planes": view.tensor.planes,
        "right_base": view.top(group, y, x) + word,
        "right_group": view.along_group,
        "right_plane": -view.along_plane,
    }


def _walk(prefix: str, view: View, tile: int, y: int, x: int, stride: int, word: int) -> dict[str, int]:
    """An address that follows pixels `stride` apart; `word` is that of the first group."""
    return {
        f"{prefix}_base": view.address(tile, y, x) + word - view.word,
        f"{prefix}_y": stride * view.along_y,
        f"{prefix}_x": stride * view.along_x,
        f"{prefix}_tile": view.along_group,
    }
