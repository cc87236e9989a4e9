"""Image resizing, cropping and contrast; in their gradients, many outputs contribute to one pixel."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.suite.kernels import Outputs, Work, gradients, has_gpu, integers, kernel, normal, op

_SMALL = (1, 25, 12, 3)
_RESIZED = (1, 200, 250, 3)


@kernel(
    exercises="the gradient of cropping and resizing, with respect to the images and to the boxes",
    shapes="images[16,64,64,1], 64 boxes, crops of 128x128 on a GPU, of 32x32 on a CPU",
    dtypes="float32, int32",
    source="tensorflow/python/ops/image_grad_d9m_test.py",
)
def crop_and_resize_grad(tf: Any, seed: int) -> Work:
    """``CropAndResizeGradImage`` and ``CropAndResizeGradBoxes``; the boxes overlap."""
    side = 128 if has_gpu(tf) else 32
    images = tf.constant(normal(seed, (16, 64, 64, 1)))
    upstream = tf.constant(normal(seed, (64, side, side, 1), salt=1))
    # corners in [0,0.4) and [0.6,1), so that all boxes cover the centre of the image
    corners = integers(seed, 400, (64, 4), salt=2) / 1000 + np.array([0, 0, 0.6, 0.6])
    common = {
        "grads": upstream,
        "boxes": tf.constant(corners, dtype=tf.float32),
        "box_ind": tf.constant(integers(seed, 16, (64,), salt=3)),
    }

    def work(images: Any, common: Any) -> Outputs:
        return {
            "image gradient": tf.raw_ops.CropAndResizeGradImage(image_size=images.shape, T=tf.float32, **common),
            "box gradient": tf.raw_ops.CropAndResizeGradBoxes(image=images, **common),
        }

    return op(tf, work, images, common)


@kernel(
    exercises="the gradient of bilinear resizing",
    shapes="[1,25,12,3] -> [1,200,250,3]",
    dtypes="float32, float64",
    source="tensorflow/python/ops/image_grad_d9m_test.py",
)
def resize_bilinear_grad(tf: Any, seed: int) -> Work:
    """``ResizeBilinearGrad``; the dtype is that of the image, the upstream gradient is always float32."""
    images = {dtype: tf.constant(normal(seed, _SMALL, dtype=dtype)) for dtype in ("float32", "float64")}
    upstream = tf.constant(normal(seed, _RESIZED, salt=1))

    def work(images: Any, upstream: Any) -> Outputs:
        return {
            f"gradient {dtype}": tf.raw_ops.ResizeBilinearGrad(
                grads=upstream, original_image=image, half_pixel_centers=True
            )
            for dtype, image in images.items()
        }

    return op(tf, work, images, upstream)


@kernel(
    exercises="the gradient of nearest-neighbour resizing",
    shapes="[1,25,12,3] -> [1,200,250,3]",
    source="tensorflow/python/ops/image_grad_d9m_test.py, with the shape of the bilinear test",
)
def resize_nearest_grad(tf: Any, seed: int) -> Work:
    """``ResizeNearestNeighborGrad``."""
    upstream = tf.constant(normal(seed, _RESIZED))

    def work(upstream: Any) -> Outputs:
        gradient = tf.raw_ops.ResizeNearestNeighborGrad(grads=upstream, size=_SMALL[1:3], half_pixel_centers=True)
        return {"gradient": gradient}

    return op(tf, work, upstream)


@kernel(
    exercises="contrast adjustment: scales each pixel's distance from the mean of its channel",
    shapes="[1,500,500,3]",
    source="based on TensorFlow's error 'A deterministic GPU implementation of AdjustContrastv2 is not ...'",
)
def adjust_contrast(tf: Any, seed: int) -> Work:
    """``AdjustContrastv2``."""
    images = tf.constant(normal(seed, (1, 500, 500, 3)))
    factor = tf.constant(1.5)

    def work(images: Any, factor: Any) -> Outputs:
        return {"images": tf.raw_ops.AdjustContrastv2(images=images, contrast_factor=factor)}

    return op(tf, work, images, factor)


@kernel(
    exercises="the gradient of extracting overlapping patches from an image",
    shapes="[2,12,12,4], patches of 3x3, stride 1",
)
def extract_patches_grad(tf: Any, seed: int) -> Work:
    """The gradient of ``ExtractImagePatches``: a ``SparseTensorDenseMatMul`` built in Python."""
    image, upstream = tf.constant(normal(seed, (2, 12, 12, 4))), tf.constant(normal(seed, (2, 12, 12, 36), salt=1))

    def patches(image: Any) -> Any:
        return tf.image.extract_patches(image, [1, 3, 3, 1], [1] * 4, [1] * 4, "SAME")

    return op(tf, lambda image, upstream: {"gradient": gradients(tf, patches, image, upstream)}, image, upstream)
