"""A stand-in for TensorFlow: the few functions that the suite calls around a kernel, with NumPy behind them.

It is installed as a wheel, so that everything else in a fault test is real: the command line, uv, the driver and the
worker processes. A process with it starts in a tenth of a second.
"""

from __future__ import annotations

import sys
import types
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

_switch = {"determinism": False}


class Tensor:
    """An array that knows its device."""

    device = "/job:localhost/replica:0/task:0/device:CPU:0"

    def __init__(self, value: Any) -> None:
        self._value = np.asarray(value)
        self.dtype, self.shape = self._value.dtype, self._value.shape

    def numpy(self) -> Any:
        return self._value

    def __add__(self, other: Tensor) -> Tensor:
        return Tensor(self._value + other._value)


def constant(value: Any) -> Tensor:
    return Tensor(value)


def reduce_sum(x: Tensor) -> Tensor:
    return Tensor(x.numpy().sum())


def reduce_max(x: Tensor) -> Tensor:
    return Tensor(x.numpy().max())


def executing_eagerly() -> bool:
    return True


@contextmanager
def device(_name: str) -> Iterator[None]:
    yield


def _space(**names: Any) -> types.SimpleNamespace:
    return types.SimpleNamespace(**names)


def _nothing(*_: Any) -> None:
    pass


def _devices(kind: str = "CPU") -> list[Any]:
    return [_space(name="/device:CPU:0")] if kind == "CPU" else []


def _enable_op_determinism() -> None:
    _switch["determinism"] = True


def _global_generator() -> None:
    pass


def _module(name: str, **names: Any) -> None:
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(names)


_module("tensorflow.python")
_module("tensorflow.python.framework")
_module("tensorflow.python.framework.config", is_op_determinism_enabled=lambda: _switch["determinism"])
version = _space(VERSION="2.18.1", GIT_VERSION="none", COMPILER_VERSION="none")
sysconfig = _space(get_build_info=dict)
errors = _space()
random = _space(get_global_generator=_global_generator)
keras = _space(
    backend=_space(floatx=lambda: "float32", clear_session=_nothing),
    mixed_precision=_space(global_policy=lambda: _space(name="float32")),
    utils=_space(set_random_seed=_nothing),
)
config = _space(
    experimental=_space(
        enable_op_determinism=_enable_op_determinism,
        tensor_float_32_execution_enabled=lambda: True,
        enable_tensor_float_32_execution=_nothing,
    ),
    threading=_space(
        get_intra_op_parallelism_threads=lambda: 0,
        get_inter_op_parallelism_threads=lambda: 0,
        set_intra_op_parallelism_threads=_nothing,
        set_inter_op_parallelism_threads=_nothing,
    ),
    optimizer=_space(get_jit=lambda: "", get_experimental_options=dict),
    functions_run_eagerly=lambda: False,
    run_functions_eagerly=_nothing,
    list_physical_devices=_devices,
    list_logical_devices=_devices,
    get_soft_device_placement=lambda: True,
)
