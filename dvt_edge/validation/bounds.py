"""What an artifact must keep against PyTorch, and a device's log against the host."""

from __future__ import annotations

from dataclasses import dataclass

# What a log's errors are between: the name in its summary's "exits", and the words for it.
SIDES = (
    ("kernels", "device against host, same artifacts and pixels"),
    ("quantization", "host against PyTorch"),
    ("total", "device against PyTorch"),
)


@dataclass(frozen=True)
class Bounds:
    """What an artifact must keep against PyTorch in float32 before an export is called done.

    A share counts as too low only where all of its 95 % interval lies below, so that few images fail none by chance.
    """

    max_abs_error: float | None = None  # on every output of every stage
    min_sqnr_db: float | None = None  # on the logits of every exit
    min_top1_agreement: float = 1.0  # of each exit's answers
    min_exit_agreement: float = 1.0  # with the exits that PyTorch takes, at the worst of the operating points

    def broken_by(self, max_abs_error: float, sqnr_db: float | None) -> list[str]:
        """What of an output's two errors is out of its band, each in words. No SQNR: no noise, or it is not asked."""
        found = []
        if self.max_abs_error is not None and not max_abs_error <= self.max_abs_error:
            found.append(f"is off by {max_abs_error:.2g} (at most {self.max_abs_error:g})")
        if self.min_sqnr_db is not None and sqnr_db is not None and not sqnr_db >= self.min_sqnr_db:
            found.append(f"has {sqnr_db:.1f} dB SQNR (at least {self.min_sqnr_db:g})")
        return found


@dataclass(frozen=True)
class DeviceBounds:
    """What a device's log must keep; a recipe sets it, a JSON file of these fields may replace some. None: not checked.

    A share counts as too low only where its 95 % interval lies below, so that a short log is not failed by chance.
    """

    max_kernel_error: float  # of a logit, against the host's run of the same artifacts and pixels, on 99 % of images
    min_top1_agreement: float | None = 0.99  # of all exits together, on the same pixels
    min_exit_agreement: float | None = 0.95  # with the exits that the host takes
    min_answer_agreement: float | None = 0.95  # with the labels that the host gives
    max_pixel_difference: float | None = 3.0  # levels of 255, mean over an image
    max_confidence_shift: float | None = 0.03  # mean, absolute
    max_accuracy_loss: float | None = 0.02  # against the host
    max_p99_ms: float | None = None
    max_slowdown: float | None = None  # median time at the end of the log over that at its start
