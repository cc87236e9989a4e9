"""The suite without TensorFlow: its catalogue, declarations and files."""

from __future__ import annotations

import ast
import base64
import dataclasses
import hashlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.store.run_info import KernelInfo
from bench.suite import verify_install
from bench.suite.kernels import FAMILIES, all_kernels, integers, kernel, normal, stream
from bench.suite.suite_hash import ROOT, suite_files

if TYPE_CHECKING:
    from pathlib import Path

#: Kernels that the suite must have; kernels may be added, but not removed without a change here.
CATALOGUE = set(
    """
    seeded_mlp mlp_fit mlp_fit_xla mlp_loop cnn_fit cnn_loop transformer_fit transformer_loop embedding_fit
    embedding_loop matmul_mean matmul_f32 matmul_f32_xla matmul_bf16 matmul_f16 matmul_splitk reduce_sum_1d
    reduce_sum_1d_xla reduce_mean_axis cumsum conv2d_bwd_filter conv2d_bwd_filter_dilated conv2d_bwd_input
    conv2d_transpose conv3d_fwd conv3d_fwd_xla conv3d_bwd depthwise_bwd bias_add_grad_nchw bias_add_grad_nhwc
    batchnorm_train batchnorm_frozen softmax_xent softmax_xent_f64 softmax_xent_f16_wide sparse_xent sparse_xent_i64
    segment_sum unsorted_segment_sum gather_grad scatter_nd tensor_scatter_nd_add sparse_dense_matmul
    resize_bilinear_grad resize_nearest_grad crop_and_resize_grad max_pool_grad max_pool_grad_xla max_pool3d_grad
    max_pool_argmax_grad dilation2d_grad lstm_fwd lstm_grad gru_fwd gru_grad attention_block ctc_loss bincount_int
    bincount_weighted histogram_fixed_width adjust_contrast fft2d svd svd_one_column cholesky qr inverse
    variable_scatter_add variable_scatter_mul csr_matmul_transpose_a interleave_sloppy map_stateful_random
    generator_global session_v1_random random_init dropout_seeded stateless_random shuffle_seeded data_pipeline
    control_flicker control_flicker_p50 control_flicker_p10 control_flicker_p02 control_integer control_fixed_float
    """.split()  # noqa: SIM905 - eighty names, a line each, would hide the tests
)

KERNELS = all_kernels()


def test_the_catalogue_is_complete() -> None:
    assert not CATALOGUE - set(KERNELS)
    assert len([kernel for kernel in KERNELS.values() if not kernel.control]) >= 45


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_has_a_complete_declaration(name: str) -> None:
    facts = KERNELS[name].declaration()
    for key in ("name", "family", "exercises", "shapes", "dtypes", "source"):
        assert isinstance(facts[key], str), key
        assert facts[key].strip(), key
    assert facts["family"] in FAMILIES
    assert facts["file"] == ""
    assert len(KERNELS[name].source_hash()) == 64
    assert KERNELS[name].function.__doc__, "a kernel needs a docstring"
    assert set(facts) == {field.name for field in dataclasses.fields(KernelInfo)}, "run.json has the same properties"
    json.dumps(facts, allow_nan=False)


def test_kernels_are_ordered_by_family() -> None:
    families = [kernel.family for kernel in KERNELS.values()]
    assert list(dict.fromkeys(families)) == list(FAMILIES)
    assert families == sorted(families, key=FAMILIES.index)


def test_kernels_are_distinct() -> None:
    assert len({kernel.function for kernel in KERNELS.values()}) == len(KERNELS)
    assert len({kernel.source_hash() for kernel in KERNELS.values()}) >= len(FAMILIES)


def test_training_exists_as_fit_and_as_portable_loop() -> None:
    training = {name: kernel for name, kernel in KERNELS.items() if kernel.family == "training"}
    assert all(kernel.heavy for kernel in training.values())
    stems = {name.removesuffix("_fit") for name in training if name.endswith("_fit")}
    assert stems == {name.removesuffix("_loop") for name in training if name.endswith("_loop")}
    assert {"mlp", "cnn", "transformer", "embedding"} <= stems
    for stem in stems:
        fit, loop = training[f"{stem}_fit"], training[f"{stem}_loop"]
        assert (fit.portable, loop.portable) == (False, True)
        assert not fit.call_again, "a second call of fit continues the training"
        assert loop.call_again, "a loop starts again, so it can be timed"
        assert fit.shapes == loop.shapes


def test_xla_kernels_have_a_plain_counterpart_and_are_heavy() -> None:
    xla_kernels = [name for name in KERNELS if name.endswith("_xla")]
    assert len(xla_kernels) >= 5
    assert all(KERNELS[name].heavy for name in xla_kernels), "they are compiled again in every repetition"
    plain = {name.removesuffix("_xla") for name in xla_kernels} - {"stateless_threefry"}
    assert plain <= set(KERNELS)


