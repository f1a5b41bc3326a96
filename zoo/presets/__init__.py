"""Published weights: entries, files, and the index of what there is."""

from zoo.presets.preset import Preset as Preset
