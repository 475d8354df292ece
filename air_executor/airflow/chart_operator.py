"""An operator that draws how a job went: one call in a DAG, after the job's sensor or operator, or while it runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from air_executor.airflow.hook import DEFAULT_CONN_ID, AirExecutorHook

if TYPE_CHECKING:
    from airflow.sdk import Context


class AirExecutorChartOperator(BaseOperator):
    """Saves the progress chart of a job and returns the path of the file, which becomes its XCom.

    Needs matplotlib where the task runs: `pip install 'air-executor[plot]'`.

    :param job_name: the job, whatever its state; often the output of what submitted it.
    :param output: a file that ends in .png or .svg; one that exists is replaced, and a missing directory is made.
        By default `charts/<job>-progress.png` in the base path.
    :param conn_id: connection of type `air_executor`; the default one need not exist.
    """

    template_fields: Sequence[str] = ("job_name", "output_path")
    ui_color = "#e8f4ea"

    def __init__(
        self,
        *,
        job_name: Any,
        output: str | os.PathLike[str] | None = None,
        conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_name = job_name
        # `output` is what Airflow calls an operator's XCom. Text, so that it can be a template.
        self.output_path = os.fspath(output) if isinstance(output, os.PathLike) else output
        self.conn_id = conn_id

    def execute(self, context: Context) -> str:  # noqa: ARG002 # Airflow's signature
        """Draw, and return the absolute path of the file.

        :raises JobNotFoundError: there is no such job.
        :raises ChartError: the file's name ends otherwise, or matplotlib is not installed.
        """
        from pathlib import Path

        from air_executor.chart import check_format, save_chart

        client = AirExecutorHook(self.conn_id).get_client()
        default = client.base_path / "charts" / f"{self.job_name}-progress.png"
        output = Path(self.output_path) if self.output_path else default
        check_format(output)
        # Before its directory is made: a job that does not exist leaves nothing behind.
        client.job(self.job_name)
        output.absolute().parent.mkdir(parents=True, exist_ok=True)
        path = save_chart(client, self.job_name, output)
        self.log.info("✅ Progress chart saved: %s", path)
        return str(path)
