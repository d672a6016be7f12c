"""Fixture: commands in processes of their own, forked from one that has their imports behind it.

To import PyTorch, Lightning and torch_xla takes a processor longer than a small run does. A server
imports them once; there is nothing else that it begins: no device, no configuration, no run.
"""

import importlib.util
import multiprocessing
import os
import runpy
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import psutil
import pytest

import train

REPO = Path(train.__file__).parent
IMPORTED = ["lightning", "fashion.commands.train", "fashion.commands.evaluate"]


@dataclass
class Command:
    """A command that was started, much as `subprocess.Popen` has it; its group has its pid."""

    process: ForkServerProcess
    path: Path

    @property
    def pid(self):
        return self.process.pid

    def poll(self):
        return self.process.exitcode

    def finish(self, seconds=900):
        """Return its exit status and what it has said, once it and all that it started has ended.

        What is killed leaves loaders' processes, which hold its locks until they find out.
        """
        end = time.monotonic() + seconds
        self.process.join(seconds)
        while self.poll() is None or _is_there(self.pid):
            assert time.monotonic() < end, f"it hasn't ended after {seconds} s: {self.output()}"
            time.sleep(0.05)
        return self.poll(), self.output()

    def output(self):
        return self.path.read_text(errors="replace")


def _is_there(group):
    """Whether a process of a group is left; one that is dead, and nobody waits for, is not."""
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            is_dead = process.status() == psutil.STATUS_ZOMBIE
            if os.getpgid(process.pid) == group and not is_dead:
                return True
    return False


@pytest.fixture(scope="session")
def start_command(tmp_path_factory):
    """Returns start(*words, **environment) -> Command.

    The words are those that a shell gives Python: `train.py` or `-m fashion`, and more.
    """
    server = multiprocessing.get_context("forkserver")
    of_xla = ["torch_xla"] if importlib.util.find_spec("torch_xla") else []
    server.set_forkserver_preload([*of_xla, *IMPORTED])
    folder = tmp_path_factory.mktemp("outputs")

    def start(*words, **environment):
        path = folder / f"{len(list(folder.iterdir()))}.txt"
        path.touch()
        process = server.Process(target=_command, args=(words, environment, path))
        process.start()
        return Command(process, path)

    return start


def _command(words, environment, path):
    """Be the process that a shell would have started with these words."""
    os.setsid()
    multiprocessing.set_start_method(None, force=True)  # as in any process: not as this one
    os.chdir(REPO)
    written = os.open(path, os.O_WRONLY | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(written, stream.fileno())
    os.environ.update(environment)
    if words[0] == "-m":
        sys.argv = [*words[1:]]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [*words]
        runpy.run_path(words[0], run_name="__main__")
