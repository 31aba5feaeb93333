from decimal import Decimal, localcontext

import numpy as np
import pytest

from samplemix_core.policies.exponential import MAX_ARGUMENT, exact_exp


def arguments() -> np.ndarray:
    rng = np.random.default_rng(7)
    return np.concatenate(
        [
            rng.uniform(0, 5, 4000),
            rng.uniform(-MAX_ARGUMENT, MAX_ARGUMENT, 4000),
            (np.arange(-1000, 1000) + 0.5) * np.log(2),
            np.array([0.0, -0.0, 1e-300, -1e-20, MAX_ARGUMENT, -MAX_ARGUMENT]),
        ]
    )


def test_within_one_and_a_half_units_in_the_last_place_of_the_true_value() -> None:
    x = arguments()
    y = exact_exp(x)
    with localcontext() as context:
        context.prec = 40
        errors = [
            abs(Decimal(float(b)) - Decimal(float(a)).exp()) / Decimal(float(np.spacing(b))) for a, b in zip(x, y, strict=True)
        ]
    assert max(errors) < 1.5


def test_agrees_with_numpy() -> None:
    x = arguments()
    assert (np.abs(exact_exp(x) - np.exp(x)) <= 2.5 * np.spacing(np.exp(x))).all()


def test_same_bits_wherever_it_runs() -> None:
    expected = {
        0.0: "0x1.0000000000000p+0",
        1.0: "0x1.5bf0a8b14576ap+1",
        5.0: "0x1.28d389970338fp+7",
        -1.0: "0x1.78b56362cef38p-2",
        666.5: "0x1.786e8b5f932cap+961",
    }
    assert {x: float(exact_exp(np.array([x]))[0]).hex() for x in expected} == expected


def test_a_value_does_not_depend_on_its_neighbours() -> None:
    x = arguments()[:999]
    whole = exact_exp(x)
    for step in (1, 3, 8):
        assert np.concatenate([exact_exp(x[i : i + step]) for i in range(0, x.size, step)]).tobytes() == whole.tobytes()


@pytest.mark.parametrize("value", [700.1, -701.0, np.inf, np.nan])
def test_refuses_what_it_is_not_defined_on(value: float) -> None:
    with pytest.raises(ValueError, match="exact_exp is defined on"):
        exact_exp(np.array([0.0, value]))
