"""The answer of a run in at most 25 lines of Markdown, for the summary of a CI job or a comment on a pull request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report.text.markdown import plain, table

if TYPE_CHECKING:
    from bench.report.view import View
    from bench.report.view.charts import Problem

#: Columns, statuses and environments on several hosts that are listed before the rest is only counted.
_MOST_COLUMNS, _MOST_PROBLEMS, _MOST_HOSTS = 6, 4, 2


def render(view: View) -> str:
    """Return headline, ranking, what is not reproducible, and what changed; ``report.md`` has everything."""
    lines = [f"# {plain(view.answer[0])}", ""]
    lines += [plain(" ".join(view.answer[1:])), ""] if len(view.answer) > 1 else []
    rows = [
        [line.rank, line.label, f"{line.reproducible} of {line.kernels}", line.overhead]
        if line.rank
        else ["-", line.label, line.sentence, "-"]
        for line in view.lines
    ]
    more = len(rows) - _MOST_COLUMNS
    rows[_MOST_COLUMNS:] = [["", f"and {more} more", "", ""]] if more > 0 else []
    lines += table(["Rank", "Column", "Reproducible", "Overhead of determinism"], rows) if rows else []
    problems, most = view.heat_map.problems, _MOST_PROBLEMS - 2 * bool(view.hosts)  # two lines are for the hosts
    lines += [f"- {_problem(problem)}" for problem in problems[:most]]
    lines += [f"- and {more} more statuses"] if (more := len(problems) - most) > 0 else []
    lines += [""] if problems else []
    if view.hosts:
        texts = [f"{item.label}: {item.sentences[0]}" for item in view.hosts[:_MOST_HOSTS]]
        texts += [f"{more} more environments."] if (more := len(view.hosts) - _MOST_HOSTS) > 0 else []
        lines += [f"**Across hosts:** {plain(' '.join(texts))}", ""]
    lines += [f"**Since the last run:** {plain(view.since.sentence)}", ""]
    titles = ", ".join(dict.fromkeys(plain(notice.title) for notice in view.notices))
    lines += [f"**Warnings:** {titles}.", ""] if titles else []
    return "\n".join([*lines, f"Run {plain(view.run)}. `index.html` has the evidence for every cell.", ""])


def _problem(problem: Problem) -> str:
    """Return a status and the kernels that have it with determinism on, each with its columns unless it has all."""
    names = [f"{plain(kernel)} ({plain(where)})" if where else plain(kernel) for kernel, where, _ in problem.kernels]
    more = f" and {problem.more} more" if problem.more else ""
    return f"{problem.symbol} **{plain(problem.word)}** with determinism on: {', '.join(names)}{more}"
