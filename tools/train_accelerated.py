"""Trains Quiet-Net on one accelerator with PyTorch, within a time limit.

    PYTHONPATH=. python tools/train_accelerated.py PACK.npz OUT --seconds 540

`tools/pack_slices.py` writes PACK.npz. Slices and a bank of noise images are held in
device memory, where every batch is drawn: a patch, a dose between 3 and 100 %, a new
mixture of noise images, flips, quarter turns and contrast. The bank is renewed during
training. The learning rate follows the elapsed share of the time limit, so that the
schedule completes at any speed. OUT gets the averaged weights (NAME.npz in the layout
of Keras, every minute and at the end), log.txt and log.jsonl.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerated_data import HIGHEST_DOSE, LEAST_BODY, Bank, draw_batch
from accelerated_network import (
    QuietNet,
    learning_rate,
    regional_bias_loss,
    robust_noise_free_loss,
)
from accelerated_noise import dose_factors, draw_noise
from packed_slices import PHYSICS, read_pack

from ct_keras.hu import ABDOMEN, FLOOR_HU

logger = logging.getLogger("train")
_DOSES = (0.05, 0.1, 0.25, 0.5)
_BETAS, _EPSILON, _CLIP_NORM, _AVERAGED_STEPS = (0.9, 0.99), 1e-8, 1.0, 1000
_CHECKPOINT_SECONDS = 60.0
_DEFAULT_PHASES = "bfloat16:128:64:0.8,float32:256:16:0.2"
_AT_ONCE = 20


@dataclass(frozen=True)
class Phase:
    """A phase of the training: precision, patch size, batch size and share."""

    dtype: str
    patch: int
    batch: int
    share: float

    @classmethod
    def parse(cls, text: str) -> Phase:
        """Parses text such as "bfloat16:128:64:0.8"."""
        dtype, patch, batch, share = text.split(":")
        return cls(dtype, int(patch), int(batch), float(share))


def main() -> None:
    """Reads the pack, trains and validates."""
    start = time.monotonic()
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    handlers = [logging.StreamHandler(), logging.FileHandler(options.out / "log.txt")]
    logging.basicConfig(
        level=logging.INFO, format="%(message)s", handlers=handlers, force=True
    )
    torch.backends.cudnn.benchmark = True
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    logger.info("torch %s, %s", torch.__version__, name)
    trainer = Trainer(options, device, start)
    trainer.run()
    logger.info("%s", json.dumps(trainer.validate()))
    trainer.save()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pack", type=Path)
    parser.add_argument("out", type=Path)
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--seconds", type=float, help="Total time limit.")
    length.add_argument("--steps", type=int)
    parser.add_argument(
        "--reserve", type=float, default=15.0, help="Seconds for the end."
    )
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--blocks", default="2,2,4")
    parser.add_argument(
        "--phases", default=_DEFAULT_PHASES, help="DTYPE:PATCH:BATCH:SHARE,..."
    )
    parser.add_argument("--rate", type=float, default=1e-3, help="Learning rate.")
    parser.add_argument(
        "--softness",
        type=float,
        default=0.1,
        help="Share of the scale below which the loss is quadratic.",
    )
    parser.add_argument(
        "--regional",
        type=float,
        default=0.0,
        help="Weight of the mean errors of regions of air and lung in the loss.",
    )
    parser.add_argument(
        "--strengths",
        type=_strengths,
        default="1:1,0.8:3",
        help="Strengths at which regions count: STRENGTH:WEIGHT,...",
    )
    parser.add_argument(
        "--highest-dose", type=float, default=HIGHEST_DOSE, help="Of scans."
    )
    parser.add_argument(
        "--least-body", type=float, default=LEAST_BODY, help="Share of a patch."
    )
    parser.add_argument("--quantum", type=int, default=16, help="Noise images.")
    parser.add_argument("--electronic", type=int, default=4, help="Noise images.")
    parser.add_argument("--renew-every", type=float, default=0.5, help="Seconds.")
    parser.add_argument("--most-slices", type=int, help="Slices to read.")
    parser.add_argument("--weights", type=Path, help="Initial weights.")
    parser.add_argument("--least-speed", type=float, default=0.0, help="Steps/s.")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _strengths(text: str) -> dict[float, float]:
    pairs = (pair.split(":") for pair in text.split(","))
    return {float(strength): float(weight) for strength, weight in pairs}


class Trainer:
    """The state of a run; see the module."""

    def __init__(self, options: argparse.Namespace, device: str, start: float):
        self.options, self.device, self.start = options, device, start
        self.phases = [Phase.parse(text) for text in options.phases.split(",")]
        torch.manual_seed(options.seed)
        blocks = tuple(int(count) for count in options.blocks.split(","))
        self.network = QuietNet(options.width, blocks, device)
        if options.weights:
            self.network.load(options.weights)
        self.tensors = self.network.tensors()
        copies = [[t.detach().clone() for t in self.tensors] for _ in range(3)]
        self.mean, self.square, self.average = copies
        for tensor in [*self.mean, *self.square]:
            tensor.zero_()
        self.rate = torch.zeros((), device=device)
        self.blend = torch.zeros((), device=device)
        self.loss = torch.zeros((), device=device)
        pack = read_pack(options.pack, options.most_slices)
        self._say("%d slices read", len(pack["hu"]))
        training = ~pack["validation"]
        self.bank = Bank(
            {name: values[training] for name, values in pack.items()},
            patches={phase.patch for phase in self.phases},
            quantum=options.quantum,
            electronic=options.electronic,
            device=device,
            least_body=options.least_body,
        )
        self.validation = self._make_validation(pack)
        self._synchronize()
        self._say("noise is drawn")
        self.steps = {phase: self._captured(phase) for phase in set(self.phases)}
        self._synchronize()
        self._say("captured")
        self._say("%s", json.dumps(self.validate()))

    def run(self) -> None:
        """Trains until the time or step limit."""
        self.begun = last = renewed = time.monotonic()
        done, since = 0, (time.monotonic(), 0, None)
        while (progress := self._progress(done)) < 1:
            phase = self._phase(progress)
            rate = learning_rate(progress, self.options.rate)
            for _ in range(_AT_ONCE):
                done += 1
                first, second = _BETAS
                unbiased = math.sqrt(1 - second**done) / (1 - first**done)
                self.rate.fill_(rate * unbiased)
                kept = min(1 - 1 / _AVERAGED_STEPS, (1 + done) / (10 + done))
                self.blend.fill_(1 - kept)
                self.steps[phase]()
            if time.monotonic() - renewed > self.options.renew_every:
                self.bank.renew()
                renewed = time.monotonic()
            self._synchronize()
            since = self._report(since, done, phase, rate)
            if time.monotonic() - last > _CHECKPOINT_SECONDS:
                self._say("%s", json.dumps(self.validate()))
                self.save()
                last = time.monotonic()
        self._say("%d steps, %d slices renewed", done, self.bank.renewed)

    @torch.no_grad()
    def validate(self) -> dict:
        """Returns the PSNR of the averaged weights in the abdomen window, by dose."""
        rows: dict[str, list] = {}
        for case in self.validation:
            low = torch.clamp(case["low"], min=FLOOR_HU)
            output = self.network(low[None], torch.float32, self.average)[0]
            mixed = output + case["share"] * (case["low"] - output)
            images = {"input": case["low"], "output": output, "mixed": mixed}
            for name, image in images.items():
                key = f"{case['kind']} {case['dose']:g} {name}"
                rows.setdefault(key, []).append(psnr(image, case["reference"]))
        return {
            key: round(float(torch.stack(values).mean()), 2)
            for key, values in rows.items()
        }

    def save(self) -> None:
        """Writes the averaged weights."""
        self.network.save(self.average, self.options.out / "quiet_net.npz")

    def _synchronize(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def _say(self, text: str, *values) -> None:
        elapsed = time.monotonic() - self.start
        logger.info(f"%6.1f s: {text}", elapsed, *values)

    def _progress(self, done: int) -> float:
        if self.options.steps:
            return done / self.options.steps
        now = time.monotonic()
        end = self.start + self.options.seconds - self.options.reserve
        return (now - self.begun) / max(end - self.begun, 1e-3)

    def _phase(self, progress: float) -> Phase:
        reached = 0.0
        for phase in self.phases:
            reached += phase.share
            if progress < reached:
                return phase
        return self.phases[-1]

    def _report(self, since, done: int, phase: Phase, rate: float):
        """Logs speed and loss every five seconds and when the phase changes."""
        then, before, last = since
        now = time.monotonic()
        if last is not phase:
            return now, done, phase
        if now - then < 5:
            return since
        row = {
            "step": done,
            "seconds": round(now - self.start, 1),
            "phase": f"{phase.dtype} {phase.batch}x{phase.patch}",
            "steps_per_second": round((done - before) / (now - then), 2),
            "rate": float(f"{rate:.3g}"),
            "loss": round(float(self.loss), 5),
        }
        logger.info("%s", json.dumps(row))
        with (self.options.out / "log.jsonl").open("a") as log:
            log.write(json.dumps(row) + "\n")
        return time.monotonic(), done, phase

    def _make_validation(self, pack: dict) -> list[dict]:
        """Low doses of the validation slices, with the reference's share of noise."""
        cases = []
        for index in np.flatnonzero(pack["validation"]):
            reference = torch.as_tensor(pack["hu"][index], device=self.device)
            physics = {
                name: torch.as_tensor(pack[name][index], device=self.device)
                for name in PHYSICS
            }
            free = bool(pack["noise_free"][index])
            count = len(_DOSES)
            fields = draw_noise(reference, physics, quantum=count, electronic=count)
            for place, dose in enumerate(_DOSES):
                factors = dose_factors(torch.tensor(dose), torch.tensor(free))
                low = reference.clone()
                for factor, part in zip(factors, fields, strict=True):
                    low += float(factor) * part[place].float()
                cases.append(
                    {
                        "low": low,
                        "reference": reference,
                        "dose": dose,
                        "share": 0.0 if free else dose,
                        "kind": "phantom" if free else "scan",
                    }
                )
        return cases

    def _captured(self, phase: Phase):
        """Returns one step as a CUDA graph, or as a function without CUDA."""

        def step():
            return self._step(phase)

        if self.device != "cuda":
            return step
        # With a learning rate of zero the warm-up changes only the moments.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(4):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        torch.cuda.synchronize()
        begun = time.monotonic()
        for _ in range(50):
            graph.replay()
        torch.cuda.synchronize()
        speed = 50 / (time.monotonic() - begun)
        self._say("%s: %.1f steps a second", phase, speed)
        if speed < self.options.least_speed:
            raise SystemExit("too slow")
        for tensor in [*self.mean, *self.square]:
            tensor.zero_()
        return graph.replay

    def _step(self, phase: Phase) -> None:
        batch = draw_batch(
            self.bank.arrays, phase.patch, phase.batch, self.options.highest_dose
        )
        output = self.network(batch["low"], getattr(torch, phase.dtype))
        loss = robust_noise_free_loss(output, batch, self.options.softness)
        if self.options.regional:
            regional = regional_bias_loss(output, batch, self.options.strengths)
            loss = loss + self.options.regional * regional
        gradients = list(torch.autograd.grad(loss, self.tensors))
        with torch.no_grad():
            self._adam(gradients)
            self.loss.copy_(loss)

    def _adam(self, gradients: list) -> None:
        """Adam with gradient clipping, and the moving average of weights."""
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        torch._foreach_mul_(gradients, torch.clamp(_CLIP_NORM / (norm + 1e-12), max=1))
        first, second = _BETAS
        torch._foreach_lerp_(self.mean, gradients, 1 - first)
        torch._foreach_mul_(self.square, second)
        torch._foreach_addcmul_(self.square, gradients, gradients, 1 - second)
        change = torch._foreach_sqrt(self.square)
        torch._foreach_add_(change, _EPSILON)
        change = torch._foreach_div(self.mean, change)
        torch._foreach_mul_(change, self.rate)
        torch._foreach_sub_(self.tensors, change)
        change = torch._foreach_sub(self.tensors, self.average)
        torch._foreach_mul_(change, self.blend)
        torch._foreach_add_(self.average, change)


def psnr(image, reference):
    """PSNR of a slice in the abdomen window, dB."""
    low, high = ABDOMEN.low, ABDOMEN.high
    error = torch.clamp(image, low, high) - torch.clamp(reference, low, high)
    rms = torch.sqrt(torch.mean(error**2) + 1e-9)
    return 20 * torch.log10((high - low) / rms)


if __name__ == "__main__":
    main()
