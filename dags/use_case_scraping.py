"""Use case, web: scrape a shop of unknown size politely, page by page, and report what it sells.

The shop is a small web server, a job of its own for as long as the run takes: nothing of it stays, however the run ends.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from pathlib import Path

from airflow.sdk import DAG, PokeReturnValue, task

from air_executor.airflow.hook import AirExecutorHook
from air_executor.airflow.operators import AirExecutorJobOperator, AirExecutorSubmitOperator

DAG_ID = "use_case_scraping"
WORK = Path(__file__).parent / "work"

with DAG(
    DAG_ID,
    description="Scrape all pages of a local web shop, however many there are",
    schedule=None,
    tags=["air-executor", "use-case"],
) as dag:

    @task
    def set_up_storage(run_id: str) -> str:
        """Make this run's directory and return its path."""
        home = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()
        directory = home / "air-executor-examples" / DAG_ID / f"run-{run_id}"
        (directory / "pages").mkdir(parents=True, exist_ok=True)
        return str(directory)

    directory = set_up_storage()

    # A job is also good for what runs until somebody ends it. The limit is for the day when nobody does.
    start_shop = AirExecutorSubmitOperator(
        task_id="start_shop",
        tasks=[
            {
                "id": "serve",
                "command": sys.executable,
                "args": [str(WORK / "shop_server.py"), directory],
                "timeout_s": 900,
            }
        ],
    )

    @task.sensor(poke_interval=1, timeout=120, mode="poke")
    def wait_for_shop(directory: str, job_name: str) -> PokeReturnValue:
        """Wait until the shop is open, and return its address."""
        job = AirExecutorHook().get_client().job(job_name)
        if job.state.is_terminal:
            raise RuntimeError(f"the shop has closed: job {job_name} is {job.state.value}")
        try:
            url = Path(directory, "url").read_text()
            # Not through a proxy: it is on this machine.
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"{url}/health", timeout=5) as answer:
                is_ours = json.load(answer)["directory"] == directory
        except (OSError, ValueError):
            return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=is_ours, xcom_value=url)

    url = wait_for_shop(directory, start_shop.output)

    scrape = AirExecutorJobOperator(
        task_id="scrape",
        tasks=[
            {
                "id": "page 1",
                "command": sys.executable,
                "args": [str(WORK / "pages.py"), url, "1", directory],
                "retries": 3,
                "retry_delay_s": 0.5,
            }
        ],
        # Polite: never more than four requests at once, however many pages have been found.
        max_parallel=4,
    )

    @task(show_return_value_in_logs=False)
    def deduplicate(directory: str) -> list[dict]:
        """Return each article once: some are shown on several pages."""
        pages = [json.loads(path.read_text()) for path in Path(directory, "pages").glob("*.json")]
        articles = [article for page in pages for article in page]
        once = {article["number"]: article for article in articles}
        print(f"{len(pages)} pages show {len(articles)} articles, {len(once)} different ones")
        return sorted(once.values(), key=lambda article: article["number"])

    @task
    def report(articles: list[dict], directory: str) -> str:
        """Write what the shop sells, the cheapest first; return the report's path."""
        lines = [f"{each['cents'] / 100:8.2f}  {each['name']}" for each in sorted(articles, key=lambda a: a["cents"])]
        path = Path(directory, "report.txt")
        path.write_text("\n".join([f"{len(articles)} articles", *lines, ""]))
        print(f"{len(articles)} articles: {path}")
        return str(path)

    @task
    def stop_shop(job_name: str) -> None:
        """End the server."""
        AirExecutorHook().get_client().cancel(job_name, "the shop has been scraped")

    url >> scrape
    articles = deduplicate(directory)
    scrape >> articles
    report(articles, directory)
    # A teardown runs whatever has failed, and whoever clears a task of this run gets the shop opened again.
    start_shop.as_setup()
    scrape >> stop_shop(start_shop.output).as_teardown(setups=start_shop)
