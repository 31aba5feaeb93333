"""The one way to wait for a service: until a condition holds, its process gives up, or time is over."""

from collections.abc import Callable
from pathlib import Path

import tenacity

from samplemix_core.errors import ServiceError
from samplemix_core.local.logs import tail

_TAIL_LINES = 15


def failure(what: str, log: Path) -> ServiceError:
    """An error that quotes the end of the log of the process that failed, and says where the log lies."""
    quoted = "".join(f"\n  | {line}" for line in tail(log, _TAIL_LINES)) or " nothing"
    return ServiceError(what, f"Correct the cause and run 'samplemix up' again. Its log {log} ends with:{quoted}")


def wait_until(
    missing: Callable[[], str | None], *, what: str, timeout: float, log: Path, gave_up: Callable[[], bool] = lambda: False
) -> None:
    """Poll `missing` at growing intervals (50 ms to 1 s) until it returns None; before that it returns what is still missing.

    `what` names what is awaited. Raises ServiceError, quoting the end of `log`, after `timeout` seconds or once `gave_up` holds.
    """
    polling = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda lack: lack is not None and not gave_up()),
        wait=tenacity.wait_exponential(multiplier=0.05, exp_base=1.5, max=1.0),
        stop=tenacity.stop_after_delay(timeout),
        retry_error_callback=lambda attempts: attempts.outcome and attempts.outcome.result(),
    )
    lack = polling(missing)
    if lack is not None:
        how = "failed to start" if gave_up() else f"was not ready within {timeout:.0f} s"
        raise failure(f"{what} {how}: {lack}.", log)
