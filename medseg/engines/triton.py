"""A model on a Triton server, over HTTP or gRPC: called like a pipeline with tensors by name, or like an engine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from medseg.data.byte_strings import framed, unframed
from medseg.engines.credentials import headers, key_headers, tls_options
from medseg.engines.shared_memory import LARGE_BYTES, SharedInputs
from medseg.errors import InputError, ServerError
from medseg.task import Array, Task, Tensors

MADE_BY = "made_by"  # the parameter of a served ensemble that says which runs answer
DESCRIPTIONS = "descriptions"  # and the one that describes their networks, if the runs bring their own
VERSION = (
    "1"  # the only one of each model; requests name it, so that Triton calls a model that it is loading unavailable
)
_LARGEST_MESSAGE = 2**31 - 1  # gRPC's own limit; its default of 4 MB is less than one mask
_CHANNEL = [
    *((f"grpc.max_{way}_message_length", _LARGEST_MESSAGE) for way in ("send", "receive")),
    ("grpc.use_local_subchannel_pool", 1),  # a connection of its own: a new client is not bound to an old one's failure
    ("grpc.initial_reconnect_backoff_ms", 100),  # a server that was away is found soon after it is back
    ("grpc.max_reconnect_backoff_ms", 1000),
]
_UNTRUSTED = re.compile(r"CERTIFICATE_VERIFY_FAILED: ([\w -]+)")  # grpc's words
_PROTOCOLS: dict[str, Any] = {"http": tritonclient.http, "grpc": tritonclient.grpc, "grpcs": tritonclient.grpc}


class TritonModel:
    """One model of a server, by its address (http://HOST:PORT, grpc:// or grpcs:// with TLS) and name.

    `texts` are the outputs that hold byte strings. Volumes are best sent over HTTP: gRPC keeps a copy of the largest
    message it saw. An HTTP model belongs to one thread, a gRPC model may be shared. With `shared`, inputs go to a
    server on this machine through shared memory, and the model belongs to one thread; with None only large ones do, and
    none where the server refuses that. No call waits longer than
    `timeout_s` seconds.
    """

    def __init__(
        self,
        url: str,
        model: str,
        texts: frozenset[str] = frozenset(),
        timeout_s: float = 600.0,
        shared: bool | None = False,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in _PROTOCOLS or not parts.port:
            expected = "http://HOST:PORT or grpc://HOST:PORT, or grpcs:// with TLS"
            raise InputError(f"server address {url!r} is not usable; expected {expected}")
        self._library = _PROTOCOLS[parts.scheme]
        self._url, self._model, self._texts = url, model, texts
        if parts.scheme == "http":
            options: dict[str, Any] = {"network_timeout": timeout_s, "connection_timeout": min(timeout_s, 10.0)}
        else:
            options = {"channel_args": _CHANNEL}
            options |= tls_options() if parts.scheme == "grpcs" else {}
        self._wait = {} if parts.scheme == "http" else {"client_timeout": timeout_s}  # HTTP's is the client's own
        self._headers = headers() if parts.scheme == "grpcs" else {}  # a token is never sent unencrypted
        self._client = self._library.InferenceServerClient(parts.netloc, **options)
        self._memory = None
        if shared is not False:
            self._headers = self._headers | (key_headers(parts.port) if is_local(url) else {})
            self._memory = SharedInputs(self._client, self._headers, 0 if shared else LARGE_BYTES)

    def __call__(self, batch: Array) -> Array:
        """The network's output for a batch, as an engine's."""
        return self.ask({"input": batch})["output"]

    def ask(self, tensors: Tensors, outputs: tuple[str, ...] = ("output",)) -> Tensors:
        """The named outputs. Raises InputError where the server refuses the input, ServerError where it fails."""
        wanted = [self._library.InferRequestedOutput(name) for name in outputs]
        with self._in_our_words():
            inputs = self._inputs(tensors)
            options = {"outputs": wanted, "headers": dict(self._headers), **self._wait}  # the library adds its own
            result = self._client.infer(self._model, inputs, VERSION, **options)
            if self._memory:
                self._memory.answered()
        answers = {name: result.as_numpy(name) for name in outputs}
        return {name: unframed(array, name) if name in self._texts else array for name, array in answers.items()}

    def statistics(self) -> dict[str, Any]:
        """Triton's statistics of every model: counts and nanoseconds of queue and compute. Raises ServerError."""
        with self._in_our_words():
            if self._library is tritonclient.grpc:
                options = {"headers": self._headers, "as_json": True, **self._wait}
                return dict(self._client.get_inference_statistics(**options))
            return dict(self._client.get_inference_statistics())

    def parameters(self) -> dict[str, str]:
        """The model's parameters by name. Raises ServerError."""
        with self._in_our_words():
            if self._library is tritonclient.grpc:
                options = {"headers": self._headers, "as_json": True, **self._wait}
                config = self._client.get_model_config(self._model, VERSION, **options)["config"]
            else:
                config = self._client.get_model_config(self._model, VERSION)
        return {name: one.get("string_value", "") for name, one in config.get("parameters", {}).items()}

    def ping(self) -> None:
        """Send an empty request: its time is the client's and the protocol's share. Raises ServerError."""
        with self._in_our_words():
            self._client.is_server_live(headers=self._headers, **self._wait)

    def close(self) -> None:
        """Close the connections, and give back the shared memory."""
        if self._memory:
            self._memory.close()
        self._client.close()

    def _inputs(self, tensors: Tensors) -> list[Any]:
        """The tensors as the client library wants them."""
        arrays = {name: framed(array) if array.dtype == object else array for name, array in tensors.items()}
        wires = [
            (self._library.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)), array)
            for name, array in arrays.items()
        ]
        for wire, array in self._memory.hold(wires) if self._memory else wires:
            wire.set_data_from_numpy(np.ascontiguousarray(array))
        return [wire for wire, _ in wires]

    @contextmanager
    def _in_our_words(self) -> Iterator[None]:
        try:
            yield
        except InferenceServerException as error:
            raise self._said(error) from error
        except Exception as error:  # a refused or broken connection comes as one of many exception types
            raise ServerError(f"{self._url} does not answer ({error}); expected a Triton server: start one") from error

    def _said(self, error: InferenceServerException) -> Exception:
        """The server's refusal in our words: its own message is already one sentence."""
        status, message = str(error.status() or ""), error.message()
        message = message.removeprefix(f"in ensemble '{self._model}', ")
        unknown = message.startswith("Request for unknown model")  # as an ensemble is that lacks one of its models
        if any(code in status for code in ("400", "INVALID_ARGUMENT")) and not unknown:
            return InputError(message)
        if refused := _UNTRUSTED.search(message):
            expected = (
                "expected a valid one from a known authority: its owner must renew it, or set MEDSEG_TLS_CA to the "
                "authority"
            )
            return ServerError(f"{self._url} has a certificate that cannot be used ({refused[1]}); {expected}")
        return ServerError(f"{self._url}, model {self._model!r}: {message}")


def is_local(url: str) -> bool:
    """Whether an address is this machine's own, so that shared memory can be tried."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def served_task(url: str, task: Task) -> Task:
    """The task as a server answers it, where runs describe it. Raises ServerError where the server does not say."""
    if not task.described:
        return task
    model = TritonModel(url, task.name)
    try:
        told = json.loads(model.parameters().get(DESCRIPTIONS, "null"))
    except ValueError:
        told = None
    finally:
        model.close()
    if not isinstance(told, list) or not all(isinstance(one, str) for one in told):
        raise ServerError(f"{url} does not describe its {task.name}; expected a server of `medseg serve`: start one")
    return task.described(told)


def served_pipeline(url: str, task: Task, shared: bool | None = False, timeout_s: float = 600.0) -> TritonModel:
    """The task's ensemble on a server; `shared` as for TritonModel."""
    texts = frozenset(wire.name for wire in task.pipeline.tensors if wire.dtype == "bytes")
    return TritonModel(url, task.name, texts, timeout_s, shared)
