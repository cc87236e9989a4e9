"""A stand-in for TensorFlow: the few functions that the suite calls around a kernel, with NumPy behind them.

It is installed as a wheel, so that everything else in a fault test is real: the command line, uv, the driver and the
worker processes. A process of it starts in a tenth of a second, so that a whole run takes two.
"""

import sys
import types
from contextlib import contextmanager

import numpy as np

_on = False


class Tensor:
    """An array that knows its device."""

    device = "/job:localhost/replica:0/task:0/device:CPU:0"

    def __init__(self, value, dtype=None):
        self._value = np.asarray(value, dtype)
        self.dtype, self.shape = self._value.dtype, self._value.shape

    def numpy(self):
        return self._value

    def __add__(self, other):
        return Tensor(self._value + other._value)


def _space(**names):
    return types.SimpleNamespace(**names)


def _enable():
    global _on
    _on = True


def _module(name, **names):
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(names)


@contextmanager
def device(name):
    yield


class _Generators:
    """Names a module that may be given a global generator."""

    __module__ = "tensorflow.python.ops.generators"

    def __call__(self):
        return None


def set_random_seed(seed):
    np.random.seed(seed)


_module("tensorflow.python")
_module("tensorflow.python.framework")
_module("tensorflow.python.framework.config", is_op_determinism_enabled=lambda: _on)
_module("tensorflow.python.ops.generators", global_generator=None)
version = _space(VERSION="2.18.1", GIT_VERSION="none", COMPILER_VERSION="none")
sysconfig = _space(get_build_info=dict)
errors = _space(ResourceExhaustedError=MemoryError)
random = _space(get_global_generator=_Generators())
keras = _space(
    backend=_space(floatx=lambda: "float32", clear_session=lambda: None),
    mixed_precision=_space(global_policy=lambda: _space(name="float32")),
    utils=_space(set_random_seed=set_random_seed),
)
config = _space(
    experimental=_space(
        enable_op_determinism=_enable,
        tensor_float_32_execution_enabled=lambda: True,
        enable_tensor_float_32_execution=lambda on: None,
    ),
    threading=_space(
        get_intra_op_parallelism_threads=lambda: 0,
        get_inter_op_parallelism_threads=lambda: 0,
        set_intra_op_parallelism_threads=lambda number: None,
        set_inter_op_parallelism_threads=lambda number: None,
    ),
    optimizer=_space(get_jit=lambda: "", get_experimental_options=dict),
    functions_run_eagerly=lambda: False,
    run_functions_eagerly=lambda on: None,
    list_physical_devices=lambda kind="CPU": [_space(name="/physical_device:CPU:0")] if kind == "CPU" else [],
    list_logical_devices=lambda kind="CPU": [_space(name="/device:CPU:0")] if kind == "CPU" else [],
    get_soft_device_placement=lambda: True,
)


def constant(value, dtype=None):
    return Tensor(value, dtype)


def reduce_sum(x):
    return Tensor(x._value.sum())


def reduce_max(x):
    return Tensor(x._value.max())


def executing_eagerly():
    return True
