"""What SHAP's `DeepExplainer` can follow, which has rules for gradients of its own.

While it computes, it gives the operators of TensorFlow other gradients, and takes that
back only if nothing goes wrong: where one of them has no rule, every later training of
the process fails. So models look here first.

Reference:
    [A Unified Approach to Interpreting Model Predictions](
    https://arxiv.org/abs/1705.07874) (Lundberg and Lee, 2017), section 4.2.
"""

import sys

import keras

_MODULE = "shap.explainers._deep.deep_tf"
_PREFIX = "shap_"  # Of the rules, in the table of gradients.


def is_explaining() -> bool:
    """Returns whether `DeepExplainer` is what computes gradients just now."""
    return f"{_PREFIX}Relu" in _gradients()


def check(model: keras.Model, inputs, outputs, draws: bool):
    """Checks that `DeepExplainer` can follow a model that it has called.

    Args:
        model: What it explains.
        inputs: Tensors, or a list of them, of a function that is being compiled.
        outputs: A tensor that was computed of them.
        draws: Whether the model draws.

    Raises:
        ValueError: If it draws, or computes by an operator without a rule. The
            gradients of TensorFlow are then as they were.
    """
    starts = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    missing = [
        kind
        for kind in sorted(_operators(starts, outputs))
        if f"{_PREFIX}{kind}" not in _gradients()
    ]
    if not (draws or missing):
        return
    _restore()
    reason = f"it has no rule for {', '.join(missing)}"
    if draws:
        reason = "it compares two images that must not be drawn differently"
    raise ValueError(
        f"SHAP's DeepExplainer cannot explain '{model.name}', for {reason}. "
        "`shap.GradientExplainer` can."
    )


def _gradients() -> dict:
    """Returns the table of gradients of TensorFlow; nothing where SHAP is not used."""
    ops = getattr(sys.modules.get(_MODULE), "tf_ops", None)
    registry = getattr(ops, "_gradient_registry", None)
    return getattr(registry, "_registry", {})


def _restore():
    """Does what SHAP leaves out when something is raised."""
    module = sys.modules[_MODULE]
    backprop = module.tf_backprop
    own = getattr(backprop, "_record_gradient", None) or backprop.record_gradient
    module.tf_execute.record_gradient = own


def _operators(inputs, outputs) -> set[str]:
    """Returns the kinds of operators that gradients pass between tensors of a graph."""
    before, waiting = {}, [outputs]
    while waiting:
        tensor = waiting.pop()
        if tensor.dtype.is_floating and tensor.op.name not in before:
            before[tensor.op.name] = tensor.op
            waiting.extend(tensor.op.inputs)
    found, waiting = {}, [op for tensor in inputs for op in tensor.consumers()]
    while waiting:
        op = waiting.pop()
        if op.name in before and op.name not in found:
            found[op.name] = op.type
            waiting.extend(next for x in op.outputs for next in x.consumers())
    return set(found.values())
