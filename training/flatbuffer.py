"""Smaller LiteRT files with the same operators and the same weights.

The converter writes a long name for each tensor and, for each channel of each kernel
and bias, a zero point of eight bytes that is zero. In a small network that is a tenth
of a file in 8 bits.
"""

import flatbuffers
from tensorflow.lite.tools import flatbuffer_utils

_ALIGNMENT = 16  # Of weights, as the converter aligns them.


class _SharingBuilder(flatbuffers.Builder):
    """Writes equal vectors once; the format lets tables point to the same one."""

    def __init__(self):
        super().__init__(1024)
        self._offsets = {}

    def CreateNumpyVector(self, x):  # noqa: N802
        key = x.dtype.str, x.tobytes()
        if key not in self._offsets:
            if x.dtype == "uint8":
                self.Prep(_ALIGNMENT, x.nbytes)
            self._offsets[key] = super().CreateNumpyVector(x)
        return self._offsets[key]


def compact(content: bytes) -> bytes:
    """Returns a LiteRT file without the names of inner tensors, equal parts shared.

    Signatures and the names of inputs and outputs stay.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    for graph in model.subgraphs:
        graph.name = None
        for number, tensor in enumerate(graph.tensors):
            if number not in graph.inputs and number not in graph.outputs:
                tensor.name = None
    builder = _SharingBuilder()
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
