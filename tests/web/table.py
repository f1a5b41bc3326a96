"""What the runtimes have found, in a table, and what they are known to find."""

import pathlib

import numpy as np

from tests.web import cases, runtimes

MARKS = "<!-- web -->\n", "<!-- end of web -->\n"
RUNTIMES = (
    *(runtimes.LITERT_WASM, runtimes.LITERT_NODE, runtimes.LITERT_WEBGPU),
    *(runtimes.ONNX_WASM, runtimes.ONNX_NODE),
)
QUANTITIES = "probabilities", "entropy", "expectedEntropy", "mutualInformation"
# The largest difference from Python of a probability or an entropy, or what a refusal
# says, by runtime and form.
_ROUNDING = 5e-6
_INTEGERS = 1e-3  # A feature that is rounded the other way.
_DRAWS = "integers of 32 bits"
EXPECTED = {
    runtimes.LITERT_WASM: (_ROUNDING, _ROUNDING, _ROUNDING),
    runtimes.LITERT_NODE: (_ROUNDING, _ROUNDING, _ROUNDING),
    runtimes.LITERT_WEBGPU: (_ROUNDING, _DRAWS, _ROUNDING),
    runtimes.ONNX_WASM: (_ROUNDING, _ROUNDING, _INTEGERS),
    runtimes.ONNX_NODE: (_ROUNDING, _ROUNDING, _INTEGERS),
}


def expected(runtime: str, form: str) -> float | str:
    """Returns a limit of the difference, or what is said where nothing is computed."""
    return EXPECTED[runtime][list(cases.FORMS).index(form)]


def difference(result: dict, wanted: list[dict]) -> float:
    """Returns by how much a case differs from Python at most.

    Args:
        result: What `runtimes.run_all` has of a runtime and a case.
        wanted: What Python gives for each image.
    """
    return max(
        float(np.max(np.abs(np.subtract(one[name], other[name]))))
        for one, other in zip(result["results"], wanted, strict=True)
        for name in QUANTITIES
        if name in one
    )


def lines(found: dict, path: pathlib.Path) -> list[str]:
    """Returns a table in Markdown, a runtime a line.

    Args:
        found: What `runtimes.run_all` returns.
        path: What `cases.make` has returned.
    """
    columns = cases.FORMS
    rows = [f"| runtime | {' | '.join(columns)} |", f"|---{'|---' * len(columns)}|"]
    for runtime in RUNTIMES:
        if runtime not in found:
            continue
        cells = []
        for form in cases.FORMS:
            result = found[runtime].get(form, {"refused": "no such file"})
            if "refused" in result:
                cells.append(f"refused: {' '.join(result['refused'].split())}")
                continue
            apart = difference(result, cases.expected(path, runtime, form))
            limit = expected(runtime, form)
            is_right = isinstance(limit, float) and apart <= limit
            word = "right" if is_right else "differs"
            cells.append(f"{word}, {apart:.0e}, {result['milliseconds']:.1f} ms")
        rows.append(f"| {runtime} | {' | '.join(cells)} |")
    return rows
