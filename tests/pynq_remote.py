"""What runs on a PYNQ.remote board: the server behind pynq's gRPC stubs, on top of a simulated board."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
from pynq.remote import (
    buffer_pb2,
    buffer_pb2_grpc,
    mmio_pb2,
    mmio_pb2_grpc,
    remote_device_pb2,
    remote_device_pb2_grpc,
)
from pynq_board import SimulatedBoard

MANAGER = "/sys/class/fpga_manager/fpga0"
CHUNK = 1 << 20  # bytes of a message


class Mmio(mmio_pb2_grpc.MmioServicer):
    """Registers; a window's name is its address."""

    def __init__(self, board: SimulatedBoard) -> None:
        self.board = board

    def get_mmio(self, request: Any, context: Any) -> Any:
        return mmio_pb2.GetMmioResponse(mmio_id=str(request.base_addr))

    def read(self, request: Any, context: Any) -> Any:
        data = self.board.read_registers(int(request.mmio_id) + request.offset, request.length)
        value = int.from_bytes(data, "little")
        try:
            return mmio_pb2.ReadResponse(data=value)
        except ValueError:  # pynq 3.1: a signed number
            return mmio_pb2.ReadResponse(data=value - (1 << 32))

    def write(self, request: Any, context: Any) -> Any:
        self.board.write_registers(int(request.mmio_id) + request.offset, request.data)
        return mmio_pb2.WriteResponse()


class Buffers(buffer_pb2_grpc.RemoteBufferServicer):
    """Contiguous memory; a buffer's name is its address."""

    def __init__(self, board: SimulatedBoard) -> None:
        self.board = board

    def allocate(self, request: Any, context: Any) -> Any:
        try:
            address, there = self.board.bus.allocate(request.size)
        except MemoryError:
            return buffer_pb2.AllocateResponse()  # as PYNQ's own server does
        self.board.buffers[address] = np.full(request.size, 0xA5, np.uint8), there
        return buffer_pb2.AllocateResponse(buffer_id=str(address))

    def write(self, requests: Any, context: Any) -> Any:
        place = 0
        for request in requests:
            data = np.frombuffer(request.data, np.uint8)
            self.board.buffers[int(request.buffer_id)][0][place : place + len(data)] = data
            place += len(data)
        return buffer_pb2.BufferWriteResponse()

    def read(self, request: Any, context: Any) -> Iterator[Any]:
        here, _ = self.board.buffers[int(request.buffer_id)]
        for start in range(0, len(here), CHUNK):
            yield buffer_pb2.BufferReadResponse(data=here[start : start + CHUNK].tobytes())

    def freebuffer(self, request: Any, context: Any) -> Any:
        del self.board.buffers[int(request.buffer_id)]
        self.board.bus.release(int(request.buffer_id))
        return buffer_pb2.FreeBufferResponse()

    def flush(self, request: Any, context: Any) -> Any:
        self.board.flush(int(request.buffer_id), 0, 0, 0)
        return buffer_pb2.FlushResponse()

    def invalidate(self, request: Any, context: Any) -> Any:
        self.board.invalidate(int(request.buffer_id), 0, 0, 0)
        return buffer_pb2.InvalidateResponse()

    def physical_address(self, request: Any, context: Any) -> Any:
        if not request.buffer_id:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such buffer")
        return buffer_pb2.AddressResponse(address=int(request.buffer_id))


class Files(remote_device_pb2_grpc.RemoteDeviceServicer):
    """The board's files. What is written to the FPGA manager is the name of a file that it loads."""

    def __init__(self, board: SimulatedBoard) -> None:
        self.board = board
        self.files = {
            "/proc/version": b"Linux version 6.6 (armv7l)",
            "/proc/device-tree/chosen/pynq_board": b"Pynq-Z2\0",
            f"{MANAGER}/state": b"operating",
            f"{MANAGER}/flags": b"0",
        }

    def existsfile(self, request: Any, context: Any) -> Any:
        return remote_device_pb2.ExistsFileResponse(exists=request.file_path in self.files)

    def readfile(self, request: Any, context: Any) -> Iterator[Any]:
        yield remote_device_pb2.ReadFileResponse(data=self.files[request.file_path])

    def writefile(self, requests: Any, context: Any) -> Any:
        parts = [(request.file_path, request.data) for request in requests]
        path, content = parts[0][0], b"".join(data for _, data in parts)
        self.files[path] = content
        if path == f"{MANAGER}/firmware":
            assert f"/lib/firmware/{content.decode()}" in self.files
            self.board.log.append("download")
        return remote_device_pb2.WriteFileResponse()

    def set_bitstream_attrs(self, request: Any, context: Any) -> Any:
        return remote_device_pb2.SetBitstreamAttrsResponse(status=True)


class Server:
    """A server on a free local `port`, until `close`."""

    def __init__(self, board: SimulatedBoard) -> None:
        self.files = Files(board)
        # One thread: the simulator is used by one at a time.
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=1))
        mmio_pb2_grpc.add_MmioServicer_to_server(Mmio(board), self._server)
        buffer_pb2_grpc.add_RemoteBufferServicer_to_server(Buffers(board), self._server)
        remote_device_pb2_grpc.add_RemoteDeviceServicer_to_server(self.files, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def close(self) -> None:
        self._server.stop(None).wait()
