"""`fashion doctor`: what this machine can train on, and whether a run would work."""

import shutil
import sys
import textwrap
from collections.abc import Callable

from fashion.commands.checks import NAMES, WRONG, check_machine, check_run, command
from fashion.commands.configuration import compose_settings
from fashion.devices.accelerators import chosen, keep_from_metadata_host


def run(words: list[str], report: Callable[[str], object] = print) -> None:
    """Report on the machine and on the run that the words describe."""
    keep_from_metadata_host()
    cfg = compose_settings(words)
    findings = []
    for part in (check_machine(), check_run(cfg)):
        for finding in part:
            report(_wrapped(f"  {finding.mark}  {finding.text}"))
            findings.append(finding)
        report("")
    line = command(words, findings, cfg)
    is_wrong = any(finding.mark == WRONG for finding in findings)
    if line is None:
        report("Mend what is marked !! first.")
    else:
        device = NAMES.get(chosen(cfg.trainer.accelerator), cfg.trainer.accelerator)
        would = "As it is, this would run" if is_wrong else "This would train"
        report(f"{would} on {device}:\n    {line}")
    sys.exit(1 if is_wrong else 0)


def _wrapped(line: str) -> str:
    width = max(60, shutil.get_terminal_size((100, 24)).columns)
    wrapper = textwrap.TextWrapper(
        width, subsequent_indent=" " * 6, break_long_words=False, break_on_hyphens=False
    )
    return wrapper.fill(line)