def test_controls_declare_how_often_they_differ() -> None:
    controls = {name: (kernel.control, kernel.rate) for name, kernel in KERNELS.items() if kernel.control}
    assert controls == {
        "control_flicker": ("must-differ", 1.0),
        "control_flicker_p50": ("must-differ", 0.5),
        "control_flicker_p10": ("must-differ", 0.1),
        "control_flicker_p02": ("must-differ", 0.02),
        "control_integer": ("must-not-differ", 0.0),
        "control_fixed_float": ("must-not-differ", 0.0),
    }
    assert all(kernel.on_host and kernel.portable for kernel in KERNELS.values() if kernel.control)
    gpu = {name for name, kernel in KERNELS.items() if kernel.gpu_control}
    assert gpu >= {"unsorted_segment_sum", "scatter_nd", "tensor_scatter_nd_add", "conv2d_bwd_filter"}


def test_important_kernels_have_a_reference() -> None:
    with_reference = {name for name, kernel in KERNELS.items() if kernel.reference is not None}
    required = {"reduce_sum_1d", "reduce_mean_axis", "matmul_f32", "conv2d_fwd", "softmax_xent", "sparse_xent"}
    assert required <= with_reference
    assert all(KERNELS[name].declaration()["accuracy"] == (name in with_reference) for name in KERNELS)


def test_two_kernels_with_the_same_name_are_rejected() -> None:
    def reduce_sum_1d(tf: Any, seed: int) -> Any:
        raise NotImplementedError

    with pytest.raises(ValueError, match="two kernels are named 'reduce_sum_1d'"):
        kernel(family="x", exercises="x", shapes="x", dtypes="x", source="x")(reduce_sum_1d)
    assert all_kernels()["reduce_sum_1d"] == KERNELS["reduce_sum_1d"]


def test_an_unknown_option_is_rejected() -> None:
    with pytest.raises(TypeError, match=r"kernel\(\) has no option 'havy'; its options are call_again, "):
        kernel(family="x", exercises="x", shapes="x", dtypes="x", source="x", havy=True)


def test_inputs_come_from_the_frozen_generator_and_are_read_only() -> None:
    # NumPy guarantees these numbers forever (NEP 19), so they are literals here
    assert normal(42, (2,)).tolist() == [np.float32(0.4967141530112327), np.float32(-0.13826430117118466)]
    assert integers(42, 100, (3,)).tolist() == [51, 92, 14]
    assert normal(42, (2,), salt=1).tolist() != normal(42, (2,)).tolist()
    assert stream(42, 1).randint(0, 2**31) == stream(42, 1).randint(0, 2**31) != stream(42, 2).randint(0, 2**31)
    with pytest.raises(ValueError, match="read-only"):
        normal(42, (2,))[0] = 1


def tree_of(relative: Path) -> ast.Module:
    return ast.parse((ROOT / relative).read_text(encoding="utf-8"), feature_version=(3, 9))


@pytest.mark.parametrize("relative", suite_files(), ids=str)
def test_the_suite_is_self_contained_and_valid_python_3_9(relative: Path) -> None:
    allowed = {*sys.stdlib_module_names, "numpy", "tensorflow"}
    for node in ast.walk(tree_of(relative)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            assert name.split(".")[0] in allowed or name.startswith("bench.suite"), name


def test_the_suite_is_imported_without_tensorflow() -> None:
    names = [str(path.with_suffix("")).replace("/", ".") for path in suite_files() if path.name != "__init__.py"]
    assert len(names) > 20
    code = (
        "import importlib, sys\nfor name in ('tensorflow', 'keras'):\n    sys.modules[name] = None\n"
        "for name in sys.argv[1:]:\n    importlib.import_module(name)\n"
    )
    command = [sys.executable, "-c", code, *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class TestVerifyInstall:
    """Every installed file is verified against its wheel's RECORD."""

    def site(self, tmp_path: Path) -> Path:
        (tmp_path / "six.py").write_bytes(b"x = 1\n")
        info = tmp_path / "six-1.17.0.dist-info"
        info.mkdir()
        value = base64.urlsafe_b64encode(hashlib.sha256(b"x = 1\n").digest()).rstrip(b"=").decode()
        (info / "RECORD").write_text(f"six.py,sha256={value},6\nsix-1.17.0.dist-info/RECORD,,\n", encoding="utf-8")
        return tmp_path

    def test_unmodified_files_are_accepted(self, tmp_path: Path) -> None:
        found = verify_install.check(self.site(tmp_path))
        assert (found["distributions"], found["problems"]) == ({"six": "1.17.0"}, [])

    def test_edited_missing_and_foreign_files_are_reported(self, tmp_path: Path) -> None:
        site = self.site(tmp_path)
        (site / "six.py").write_bytes(b"x = 2\n")
        assert verify_install.check(site)["problems"] == ["six.py of six does not match its wheel's RECORD"]
        (site / "six.py").unlink()
        assert verify_install.check(site)["problems"] == ["six.py of six does not match its wheel's RECORD"]
        (site / "sitecustomize.py").write_bytes(b"")
        assert "sitecustomize.py belongs to no distribution" in verify_install.check(site)["problems"]
