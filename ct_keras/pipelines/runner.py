"""Runs a function on many elements by Apache Beam, with any of its runners."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ct_keras.errors import CtKerasError

LOCAL_RUNNER = "DirectRunner"
#: Seconds between two looks of a worker at its owner.
_LOOK_S = 0.5


@dataclass(frozen=True)
class Runner:
    """How a pipeline is run.

    Attributes:
        name: A runner of Beam: DirectRunner, FlinkRunner, SparkRunner, DataflowRunner;
            or the full name of a class of a runner.
        workers: Processes of the DirectRunner; other runners have options of their own.
        options: Further options of Beam, such as ``--flink_master=localhost:8081``.
    """

    name: str = LOCAL_RUNNER
    workers: int = 1
    options: Sequence[str] = ()

    @property
    def settings(self) -> dict[str, str | int]:
        """Options of Beam that follow from name and workers."""
        settings: dict[str, str | int] = {"runner": self.name}
        if self.name == LOCAL_RUNNER:
            mode = "multi_processing" if self.workers > 1 else "in_memory"
            settings |= {"direct_running_mode": mode}
            settings |= {"direct_num_workers": self.workers}
        return settings

    @property
    def owner(self) -> int | None:
        """The process with which workers of this machine end; None on a cluster."""
        return os.getpid() if self.name == LOCAL_RUNNER else None


def run_on_each(function: Callable, elements: Sequence, runner: Runner) -> None:
    """Calls a function once for every element, on the workers of a runner.

    Args:
        function: A module-level function, or a partial of one; what it returns is not
            kept.
        elements: Picklable arguments.
        runner: The runner.

    Raises:
        CtKerasError: CTK-E093, if Beam is not installed; CTK-E000, if it does not have
            the runner; CTK-E121, if the pipeline failed.
    """
    beam = require_beam()
    from apache_beam.options.pipeline_options import PipelineOptions

    if not elements:
        return
    work = functools.partial(_call, function=function, owner=runner.owner)
    options = PipelineOptions(list(runner.options), **runner.settings)
    try:
        pipeline = beam.Pipeline(options=options)
    except (ValueError, ImportError, AttributeError) as error:
        raise CtKerasError(
            "CTK-E000",
            "Beam does not have this runner here, or refuses its options",
            received=f"{runner.name} ({type(error).__name__})",
            expected="DirectRunner, FlinkRunner, SparkRunner, DataflowRunner or the "
            "full name of an installed class",
        ) from error
    _ = (
        pipeline
        | "Elements" >> beam.Create(list(elements))
        | "Share out" >> beam.Reshuffle()
        | "Work" >> beam.Map(work)
    )
    try:
        state = pipeline.run().wait_until_finish()
    except Exception as error:
        raise _failed(runner, type(error).__name__) from error
    if str(state) != "DONE":
        raise _failed(runner, state)


def _call(element, *, function: Callable, owner: int | None) -> None:
    if owner is not None and owner != os.getpid():
        _end_with(owner)
    function(element)


@functools.cache
def _end_with(owner: int) -> None:
    """Ends this worker when its owner was killed, which Beam would not notice."""

    def watch() -> None:
        while True:
            time.sleep(_LOOK_S)
            try:
                os.kill(owner, 0)
            except ProcessLookupError:
                os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _failed(runner: Runner, received: object) -> CtKerasError:
    return CtKerasError(
        "CTK-E121",
        f"the pipeline failed on the {runner.name}",
        received=received,
        fix="see the log of the runner; run the same command again, and it goes on "
        "after the series that are finished",
    )


def require_beam():
    """Imports Apache Beam.

    Raises:
        CtKerasError: CTK-E093, if it is not installed.
    """
    try:
        import apache_beam
    except ImportError as error:
        raise CtKerasError(
            "CTK-E093",
            "work on archives needs a package that is not installed",
            received="no apache-beam",
            fix='pip install "ct_keras[beam]", best in an environment of its own',
        ) from error
    return apache_beam
