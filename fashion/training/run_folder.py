"""The folder of a run: every path in it, and where runs are found."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fashion.files import cannot_write
from fashion.locks import NoLocksError, unless_used
from fashion.models.checkpoints import BEST

CHECKPOINTS = "checkpoints"
MAX_DEPTH = 4  # how far below a folder runs are looked for


@dataclass(frozen=True)
class RunFolder:
    """What lies where in a run's folder; `conf/` names the loggers' folders and Hydra's.

    Attributes:
        path: The folder.
    """

    path: Path

    @classmethod
    def of_checkpoint(cls, ckpt_path: str | Path) -> "RunFolder":
        """Return the folder of the run whose `checkpoints/` a file lies in, or else its folder."""
        folder = Path(ckpt_path).absolute().parent
        return cls(folder.parent if folder.name == CHECKPOINTS else folder)

    @property
    def checkpoints(self) -> Path:
        """The folder of `best` and `last`."""
        return self.path / CHECKPOINTS

    @property
    def best(self) -> Path:
        """The checkpoint that predicts."""
        return self.path / BEST

    @property
    def last(self) -> Path:
        """The checkpoint that a run goes on from."""
        return self.checkpoints / "last.ckpt"

    @property
    def history(self) -> Path:
        """One row an epoch."""
        return self.path / "history.csv"

    @property
    def splits(self) -> Path:
        """Every kept row with its split."""
        return self.path / "splits.csv"

    @property
    def error(self) -> Path:
        """What a job of a sweep failed with, in words."""
        return self.path / "error.txt"

    @property
    def summary(self) -> Path:
        """The report's summary; a run that has one is finished."""
        return self.report("test") / "summary.json"

    def report(self, split: str) -> Path:
        """Return the folder of the report on a split."""
        return self.path / f"report{_ending(split)}"

    def predictions(self, split: str) -> Path:
        """Return the file of what the model said of a split."""
        return self.path / f"predictions{_ending(split)}.npz"

    @property
    def exists(self) -> bool:
        """Whether a run has begun here, or is finished."""
        begun = (self.path / ".hydra", self.checkpoints)
        return self.summary.is_file() or any(folder.is_dir() for folder in begun)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only run that writes here, where the disk has locks; other ranks of it pass.

        Raises:
            ValueError: Another process is at it.
            OSError: The folder can't be written.
        """
        from lightning.pytorch.utilities.rank_zero import rank_zero_only  # heavy for `compare`

        with ExitStack() as stack:
            if not rank_zero_only.rank:  # type: ignore[attr-defined]
                stack.enter_context(self._claimed())
            yield

    @contextmanager
    def _claimed(self) -> Iterator[None]:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(cannot_write(self.path, error)) from error
        with ExitStack() as stack:
            is_free = True
            with suppress(NoLocksError):  # then nobody can tell
                is_free = stack.enter_context(unless_used(self.path / "run", ()))
            if not is_free:
                raise ValueError(
                    f"hydra.run.dir={str(self.path)!r}: another process is training there. Wait "
                    "for its end, or pass another hydra.run.dir."
                )
            yield


def find_runs(paths: Iterable[str | Path]) -> list[RunFolder]:
    """Return the folders of the runs that some paths are, or that lie below them, each once.

    Files are passed over, so that a shell's `*` may stand for what lies in a sweep's folder.

    Raises:
        FileNotFoundError: A path doesn't exist, or there is no run.
    """
    given = [Path(path).expanduser() for path in paths]
    for path in given:
        if not path.exists():
            raise FileNotFoundError(
                f"{str(path)!r} does not exist; pass folders of runs or sweeps."
            )
    runs = [run for path in given for run in _runs_in(path.absolute(), MAX_DEPTH)]
    if not runs:
        raise FileNotFoundError(
            f"There is no run in {', '.join(map(str, given))}; pass folders of runs or sweeps."
        )
    return list(dict.fromkeys(runs))


def _runs_in(folder: Path, depth: int) -> list[RunFolder]:
    if RunFolder(folder).exists:
        return [RunFolder(folder)]
    if depth == 0 or not folder.is_dir():
        return []
    return [run for path in sorted(folder.iterdir()) for run in _runs_in(path, depth - 1)]


def _ending(split: str) -> str:
    return "" if split == "test" else f"-{split}"
