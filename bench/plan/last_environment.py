"""Plan timing pairs of a column with an earlier environment of the same pair, built again from its lock."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from bench.plan.config_models import DEFAULT_VARIATION, Mode, Variation
from bench.plan.planner import gpu_facts
from bench.plan.schedule import RecordGroup, timing_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.plan.column import Column
    from bench.plan.planner import Plan

#: Characters of its hash in the name of a column with an earlier lock.
_SHOWN = 8


def paired_plan(
    plan: Plan, column: Column, lock: Path, kernels: Sequence[str], mode: Mode, pairs: int, batch: int
) -> Plan:
    """Return a plan of ``pairs`` timing pairs of an earlier environment (side "a") and a column (side "b").

    Args:
        plan: the plan that the column belongs to.
        column: the column; the other side is the same with another lock.
        lock: the lock of the earlier environment, named after its hash.
        kernels: the kernels to be timed.
        mode: that of both sides.
        pairs: the number of pairs.
        batch: changes the order of the kernels, so that two batches do not have the same.
    """
    earlier = dataclasses.replace(column, lock=lock, lock_label=lock.stem[:_SHOWN])
    changes = {"rounds": 1, "overhead_pairs": 0, "noise_floor_pairs": 0, "upgrade_pairs": pairs}
    profile = plan.profile.model_copy(update={**changes, "order_seed": plan.profile.order_seed + pairs * batch})
    groups = [
        RecordGroup(
            column=side,
            profile=profile,
            variation=DEFAULT_VARIATION,
            table=Variation(),
            suite=plan.suite,
            kernels=tuple(kernels),
            gpu=gpu_facts(side, plan.devices),
        )
        for side in (earlier, column)
    ]
    return dataclasses.replace(
        plan,
        profile=profile,
        columns=(earlier, column),
        kernels=tuple(plan.suite.kernels[name] for name in kernels),
        variations={DEFAULT_VARIATION: tuple(kernels)},
        variation_modes={DEFAULT_VARIATION: (mode,)},
        rounds=(),
        pairs=tuple(timing_pairs(groups, (mode,))),
        notes=(),
    )
