"""`fashion verify`: whether a bundle is whole, and labels here as where it was made."""

import sys
from typing import Any

from fashion.bundles.bundle_files import BundleFiles
from fashion.bundles.verify import verify
from fashion.commands.words import truth


def run(settings: dict[str, Any], files: list[str]) -> None:
    """Verify a bundle."""
    bundle = BundleFiles(settings["bundle"])
    verdict = verify(bundle, int8=truth("int8", settings))
    sys.stdout.write(f"{bundle.manifest.name}, id {bundle.id}\n")
    sys.stdout.writelines(f"  {line}\n" for line in verdict.lines)
    for fault in verdict.faults:
        sys.stdout.write(f"  !! {fault}\n")
    sys.stdout.write("It is not as it was made.\n" if verdict.faults else "It labels here.\n")
    sys.exit(1 if verdict.faults else 0)
