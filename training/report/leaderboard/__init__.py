"""A page that ranks anybody's models, with its data as JSON."""

from training.report.leaderboard.boards import Board as Board
from training.report.leaderboard.boards import Column as Column
from training.report.leaderboard.boards import Line as Line
from training.report.leaderboard.boards import Value as Value
from training.report.leaderboard.boards import build as build
from training.report.leaderboard.pareto import front as front
from training.report.leaderboard.site import write as write
from training.report.leaderboard.sources import read as read
from training.report.leaderboard.sources import select as select
