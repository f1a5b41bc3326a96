"""Export of deterministic models to OpenVINO, checked by its runtime before use."""

import json
import os

import keras

from training.export import checked, litert, parity, saved_model
from training.runtimes import openvino as runtime
from zoo.conformal import Decision
from zoo.posterior import Posterior

FILE = runtime.FILE  # Its weights are beside it, in `model.bin`.


def export_openvino(
    model: keras.Model | Posterior,
    path: str | os.PathLike,
    overwrite: bool = False,
    images=None,
    decision: Decision | None = None,
) -> dict:
    """Exports a deterministic model to OpenVINO, and checks its parity in float32.

    The folder holds `model.xml` and its weights. The network takes `images`, raw pixels
    in float32 and in any batch size, and gives `probabilities`; scores of a posterior
    and what is decided are further outputs. If the model knows the names of its
    `classes`, they are in the information of the file under that name, as a list in
    JSON.

    On processors with instructions for bfloat16, OpenVINO computes in it unless it is
    told otherwise; `{"INFERENCE_PRECISION_HINT": "f32"}` gives the probabilities of
    Keras.

    Args:
        model: From images to logits; or a deterministic posterior, such as an ensemble
            of such models.
        path: The folder to write.
        overwrite: Whether to replace what lies at `path`.
        images: At least two images for the check, of shape `(count, height, width,
            channels)`; random ones by default.
        decision: What is decided from the probabilities.

    Returns:
        As `training.export.export_saved_model`.

    Raises:
        ImportError: If OpenVINO is not installed.
        ValueError: If the model cannot be exported, or the export differs from it.
        FileExistsError: If something lies at `path`.
    """
    checked.check_decision(decision)
    posterior = checked.posterior_of(model, 1)
    check(posterior)

    def write(target):
        try:
            target.mkdir()
            _convert(posterior, target / FILE, decision)
            return runtime.open_network(target / FILE).run
        except ImportError as error:
            raise ImportError(
                f"{error}. Exports to OpenVINO need `pip install smoothzoo[openvino]`."
            ) from error
        except RuntimeError as error:  # Its exceptions have no other type.
            raise ValueError(f"OpenVINO cannot hold the model: {error}") from error

    tolerance = parity.TOLERANCES[None]
    return checked.write_checked(
        posterior, path, write, tolerance, overwrite, images, decision
    )


def check(posterior: Posterior):
    """Checks that a posterior, which need not have adapted, has a form in OpenVINO.

    Raises:
        ValueError: If it draws, computes gradients or is not of float32.
    """
    if posterior.draws:
        raise ValueError(
            "A stochastic model cannot be exported to OpenVINO, which takes unsigned "
            "integers for signed ones, so that its masks would be those of no rate. "
            "Export it as onnx, saved_model or tflite. Received: "
            f"model={posterior.name}"
        )
    litert.check_precision(posterior)
    litert.check_reals(posterior)
    litert.check_gradients(posterior)


def _convert(posterior, target, decision):
    import openvino

    folder = target.parent.parent / "saved_model"  # A function has no names for it.
    function = litert.device_function(posterior, decision=decision)
    saved_model.save({"serving_default": function}, folder)
    network = openvino.convert_model(folder)
    if classes := posterior.classes:
        network.set_rt_info(json.dumps(classes), "classes")
    openvino.save_model(network, target, compress_to_fp16=False)
