"""Convolutions and their gradients."""

from __future__ import annotations

from typing import Any

from bench.suite.kernels import Work, kernel, stream


@kernel(
    family="convolutions",
    exercises="the gradient of a convolution with respect to its filter, random upstream gradient",
    shapes="in[8,64,64,8], filter[3,3,8,8], SAME",
    dtypes="float32",
    source="tensorflow/python/kernel_tests/nn_ops/cudnn_deterministic_base.py",
)
def conv2d_bwd_filter(tf: Any, seed: int) -> Work:
    """``Conv2DBackpropFilter``; the upstream gradient is random, for all-ones hides reductions."""
    numbers = stream(seed)
    x = tf.constant(numbers.standard_normal((8, 64, 64, 8)).astype("float32"))
    upstream = tf.constant(numbers.standard_normal((8, 64, 64, 8)).astype("float32"))
    return lambda: {
        "gradient": tf.raw_ops.Conv2DBackpropFilter(
            input=x, filter_sizes=[3, 3, 8, 8], out_backprop=upstream, strides=[1, 1, 1, 1], padding="SAME"
        )
    }
