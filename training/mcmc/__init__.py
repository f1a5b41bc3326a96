"""Samples of the weights of small networks by Markov chain Monte Carlo."""

from training.mcmc.chain import Sampling as Sampling
from training.mcmc.chain import run_chain as run_chain
from training.mcmc.density import LogDensity as LogDensity
from training.mcmc.kernels import KERNELS as KERNELS
