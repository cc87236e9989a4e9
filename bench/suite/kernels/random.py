"""Random numbers: all ways to seed them."""

from __future__ import annotations

from typing import Any, Tuple

from bench.suite.kernels import Outputs, Work, has_gpu, kernel, normal, op

SOURCE = "tfrepro; tensorflow/tensorflow#47603, #47685"
SHAPES = "[1024,1024] on GPU, [256,256] on CPU"


@kernel("random", "random numbers from the global seed", SHAPES, "float32", SOURCE, call_again=False)
def random_init(tf: Any, seed: int) -> Work:  # noqa: ARG001 - uses the global seed
    """``tf.random.normal``, ``uniform`` and ``truncated_normal`` without an op seed."""
    shape = _shape(tf)

    def work() -> Outputs:
        return {
            "normal": tf.random.normal(shape),
            "uniform": tf.random.uniform(shape),
            "truncated": tf.random.truncated_normal(shape),
        }

    return op(tf, work)


@kernel("random", "dropout with an op seed", SHAPES, "float32", SOURCE, call_again=False)
def dropout_seeded(tf: Any, seed: int) -> Work:
    """``tf.nn.dropout`` of normal numbers; global seed and op seed together determine the mask."""
    x = tf.constant(normal(seed, _shape(tf)))
    return op(tf, lambda x: {"dropped": tf.nn.dropout(x, rate=0.5, seed=seed)}, x)


@kernel("random", "stateless random numbers from Philox", SHAPES, "float32, int32", SOURCE)
def stateless_random(tf: Any, seed: int) -> Work:
    """``tf.random.stateless_uniform``, ``stateless_normal`` and ``stateless_truncated_normal`` with Philox."""
    shape, key = _shape(tf), tf.constant([seed, 7])

    def work(key: Any) -> Outputs:
        return {
            "uniform": tf.random.stateless_uniform(shape, key, alg="philox"),
            "normal": tf.random.stateless_normal(shape, key, alg="philox"),
            "integers": tf.random.stateless_uniform(shape, key, 0, 1000, tf.int32, alg="philox"),
        }

    return op(tf, work, key)


@kernel("random", "stateless random numbers from ThreeFry, compiled by XLA", SHAPES, "float32", SOURCE, heavy=True)
def stateless_threefry_xla(tf: Any, seed: int) -> Work:
    """``tf.random.stateless_uniform`` and ``stateless_normal`` with ThreeFry, which only XLA implements."""
    shape, key = _shape(tf), tf.constant([seed, 7])

    def work(key: Any) -> Outputs:
        return {
            "uniform": tf.random.stateless_uniform(shape, key, alg="threefry"),
            "normal": tf.random.stateless_normal(shape, key, alg="threefry"),
        }

    return op(tf, work, key, xla=True)


@kernel(
    exercises="seeded random ops compiled by XLA, which ignores the seeds",
    shapes=SHAPES,
    source="tensorflow.org/xla/known_issues",
    call_again=False,
    heavy=True,
)
def random_init_xla(tf: Any, seed: int) -> Work:
    """``tf.random.uniform`` and ``tf.nn.dropout``, with global seed and op seeds, under ``jit_compile``."""
    x = tf.constant(normal(seed, _shape(tf)))

    def work(x: Any) -> Outputs:
        return {
            "uniform": tf.random.uniform(_shape(tf), seed=seed),
            "dropped": tf.nn.dropout(x, rate=0.5, seed=seed),
        }

    return op(tf, work, x, xla=True)


@kernel("random", "a generator created from a seed", SHAPES, "float32", SOURCE)
def generator_from_seed(tf: Any, seed: int) -> Work:
    """``tf.random.Generator.from_seed``, created again in every call, and therefore eager."""
    shape = _shape(tf)

    def work() -> Outputs:
        generator = tf.random.Generator.from_seed(seed)
        return {"normal": generator.normal(shape), "uniform": generator.uniform(shape)}

    return work


@kernel("random", "the global generator after a global seed only", SHAPES, "float32", SOURCE, call_again=False)
def generator_global(tf: Any, seed: int) -> Work:  # noqa: ARG001 - the global seed does not seed the generator
    """``tf.random.get_global_generator`` in a program that calls ``set_random_seed``, which does not seed it.

    With determinism on TensorFlow refuses it; the suite's ``generator_from_seed`` shows what works.
    """
    shape = _shape(tf)

    def work() -> Outputs:
        generator = tf.random.get_global_generator()
        return {"normal": generator.normal(shape), "uniform": generator.uniform(shape)}

    return work


@kernel(exercises="a seeded shuffle of rows", shapes="[10000,8]", source=SOURCE, call_again=False, on_host=True)
def shuffle_seeded(tf: Any, seed: int) -> Work:
    """``tf.random.shuffle`` with an op seed."""
    x = tf.constant(normal(seed, (10_000, 8)))
    return op(tf, lambda x: {"shuffled": tf.random.shuffle(x, seed=seed)}, x)


@kernel(
    exercises="unordered ops of one v1 session: two random ops, two additions to a variable, and a read of it",
    shapes="[4096]",
    source="tfrepro; the documentation of enable_op_determinism excludes tf.compat.v1.Session",
    call_again=False,
)
def session_v1_random(tf: Any, seed: int) -> Work:
    """``tf.compat.v1.Session.run`` without control dependencies, so the order of the additions is undefined.

    The random ops are seeded. Whether the read sees none, one or both additions is part of the result.
    """
    graph = tf.Graph()
    with graph.as_default():
        tf.compat.v1.set_random_seed(seed)
        variable = tf.Variable(normal(seed, (4096,)))
        first, second = tf.random.normal([4096]), tf.random.uniform([4096], seed=seed)
        fetches = {
            "first": first,
            "second": second,
            "plus_first": variable.assign_add(first),
            "plus_second": variable.assign_add(second),
            "read": variable.read_value(),
        }

    def work() -> Outputs:
        with tf.compat.v1.Session(graph=graph) as session:
            session.run(variable.initializer)
            outputs: Outputs = {**session.run(fetches), "variable": session.run(variable)}
        return outputs

    return work


def _shape(tf: Any) -> Tuple[int, int]:
    return (1024, 1024) if has_gpu(tf) else (256, 256)
