"""Smaller LiteRT files with the same operators and the same weights.

The converter writes a long name and a buffer for each tensor and, for each channel of
each kernel and bias, a zero point of eight bytes that is zero. In a small network that
is a tenth of a file in 8 bits, and more where there are many operators.
"""

import itertools

import flatbuffers
import numpy as np
from tensorflow.lite.tools import flatbuffer_utils

_ALIGNMENT = 16  # Of weights, as the converter aligns them.
_LARGEST_OF_FOUR_BITS = 7


class _SharingBuilder(flatbuffers.Builder):
    """Writes equal parts once; the format lets any number of tables point to them."""

    def __init__(self):
        super().__init__(1024)
        self._offsets = {}

    def once(self, key, write):
        """Returns where `write` has written what the key stands for."""
        if key not in self._offsets:
            self._offsets[key] = write()
        return self._offsets[key]

    def CreateNumpyVector(self, x):  # noqa: N802
        def write():
            if x.dtype == "uint8":
                self.Prep(_ALIGNMENT, x.nbytes)
            return super(_SharingBuilder, self).CreateNumpyVector(x)

        return self.once((x.dtype.str, x.tobytes()), write)


class _Shared:
    """A table that is written once, however many are equal."""

    def __init__(self, table):
        alone = flatbuffers.Builder(64)
        alone.Finish(table.Pack(alone))
        self._key, self._table = (type(table), bytes(alone.Output())), table

    def Pack(self, builder):  # noqa: N802
        return builder.once(self._key, lambda: self._table.Pack(builder))


def compact(content: bytes) -> bytes:
    """Returns a LiteRT file with short names of inner tensors, equal parts shared.

    Signatures and the names of inputs and outputs stay. The others are numbers, each of
    which the file has once: OpenVINO reads no tensors without a name, and
    ai-edge-quantizer finds them by it.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    empty = {n for n, buffer in enumerate(model.buffers) if buffer.data is None}
    names = itertools.count()
    for graph in model.subgraphs:
        graph.name, ends = None, {*graph.inputs, *graph.outputs}
        for number, tensor in enumerate(graph.tensors):
            if number not in ends or graph is not model.subgraphs[0]:
                tensor.name = f"{next(names):x}"
            tensor.buffer = 0 if tensor.buffer in empty else tensor.buffer
        for operator in graph.operators:
            if operator.builtinOptions is not None:
                operator.builtinOptions = _Shared(operator.builtinOptions)
    for number in empty:
        model.buffers[number] = _Shared(model.buffers[number])
    builder = _SharingBuilder()
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def in_four_bits(content: bytes) -> bytes:
    """Returns a LiteRT file in which kernels of few values take half a byte each.

    Converted networks with weights of 4 bits have them in bytes, with the scales that
    they were trained with. Kernels of convolutions and dense layers whose integers are
    from -7 to 7 are packed here, the first of two in the lower half.

    Args:
        content: The file.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    schema = flatbuffer_utils.schema_fb
    kinds = schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.FULLY_CONNECTED
    codes = [code.builtinCode for code in model.operatorCodes]
    for graph in model.subgraphs:
        for operator in graph.operators:
            if codes[operator.opcodeIndex] not in kinds:
                continue
            tensor = graph.tensors[operator.inputs[1]]
            data = model.buffers[tensor.buffer].data
            if tensor.type != schema.TensorType.INT8 or data is None:
                continue
            values = np.asarray(data, "uint8").view("int8")
            if np.abs(values.astype(int)).max() > _LARGEST_OF_FOUR_BITS:
                continue
            halves = np.resize(np.append(values, 0), 2 * -(-len(values) // 2)) & 0xF
            halves = halves.astype("uint8").reshape(-1, 2)
            model.buffers[tensor.buffer].data = halves[:, 0] | halves[:, 1] << 4
            tensor.type = schema.TensorType.INT4
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def webgpu_obstacle(content: bytes) -> str:
    """Returns why WebGPU does not compute what a LiteRT file says, or nothing.

    That is how LiteRT.js 2.5.3 runs files there, without a word: zeros that pad a
    pooling are left out of its windows, and integers of 32 bits become floats, which
    have 24. What has unsigned ones it leaves to the processor.

    Args:
        content: The file.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    schema = flatbuffer_utils.schema_fb
    kinds = schema.BuiltinOperator
    pads = kinds.PAD, kinds.PADV2
    pools = kinds.AVERAGE_POOL_2D, kinds.MAX_POOL_2D
    codes = [code.builtinCode for code in model.operatorCodes]
    for graph in model.subgraphs:
        types = {tensor.type for tensor in graph.tensors}
        if schema.TensorType.UINT32 in types:
            return "it draws by integers of 32 bits, of which graphics keep 24"
        padded = set()
        for operator in graph.operators:
            kind = codes[operator.opcodeIndex]
            if kind in pads:
                padded.update(operator.outputs)
            if kind in pools and padded.intersection(operator.inputs):
                return "zeros that pad a pooling do not count there"
    return ""
