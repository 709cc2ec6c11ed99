"""Bit tensors: one layout for activations, gradient codes and weights, in the buffers and in DDR."""

from __future__ import annotations

import dataclasses

from bnnedge.configuration import Configuration


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A map of `height` x `width` pixels, of each of which it holds `vectors` vectors of `bits` bits and `planes` planes.

    * rows (left operand of forward pass and data gradient): vectors are images, bits are channels
    * columns (both operands of the weight gradient): vectors are channels, bits are images
    * weights: vectors are output channels (backward: input channels), the map is the window, bits the other channels

    Vector n stands in bank n % lanes, in group n // lanes. Within a bank, addresses count words, planes, columns, rows,
    groups, from the inside out (`planar`: words, columns, rows, planes, groups; the uppermost plane first).
    In DDR a tensor is the buffer's image: address-major, bank-minor. `word`: number of its first word, if it holds a part
    of the images of a batch.
    """

    name: str
    vectors: int
    height: int
    width: int
    planes: int
    bits: int
    groups: int
    words: int
    planar: bool = False
    word: int = 0

    @classmethod
    def of(
        cls,
        name: str,
        config: Configuration,
        vectors: int,
        size: tuple[int, int],
        planes: int,
        bits: int,
        *,
        planar: bool = False,
        word: int = 0,
    ) -> Tensor:
        """A tensor in the banks and words of a configuration."""
        groups, words = -(-vectors // config.lanes), -(-bits // config.word)
        return cls(name, vectors, *size, planes, bits, groups, words, planar, word)

    @property
    def pixel(self) -> int:
        """Addresses of a pixel of one group."""
        return self.planes * self.words

    @property
    def row(self) -> int:
        """Addresses of a row of pixels of one group."""
        return self.width * self.pixel

    @property
    def size(self) -> int:
        """Addresses of the whole tensor: words in each bank."""
        return self.groups * self.height * self.row


@dataclasses.dataclass(frozen=True)
class View:
    """Groups `group`.., rows `y`.. and words `word`.. of a tensor, in a buffer ("left" or "right") from `base` on.

    What it holds lies as in the tensor, without the rest. Addresses are given for coordinates of the tensor; those
    outside the view are where they would be (the hardware skips them).
    """

    tensor: Tensor
    buffer: str
    base: int
    group: int
    groups: int
    y: int
    rows: int
    word: int
    words: int

    @classmethod
    def of(
        cls,
        tensor: Tensor,
        buffer: str = "left",
        base: int = 0,
        *,
        groups: tuple[int, int] | None = None,
        rows: tuple[int, int] | None = None,
        words: tuple[int, int] | None = None,
    ) -> View:
        """A view of a tensor; of groups, rows and words the first and how many (all, if not given)."""
        whole = (groups or (0, tensor.groups), rows or (0, tensor.height), words or (tensor.word, tensor.words))
        assert not tensor.planar or whole[1] == (0, tensor.height)
        return cls(tensor, buffer, base, *whole[0], *whole[1], *whole[2])

    @property
    def size(self) -> int:
        """Addresses that it takes."""
        return self.groups * self.along_group

    @property
    def along_x(self) -> int:
        """Addresses from pixel to pixel."""
        return self.words if self.tensor.planar else self.tensor.planes * self.words

    @property
    def along_y(self) -> int:
        """Addresses from row to row of pixels."""
        return self.tensor.width * self.along_x

    @property
    def along_plane(self) -> int:
        """Addresses from a plane to the next more significant one."""
        return -self.rows * self.along_y if self.tensor.planar else self.words

    @property
    def along_group(self) -> int:
        """Addresses from group to group."""
        return self.rows * self.tensor.width * self.tensor.planes * self.words

    def address(self, group: int, y: int, x: int, plane: int = 0) -> int:
        """Address of the view's first word of a group of vectors at a pixel."""
        lowest = (self.tensor.planes - 1) * -self.along_plane if self.tensor.planar else 0
        place = (group - self.group) * self.along_group + (y - self.y) * self.along_y + x * self.along_x
        return self.base + lowest + place + plane * self.along_plane

    def top(self, group: int, y: int, x: int) -> int:
        """Address of the most significant plane."""
        return self.address(group, y, x, self.tensor.planes - 1)
