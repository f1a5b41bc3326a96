"""Export for servers (SavedModel) and devices (LiteRT), checked before it returns.

Both formats map raw pixels in [0, 255] to probabilities. What is random in them is a
function of a seed, the one of `zoo.posterior.MonteCarlo`: the same seed gives the same
samples in Keras, on the server and on the device.
"""

from training.export.litert import export_tflite as export_tflite
from training.export.saved_model import export_saved_model as export_saved_model
from training.export.streams import export_stream as export_stream
