"""The limited child process: reads requests, has each study assessed, writes its results.

Started by the worker as ``python -m gatekeeper.work.child``, once for many jobs, so that models
stay loaded. Standard input and output are the two pipes of the protocol; they are moved away before
any library is imported, so that what a library prints goes to standard error and corrupts nothing.

Any failure is answered with its kind and place and never with a library's message, which may hold
patient data.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatekeeper.work import limits
from gatekeeper.work.answering import of_the_disk, place, say, take_pipes
from storage import failpoint

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from gatekeeper.results.assessment import StudyAssessment
    from gatekeeper.work.messages import Answer, Request, ResultFile
    from gatekeeper.work.stages import Stages
    from models.activation import ProfileKey
    from models.detector import Detector
    from models.finding import Finding
    from models.registry import BundleInfo, Registry
    from models.volume import Volume

_CPU_MEMORY_WORDS = ("can't allocate memory", "not enough memory")
"""What torch says in a RuntimeError when the allocator refuses."""


def main() -> None:
    """Serve requests until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--memory-mib", type=int, required=True)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), required=True)
    arguments = parser.parse_args()
    limits.die_with_parent(arguments.parent)
    limits.allow_no_core()
    if not _may_use_cuda(arguments.device):
        limits.allow_memory(arguments.memory_mib)
    requests, answers = take_pipes()
    faulthandler.enable()
    failpoint.reached("child.start")
    server = _Server(arguments.memory_mib)
    say(answers, {"ready": os.getpid()})
    for line in requests:
        reply = server.answer(Path(json.loads(line)["request"]))
        say(answers, reply)
        if "failed" in reply or "worn" in reply:
            # Memory may be fragmented and libraries half-way; the next job gets a fresh process.
            return


def _may_use_cuda(device: str) -> bool:
    return device != "cpu" and Path("/dev/nvidiactl").exists()


class _Server:
    """Answers requests one after the other; keeps the detectors loaded in between."""

    def __init__(self, memory_mib: int) -> None:
        self._memory_mib = memory_mib
        self._detectors: dict[str, Detector] = {}

    def answer(self, path: Path) -> dict[str, Any]:
        """Return the reply to the request in the file `path`."""
        # Imported here, not at the top: the pipes are safe now, and the start is quick.
        from gatekeeper.errors import ChildFailed
        from gatekeeper.work.messages import Request
        from models.errors import ModelError

        try:
            request = Request.read(path)
            limits.forget_peak()
            limits.allow_processor(request.cpu_seconds)
            failpoint.reached("child.job", request.study_instance_uid)
            return self._work(request)
        except (ChildFailed, ModelError) as error:
            return {"failed": str(error)}
        except OSError as error:
            return of_the_disk(error)
        except MemoryError:
            return {"failed": f"reached the memory limit of {self._memory_mib} MiB"}
        except Exception as error:  # noqa: BLE001 - the one place where any defect becomes a reply
            if any(words in str(error) for words in _CPU_MEMORY_WORDS):
                return {"failed": f"reached the memory limit of {self._memory_mib} MiB"}
            return {"failed": f"raised {type(error).__name__} {place(error)}"}

    def _work(self, request: Request) -> dict[str, Any]:
        from gatekeeper.log import configure
        from gatekeeper.work.assess import assess_study
        from gatekeeper.work.messages import ANSWER
        from gatekeeper.work.stages import Stages
        from models.registry import Registry

        configure("ERROR")  # holds the libraries' own loggers and warnings
        stages = Stages()
        registry = Registry([Path(folder) for folder in request.bundles], _choice(request))
        if registry.digest != request.model_digest:
            return {"models": registry.digest}
        self._forget_other_models(registry)
        assessment = assess_study(request, registry, self._loader(request), stages)
        answer = _answer(assessment, request, stages)
        failpoint.reached("child.answer", request.study_instance_uid)
        answer.write(Path(request.scratch) / ANSWER)
        loaded = self._detectors.values()
        if any(isinstance(one, WithFallback) and one.fell_back for one in loaded):
            return {"answer": request.job, "worn": True}
        return {"answer": request.job}

    def _forget_other_models(self, registry: Registry) -> None:
        active = {info.digest for info in registry.bundles()}
        for digest in self._detectors.keys() - active:
            del self._detectors[digest]

    def _loader(self, request: Request) -> Callable[[BundleInfo], Detector]:
        def load_once(info: BundleInfo) -> Detector:
            if info.digest not in self._detectors:
                self._detectors[info.digest] = _load(info, request)
            return self._detectors[info.digest]

        return load_once


