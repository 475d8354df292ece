"""Tasks of the DAG use_case_hyper_parameters: train polynomials by ridge regression, and evaluate them.

models.py discover DIRECTORY
models.py train DIRECTORY DEGREE PENALTY
models.py evaluate DIRECTORY DEGREE PENALTY
"""

from __future__ import annotations

import json
import sys
from itertools import product
from pathlib import Path

from air_executor import queue_tasks, set_result

DEGREES = (1, 2, 3, 5)
PENALTIES = (0.0, 0.1, 10.0)


def discover(directory: Path) -> None:
    """Queue a training for each combination."""
    queued = queue_tasks(_make_task("train", directory, *combination) for combination in product(DEGREES, PENALTIES))
    print(f"queued {len(queued)} trainings")


def train(directory: Path, degree: int, penalty: float) -> None:
    """Fit a polynomial, save it, and queue its evaluation."""
    coefficients = fit(_read_points(directory, "training"), degree, penalty)
    # Written before its evaluation is queued, which may start at once.
    _model_path(directory, degree, penalty).write_text(json.dumps(coefficients))
    queue_tasks([_make_task("evaluate", directory, degree, penalty)])


def evaluate(directory: Path, degree: int, penalty: float) -> None:
    """Leave the model with its mean squared errors as result."""
    coefficients = json.loads(_model_path(directory, degree, penalty).read_text())
    errors = {}
    for name in ("validation", "test"):
        points = _read_points(directory, name)
        errors[f"{name}_error"] = sum((predict(coefficients, x) - y) ** 2 for x, y in points) / len(points)
    set_result({"degree": degree, "penalty": penalty, "coefficients": coefficients, **errors})
    print(f"error on the validation data: {errors['validation_error']:.4f}")


def fit(points: list[list[float]], degree: int, penalty: float) -> list[float]:
    """Return the coefficients c that minimise sum (c[0] + c[1] x + ... - y)^2 + penalty * (c[1]^2 + ...)."""
    size = degree + 1
    # The normal equations, one row each, the right side as last column.
    rows = [
        [sum(x ** (i + j) for x, _ in points) + (penalty if i == j > 0 else 0) for j in range(size)]
        + [sum(y * x**i for x, y in points)]
        for i in range(size)
    ]
    for column in range(size):
        # The largest pivot keeps rounding errors small.
        pivot = max(range(column, size), key=lambda row: abs(rows[row][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [value / rows[column][column] for value in rows[column]]
        for row in range(size):
            if row != column:
                factor = rows[row][column]
                rows[row] = [value - factor * other for value, other in zip(rows[row], rows[column], strict=True)]
    return [row[-1] for row in rows]


def predict(coefficients: list[float], x: float) -> float:
    """Return the value of a polynomial."""
    return sum(coefficient * x**power for power, coefficient in enumerate(coefficients))


def _make_task(verb: str, directory: Path, degree: int, penalty: float) -> dict:
    return {
        "id": f"{verb} degree={degree} penalty={penalty}",
        "command": sys.executable,
        "args": [__file__, verb, str(directory), str(degree), str(penalty)],
        # An evaluation says how good a model is: better soon than after all trainings.
        "priority": 1 if verb == "evaluate" else 0,
    }


def _read_points(directory: Path, name: str) -> list[list[float]]:
    return json.loads((directory / f"{name}.json").read_text())


def _model_path(directory: Path, degree: int, penalty: float) -> Path:
    return directory / "models" / f"{degree}-{penalty}.json"


if __name__ == "__main__":
    if sys.argv[1] == "discover":
        discover(Path(sys.argv[2]))
    else:
        run = {"train": train, "evaluate": evaluate}[sys.argv[1]]
        run(Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
