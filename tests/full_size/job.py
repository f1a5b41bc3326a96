"""What is run: commands in order in a folder of their own."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Step:
    """A command.

    Attributes:
        words: See `tests.full_size.child.start`.
        cut: What of the documented command is changed, in words.
        stop_after: Number of the update after which it gets a SIGINT; 0 for never.
        whole: Whether its epochs have all of their updates.
    """

    words: tuple[str, ...]
    cut: str = ""
    stop_after: int = 0
    whole: bool = False

    @property
    def exit_status(self) -> int:
        """The one that is right."""
        return 130 if self.stop_after else 0


@dataclasses.dataclass(frozen=True)
class Run:
    """Commands that are run one after the other.

    Attributes:
        name: Also that of its folder.
        steps: The commands.
        devices: The number of logical devices.
        like: The run that has the same figures, or None.
        exact: Whether they are the same bit for bit.
        half: Whether it computes in 16 bits.
        validated: Whether the figures of validation and test images are compared with
            those of the weights at its end, computed by one device.
        packaged: Whether it may change the packaged weights, and has its own.
        links: Paths in its folder, and where they lead in that of the inputs.
    """

    name: str
    steps: tuple[Step, ...]
    devices: int = 1
    like: str | None = None
    exact: bool = False
    half: bool = False
    validated: bool = False
    packaged: bool = False
    links: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass
class Outcome:
    """What came of a run.

    Attributes:
        run: The run.
        backend: Backend of Keras.
        seconds: It took.
        processor: Seconds of processor time, of all its processes.
        megabytes: The largest memory of its processes.
        figures: Metrics of the last epoch of a training, by name.
        problem: Empty if all is right.
        verdict: In a word.
    """

    run: Run
    backend: str
    seconds: float = 0.0
    processor: float = 0.0
    megabytes: int = 0
    figures: dict = dataclasses.field(default_factory=dict)
    problem: str = ""
    verdict: str = "ran"
