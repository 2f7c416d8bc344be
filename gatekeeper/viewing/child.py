"""The limited child that draws: one request after the other, as `gatekeeper.work.child` answers.

Started as ``python -m gatekeeper.viewing.child``. It uses no model and no accelerator, and is told
so that its address space can be limited.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import sys
from pathlib import Path
from typing import Any

from gatekeeper.work import limits
from gatekeeper.work.answering import of_the_disk, place, say, take_pipes


def main() -> None:
    """Serve requests until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--memory-mib", type=int, required=True)
    parser.add_argument("--device", choices=("cpu",), required=True)
    arguments = parser.parse_args()
    limits.die_with_parent(arguments.parent)
    limits.allow_no_core()
    limits.allow_memory(arguments.memory_mib)
    requests, answers = take_pipes()
    faulthandler.enable()
    say(answers, {"ready": os.getpid()})
    for line in requests:
        reply = _answer(Path(json.loads(line)["request"]), arguments.memory_mib)
        say(answers, reply)
        if "failed" in reply:
            return


def _answer(path: Path, memory_mib: int) -> dict[str, Any]:
    from gatekeeper.errors import ChildFailed, UnreadableSeries
    from gatekeeper.log import configure
    from gatekeeper.viewing.request import ViewRequest

    configure("ERROR")  # holds the libraries' own loggers and warnings
    try:
        from gatekeeper.viewing.drawing import draw

        request, folder = ViewRequest.read(path)
        limits.allow_processor(request.bounds.cpu_seconds)
        draw(request, folder)
    except UnreadableSeries as error:
        return {"unreadable": str(error)}
    except ChildFailed as error:
        return {"failed": str(error)}
    except OSError as error:
        return of_the_disk(error)
    except MemoryError:
        return {"failed": f"reached the memory limit of {memory_mib} MiB"}
    except Exception as error:  # noqa: BLE001 - the one place where any defect becomes a reply
        return {"failed": f"raised {type(error).__name__} {place(error)}"}
    return {"drawn": str(folder)}


if __name__ == "__main__":
    sys.exit(main())
