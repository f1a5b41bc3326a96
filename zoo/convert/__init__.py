"""Weights of other libraries in models of ours."""

from zoo.convert.conversion import convert as convert
from zoo.convert.conversion import load as load
from zoo.convert.conversion import write as write
from zoo.convert.name_tables import ours as ours
from zoo.convert.source import Source as Source
from zoo.convert.source import read as read
from zoo.convert.state_dict import load_state as load_state