def _choice(request: Request) -> dict[ProfileKey, str] | None:
    from models.activation import ProfileKey

    if request.choice is None:
        return None
    return {ProfileKey.parse(key): name for key, name in request.choice.items()}


def _load(info: BundleInfo, request: Request) -> Detector:
    import torch

    from models.detector import load

    torch.set_num_threads(request.threads or len(os.sched_getaffinity(0)))
    if request.device == "cpu" or not torch.cuda.is_available():
        return load(info, "cpu")
    return WithFallback(partial(load, info))


class WithFallback:
    """A detector on the accelerator; what that cannot judge is judged on the processor.

    A scan may be too large for it, or others may have filled it, and then it says so in many ways:
    CUDA and its libraries have no one error for what they could not set up for want of memory. So
    any error there gives the processor its turn, once a scan; a defect shows up there, too.

    Args:
        load: returns the detector on a device, ``cuda`` or ``cpu``.

    Attributes:
        fell_back: whether it did. What an error left of CUDA in this process is not to be relied
            on, so the next job should have a fresh one.
    """

    def __init__(self, load: Callable[[str], Detector]) -> None:
        self._load = load
        self._primary: Detector | None = None
        self.fell_back = False

    def detect(self, volume: Volume) -> Finding:
        """Return the finding; see `Detector.detect`."""
        if not self.fell_back:
            try:
                self._primary = self._primary or self._load("cuda")
                return self._primary.detect(volume)
            except RuntimeError:
                self.fell_back = True
        # Here its traceback no longer holds the memory.
        self._primary = None
        return self._load("cpu").detect(volume)


def _answer(assessment: StudyAssessment, request: Request, stages: Stages) -> Answer:
    from gatekeeper.work.messages import Answer
    from gatekeeper.work.summary import deciding_finding, evidence

    results = _write_results(assessment, request, Path(request.scratch), stages)
    deciding = deciding_finding(assessment)
    return Answer(
        verdict=assessment.judgement.verdict,
        reason=assessment.judgement.reason,
        score=None if deciding is None else deciding.score,
        p_value=None if deciding is None else deciding.p_value,
        evidence=evidence(assessment),
        stages=stages.milliseconds,
        results=tuple(results),
        peak_mib=limits.peak_mib(),
        measured=assessment.measured,
    )


def _write_results(
    assessment: StudyAssessment, request: Request, scratch: Path, stages: Stages
) -> list[ResultFile]:
    from gatekeeper.results.catalogue import read
    from gatekeeper.work.compose import compose, in_language

    results: list[ResultFile] = []
    if assessment.left_out:
        return results
    for language, wanted in request.objects.items():
        study = in_language(assessment, read(language, request.catalogues))
        for kind, dataset in compose(study, wanted, request.compression, stages):
            results.append(_write(dataset, kind, language, scratch, len(results)))
    return results


def _write(dataset: Dataset, kind: str, language: str, scratch: Path, number: int) -> ResultFile:
    from gatekeeper.results.common import to_bytes
    from gatekeeper.work.messages import ResultFile

    name = f"{kind}-{number:05d}.dcm"
    (scratch / name).write_bytes(to_bytes(dataset))
    return ResultFile(
        sop_instance_uid=str(dataset.SOPInstanceUID),
        sop_class_uid=str(dataset.SOPClassUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        transfer_syntax_uid=str(dataset.file_meta.TransferSyntaxUID),
        kind=kind,
        name=name,
        language=language,
    )


if __name__ == "__main__":
    sys.exit(main())
