"""The front's gRPC: the methods that may pass, the token, and what an inference says of its tensors."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from tritonclient.grpc.service_pb2 import ModelInferRequest

from medseg.engines.credentials import KEY_HEADER, TOKEN_HEADERS
from medseg.errors import InputError
from medseg.triton_models.cancelled import new_id
from medseg.triton_models.front.again import Left, Replaced, Twice
from medseg.triton_models.front.doors import Doors, grpc_socket, shut
from medseg.triton_models.front.rules import MOST_BYTES, MOST_TEXT, Sent, check_inputs, check_memory
from medseg.triton_models.front.words import AWAY, UNWELCOME, died, trouble

_SERVICE = "/inference.GRPCInferenceService/"
_INFER = f"{_SERVICE}ModelInfer"
_OPEN = ("ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics")
_MEMORY = ("SystemSharedMemoryStatus", "SystemSharedMemoryRegister", "SystemSharedMemoryUnregister")
_BROKEN = re.compile(r"failed to connect|Socket closed|recvmsg|[Cc]onnection|GOAWAY")  # grpc's words, not Triton's
_UNSENT = re.compile(r"failed to connect")
_SHOWN = (KEY_HEADER, *TOKEN_HEADERS)
_MOST_CALLS = 256
_SERVING = [
    ("grpc.max_receive_message_length", MOST_BYTES + MOST_TEXT),
    ("grpc.max_send_message_length", 2**31 - 1),
    ("grpc.compression_enabled_algorithms_bitset", 1),  # no compression: a small message may become huge when unpacked
    ("grpc.so_reuseport", 0),  # otherwise a port that is in use would be shared with its owner
]
_ASKING = [
    ("grpc.max_receive_message_length", 2**31 - 1),
    ("grpc.max_send_message_length", 2**31 - 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 100),
]
_CONNECT_SECONDS = 0.5  # a connection that failed before Triton was back is not tried anew until then


async def listen(doors: Doors, replaced: Replaced) -> tuple[grpc.aio.Server, int]:
    """The server, started, and its port. Raises OSError where the port is taken or the files for TLS do not fit."""
    channel = grpc.aio.insecure_channel(f"unix:{grpc_socket(Path(doors.sockets))}", options=_ASKING)
    server = grpc.aio.server(options=_SERVING, maximum_concurrent_rpcs=_MOST_CALLS)
    server.add_generic_rpc_handlers([_Passing(doors, channel, replaced)])
    host = f"[{doors.host}]" if ":" in doors.host else doors.host
    where = f"{host}:{doors.grpc_port}"
    try:
        if doors.certificate:
            port = server.add_secure_port(where, _credentials(doors))
        else:
            port = server.add_insecure_port(where)
    except RuntimeError as error:
        raise shut(doors.host, doors.grpc_port, _why(doors)) from error
    await server.start()
    return server, port


def _why(doors: Doors) -> OSError:
    """Why a port cannot be opened: gRPC does not say it."""
    try:
        family = socket.AF_INET6 if ":" in doors.host else socket.AF_INET
        socket.create_server((doors.host, doors.grpc_port), family=family).close()
    except OSError as error:
        return error
    return OSError("gRPC says no more")


def _credentials(doors: Doors) -> grpc.ServerCredentials:
    pair = (Path(doors.certificate_key).read_bytes(), Path(doors.certificate).read_bytes())
    authority = Path(doors.client_ca).read_bytes() if doors.client_ca else None
    return grpc.ssl_server_credentials([pair], authority, require_client_auth=authority is not None)


class _Passing(grpc.GenericRpcHandler):
    """What grpc asks for the handler of a method: messages pass as bytes."""

    def __init__(self, doors: Doors, channel: grpc.aio.Channel, replaced: Replaced) -> None:
        names = [_INFER, "/grpc.health.v1.Health/Check", *(_SERVICE + name for name in (*_OPEN, *_MEMORY))]
        self._calls = {name: channel.unary_unary(name) for name in names}
        self._doors, self._channel, self._replaced = doors, channel, replaced
        self._left = Left[bytes](Path(doors.sockets))

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        call = self._calls.get(details.method)
        return call and grpc.unary_unary_rpc_method_handler(partial(self._passed, details.method, call))

    async def _passed(self, method: str, call: Callable, message: bytes, context: Any) -> bytes:
        """Triton's answer. A client that cancels or goes away cancels this, and Triton's steps are told."""
        message, name = await self._check_client(method, message, context)

        # a request that Triton learns by our id of, no deadline ends there: it is left, see again.py
        ask = partial(self._asked, call, message, None if name else context.time_remaining())
        try:
            if method != _INFER:
                return await ask()
            left = partial(self._left, name) if name else None
            return await Twice(ask, lambda _: False, _died, left).answer(self._replaced)
        except grpc.aio.AioRpcError as error:
            if said := trouble(error.details() or ""):
                await context.abort(grpc.StatusCode.UNAVAILABLE, said)
            away = error.code() == grpc.StatusCode.UNAVAILABLE and _BROKEN.search(error.details() or "")
            await context.abort(error.code(), AWAY if away else error.details())
            raise

    async def _asked(self, call: Callable, message: bytes, seconds: float | None) -> bytes:
        """Triton's answer; where the connection failed while Triton was away, it is made anew first."""
        try:
            return await call(message, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            if not _UNSENT.search(error.details() or "") or not await self._connected():
                raise
        return await call(message, timeout=seconds)

    async def _connected(self) -> bool:
        """Whether Triton listens, at once or very soon."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._channel.channel_ready(), _CONNECT_SECONDS)
            return True
        return False

    async def _check_client(self, method: str, message: bytes, context: Any) -> tuple[bytes, str]:
        """The message, and the id that it got, if it did.

        Refuses who lacks the token or the key, and an inference that Triton must not see.
        """
        doors, refuse = self._doors, context.abort
        shown = {name: [str(value) for key, value in context.invocation_metadata() if key == name] for name in _SHOWN}
        if not doors.welcomes(value for name in TOKEN_HEADERS for value in shown[name]):
            await refuse(grpc.StatusCode.UNAUTHENTICATED, UNWELCOME)
        trusted = doors.trusts(shown[KEY_HEADER])
        if method.removeprefix(_SERVICE) in _MEMORY and not trusted:
            await refuse(grpc.StatusCode.PERMISSION_DENIED, "shared memory is restricted to the server's own user")
        if method == _INFER:
            try:
                if not _check(message, trusted):
                    name = new_id()
                    return message + ModelInferRequest(id=name).SerializeToString(), name  # as if it were one message
            except InputError as error:
                await refuse(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return message, ""


def _died(answer: bytes | BaseException) -> bool:
    return isinstance(answer, grpc.aio.AioRpcError) and died(answer.details() or "")


def _check(message: bytes, trusted: bool) -> str:
    """The id that the client gave its request. Raises InputError for an inference that Triton must not see."""
    try:
        asked = ModelInferRequest.FromString(message)
    except DecodeError as error:
        raise InputError("the message cannot be read; expected a ModelInferRequest") from error
    raw = iter(asked.raw_input_contents)
    inputs = []
    for one in asked.inputs:
        size, shared = None, 0
        if "shared_memory_region" in one.parameters:
            check_memory(trusted)
            shared = one.parameters["shared_memory_byte_size"].int64_param
        elif one.HasField("contents"):
            raise InputError(f"input {one.name!r} came as single numbers; expected its bytes in raw_input_contents")
        else:
            size = len(next(raw, b""))
        inputs.append(Sent(one.name, one.datatype, tuple(one.shape), size, shared))
    if next(raw, None) is not None:
        raise InputError("the message has more raw_input_contents than inputs")
    check_inputs(inputs)
    if any("shared_memory_region" in one.parameters for one in asked.outputs):
        check_memory(trusted)
    return asked.id
