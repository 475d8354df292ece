from __future__ import annotations

import pytest

from air_executor.airflow.learned_modules import LearnedPolicy
from air_executor.airflow.learned_preload import GenerationRequest
from air_executor.airflow.process_state import ProcessState


def test_own_words_are_taken_out_of_the_command_line():
    words = ["--learned", "/x", "--channel-fd", "3", "--generation", "g", "--mode", "trial", "--spool", "/s"]
    request, others = GenerationRequest.take(words)
    assert request is not None
    assert (str(request.files.directory), request.name, request.mode) == ("/x", "g", "trial")
    assert others == ["--channel-fd", "3", "--spool", "/s"]


def test_without_them_there_is_no_generation():
    assert GenerationRequest.take(["--channel-fd", "3"]) == (None, ["--channel-fd", "3"])


@pytest.mark.parametrize(
    "words",
    [
        ["--learned", "/x"],
        ["--learned", "/x", "--generation", "g"],
        ["--learned", "/x", "--generation", "g", "--mode", "wrong"],
        ["--generation", "g", "--mode", "trial"],
    ],
)
def test_half_a_request_is_refused(words):
    with pytest.raises(SystemExit, match="usage"):
        GenerationRequest.take(words)


@pytest.mark.parametrize(
    ("allow", "deny", "module", "is_permitted"),
    [
        ((), (), "pandas", True),
        (("pandas",), (), "pandas.core", True),
        (("pandas",), (), "numpy", False),
        (("google.cloud.*",), (), "google.cloud.storage", True),
        (("google.cloud.*",), (), "google", False),
        ((), ("tensorflow*",), "tensorflow_io.x", False),
        ((), ("pandas.io",), "pandas", True),
        ((), ("pandas.io",), "pandas.io.sql", False),
        (("pandas",), ("pandas",), "pandas", False),
    ],
)
def test_lists(allow, deny, module, is_permitted):
    assert LearnedPolicy(allow, deny).permits(module) is is_permitted


def test_process_that_did_nothing_gets_no_objection():
    # This process may have children and threads of other tests: only what changes counts.
    before = ProcessState.take()
    found = before.find_objection()
    assert found is None or found.cause == "process"
