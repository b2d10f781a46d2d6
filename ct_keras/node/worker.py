"""Denoises complete series, one after the other."""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import threading
import time
from dataclasses import dataclass

from ct_keras import __version__
from ct_keras.denoising.method import Method
from ct_keras.dicom import find_series
from ct_keras.dicom.finder import left_out
from ct_keras.errors import CtKerasError
from ct_keras.inputs.options import DEFAULT_OPTIONS, ReadOptions
from ct_keras.node.intake import Intake
from ct_keras.node.ledger import Batch, Ledger, State
from ct_keras.node.spool import Spool
from ct_keras.serving.series import DenoisedSeries, denoise_series

_LOG = logging.getLogger(__name__)
_CODE = re.compile(r"CTK-[EW]\d{3}")
#: Seconds between two looks for complete series.
_TICK_SECONDS = 0.1
#: A series at which the process ended so often is refused.
_MOST_ATTEMPTS = 20
#: After an unexpected failure it is tried so often in all.
_MOST_FAILURES = 3
#: Failures of this machine, not of the series: it is tried again later.
_OURS = frozenset({"CTK-E073", "CTK-E074"})
_WAIT_SECONDS = 30.0


class Stopping(Exception):
    """The node is about to end; the series is denoised after the next start."""


@dataclass(frozen=True)
class Work:
    """How series are denoised.

    Attributes:
        method: The method.
        strength: 0 to 1; None for that of the method.
        override_guards: Denoise what the guards refuse; the derived series says so.
        reading: What the reader accepts; the derived series says so, too.
    """

    method: Method
    strength: float | None = None
    override_guards: bool = False
    reading: ReadOptions = DEFAULT_OPTIONS

    @property
    def configuration(self) -> str:
        """A hash of what the results depend on."""
        strength = self.method.chosen_strength(self.strength, None)
        derivation = self.method.derivation(strength)
        parts = (derivation.identity(), derivation.weights_sha256, __version__)
        if self.reading != DEFAULT_OPTIONS:
            parts += (self.reading,)
        return hashlib.sha256(repr(parts).encode()).hexdigest()


class Worker:
    """Closes series that are complete and denoises them, in a thread of its own.

    Args:
        work: How.
        spool: Where the files are.
        ledger: Where it is written what was done.
        intake: Tells which series are complete.
        stopping: Ends the work, between two slices.
    """

    def __init__(
        self,
        work: Work,
        spool: Spool,
        ledger: Ledger,
        intake: Intake,
        stopping: threading.Event,
    ):
        self._work = work
        self._spool = spool
        self._ledger = ledger
        self._intake = intake
        self._stopping = stopping
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, float] = {}

    def run(self) -> None:
        """Works until the node stops."""
        while not self._stopping.wait(_TICK_SECONDS):
            try:
                self._intake.close_due()
                if batch := self._next():
                    self._denoise(batch)
            except Stopping:
                return
            except OSError as error:  # of the journal: nothing has changed
                _LOG.warning("CTK-E073 the journal: %s", error.strerror)
                self._stopping.wait(_WAIT_SECONDS)

    def _next(self) -> Batch | None:
        """The oldest of those that were tried least, so that none holds up others."""
        now = time.monotonic()
        due = [
            batch
            for batch in self._ledger.batches(State.COMPLETE)
            if self._not_before.get(batch.name, 0.0) <= now
        ]
        return min(due, key=lambda batch: batch.attempts, default=None)

    def _denoise(self, batch: Batch) -> None:
        if missing := self._spool.missing(batch):
            text = (
                f"CTK-E104 {missing} of {len(batch.files)} received files are damaged"
            )
            self._finish_refused(batch, [text])
        elif batch.attempts >= _MOST_ATTEMPTS:
            text = f"CTK-E105 the node ended {batch.attempts} times at this series"
            self._finish_refused(batch, [text])
        else:
            self._ledger.record("started", batch.name)
            self._attempt(batch)

    def _attempt(self, batch: Batch) -> None:
        out = self._spool.denoised(batch.name)
        shutil.rmtree(out, ignore_errors=True)
        try:
            refusals = self._denoise_all(batch)
        except Stopping:
            raise
        except Exception as error:  # of a series; the next one may be fine
            self._failed(batch, error)
            return
        instances = self._spool.derived(batch.name)
        if not instances:
            self._finish_refused(batch, refusals)
            return
        self._ledger.record(
            "denoised", batch.name, instances=instances, refusals=refusals
        )
        _LOG.info(
            "batch %s: %d instances received, %d to send%s",
            *(batch.name, len(batch.files), len(instances), _codes(refusals)),
        )

    def _denoise_all(self, batch: Batch) -> list[str]:
        """Denoises what is found in a batch, and returns what was refused."""
        try:
            received = self._spool.received(batch.name)
            found = find_series(received, options=self._work.reading)
        except CtKerasError as error:
            return [str(error)]
        out = self._spool.denoised(batch.name)
        refusals = left_out(found)
        for number, series in enumerate(found, 1):
            try:
                result = denoise_series(
                    series,
                    out / f"series-{number}",
                    self._work.method,
                    strength=self._work.strength,
                    precision="auto",
                    override_guards=self._work.override_guards,
                    after_slice=self._check_stop,
                )
            except CtKerasError as error:
                if error.code in _OURS:
                    raise
                refusals.append(str(error))
            else:
                _note(batch, number, result)
        return refusals

    def _check_stop(self) -> None:
        if self._stopping.is_set():
            raise Stopping

    def _failed(self, batch: Batch, error: Exception) -> None:
        """Tries again later; gives up on a series that fails by itself."""
        reason = error.code if isinstance(error, CtKerasError) else type(error).__name__
        failures = self._failures[batch.name] = self._failures.get(batch.name, 0) + 1
        ours = isinstance(error, OSError | CtKerasError)
        if not ours and failures >= _MOST_FAILURES:
            self._finish_refused(batch, [f"CTK-E999 unexpected {reason}"])
            return
        self._not_before[batch.name] = time.monotonic() + _WAIT_SECONDS
        _LOG.warning("batch %s: %s, trying again later", batch.name, reason)

    def _finish_refused(self, batch: Batch, refusals: list[str]) -> None:
        self._ledger.record("finished", batch.name, refusals=refusals, refused=True)
        self._spool.clear(batch)
        _LOG.warning("batch %s: refused%s", batch.name, _codes(refusals))


def _note(batch: Batch, number: int, result: DenoisedSeries) -> None:
    found = _codes([finding.code for finding in result.findings])
    _LOG.info(
        "batch %s: series %d, %d slices denoised%s",
        *(batch.name, number, result.slices, found),
    )


def _codes(refusals: list[str]) -> str:
    """The codes only: a text may quote a term of a header."""
    codes = sorted({code for text in refusals for code in _CODE.findall(text)})
    return f" ({', '.join(codes)})" if codes else ""
