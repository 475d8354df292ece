"""Use case, machine learning: train a model for each combination of parameters, evaluate each, keep the best one.

The models are polynomials, fitted by ridge regression to noisy points of a cubic curve, in plain Python.
"""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path

from airflow.sdk import DAG, task

from air_executor.airflow.operators import AirExecutorJobOperator

DAG_ID = "use_case_hyper_parameters"
PROGRAM = str(Path(__file__).parent / "work" / "models.py")

with DAG(
    DAG_ID,
    description="Train models with all combinations of parameters, evaluate them, keep the best",
    schedule=None,
    tags=["air-executor", "use-case"],
) as dag:

    @task
    def prepare_data(run_id: str) -> str:
        """Make points (x, y) of a curve with noise, for training, validation and test; return their directory."""
        home = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()
        directory = home / "air-executor-examples" / DAG_ID / f"run-{run_id}"
        (directory / "models").mkdir(parents=True, exist_ok=True)
        chance = random.Random(3)
        for name, number in (("training", 40), ("validation", 200), ("test", 200)):
            points = []
            for _ in range(number):
                x = chance.uniform(-1, 1)
                points.append([x, 1 - 2 * x + 4 * x**3 + chance.gauss(0, 0.2)])
            (directory / f"{name}.json").write_text(json.dumps(points))
        return str(directory)

    @task
    def validate_features(directory: str) -> None:
        """Check that training, validation and test share no point: the errors would be too good."""
        points = [
            tuple(point)
            for name in ("training", "validation", "test")
            for point in json.loads(Path(directory, f"{name}.json").read_text())
        ]
        if len(set(points)) != len(points):
            raise ValueError(f"the data in {directory} share points")

    directory = prepare_data()

    # One task, which queues the trainings; each training queues the evaluation of its model.
    search = AirExecutorJobOperator(
        task_id="search",
        tasks=[{"id": "discover", "command": sys.executable, "args": [PROGRAM, "discover", directory]}],
    )

    @task
    def select_best_model(summary: dict) -> dict:
        """Return the model with the smallest error on data that it has not seen."""
        evaluated = [model for model in summary["results"].values() if "validation_error" in model]
        for model in sorted(evaluated, key=lambda model: model["validation_error"]):
            print(f"degree {model['degree']}, penalty {model['penalty']:<5}: {model['validation_error']:.4f}")
        return min(evaluated, key=lambda model: model["validation_error"])

    @task
    def deploy(model: dict, directory: str) -> str:
        """Put the best model where whoever uses it looks for it, whole or not at all; return that path."""
        registry = Path(directory, "production.json")
        aside = registry.with_suffix(".new")
        aside.write_text(json.dumps(model, indent=2))
        aside.replace(registry)
        print(f"degree {model['degree']} is in production; its error on the test data: {model['test_error']:.4f}")
        return str(registry)

    validate_features(directory) >> search
    deploy(select_best_model(search.output), directory)
