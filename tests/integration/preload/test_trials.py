"""Every way in which a module can misbehave in a warm parent is found in the trial, named, and harms nothing else."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from tests.integration.preload.conftest import Site

GOOD = "ANSWER = 42\n"

HOSTILE = {
    "thread": (
        "import threading, time\nthreading.Thread(target=time.sleep, args=(3600,), daemon=True, name='poller').start()",
        "thread",
        "poller",
    ),
    "thread in forks": (
        "import os, threading, time\nsleep = lambda: threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()\nos.register_at_fork(after_in_child=sleep)",
        "thread",
        "each process that is forked",
    ),
    "dies in forks": (
        "import os\nos.register_at_fork(after_in_child=lambda: os._exit(1))",
        "thread",
        "ended with exit code 1",
    ),
    "fork hangs": (
        "import os, time\nos.register_at_fork(after_in_child=lambda: time.sleep(3600))",
        "thread",
        "did not come to life",
    ),
    "socket": ("import socket\nCONNECTION = socket.socket()", "descriptor", "connection"),
    "epoll": ("import select\nEPOLL = select.epoll()", "descriptor", "eventpoll"),
    "pipe": ("import os\nPIPE = os.pipe()", "descriptor", "pipe"),
    "file for writing": (
        "import os\nFILE = open(os.path.join(os.path.dirname(__file__), os.pardir, 'written'), 'a')",
        "descriptor",
        "for writing",
    ),
    "sleeps": ("import time\ntime.sleep(3600)", "hang", "waits for something"),
    "spins": ("while True: pass", "time", "CPU time"),
    "segfault": ("import ctypes\nctypes.string_at(0)", "crash", "SIGSEGV"),
    "leaves": ("import os\nos._exit(0)", "crash", "exit code 0"),
    "kills itself": ("import os\nos.kill(os.getpid(), 9)", "crash", "SIGKILL"),
    "closes everything": ("import os\nos.closerange(0, 1000)\nimport time\ntime.sleep(3600)", "crash", "ended"),
    "exits": ("raise SystemExit(3)", "error", "SystemExit"),
    "raises": ("raise RuntimeError('no way')", "error", "no way"),
    "recursion": ("def f(): f()\nf()", "error", "RecursionError"),
    "huge": ("BLOCK = b'x' * (300 << 20)", "memory", "preload_memory_limit"),
    "variable": ("import os\nos.environ['A_TEST_NAME'] = 'secret'", "state", "A_TEST_NAME"),
    "handler": ("import signal\nsignal.signal(signal.SIGUSR2, lambda *_: None)", "state", "SIGUSR2"),
    "directory": ("import os\nos.chdir('/')", "state", "working directory"),
    "path": ("import sys\nsys.path.insert(0, '/nowhere')", "state", "sys.path"),
    "patch": ("import socket\nclass Other(socket.socket): pass\nsocket.socket = Other", "state", "socket.socket"),
    "logging": ("import logging\nlogging.basicConfig()", "state", "root logger"),
    "mask": ("import os\nos.umask(0o777)", "state", "mode mask"),
    "child": ("import subprocess\nCHILD = subprocess.Popen(['sleep', '3631'])", "process", "process running"),
    "daemon": (
        "import subprocess\nsubprocess.run(['sh', '-c', 'setsid sleep 3632 >/dev/null 2>&1 &'])",
        "process",
        "process running",
    ),
}


def name_of(kind):
    return f"b_{kind.replace(' ', '_')}"


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """One trial of all of them, each with a good one before and behind it."""
    site = Site(tmp_path_factory.mktemp("everything"))
    modules = {"a_first": GOOD}
    for number, (kind, (source, _, _)) in enumerate(HOSTILE.items()):
        modules |= {name_of(kind): source, f"a_good_{number}": GOOD}
    site.install(modules)
    site.see(*modules)
    return site.start()


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_module_is_denied_with_the_reason(everything, kind):
    _, cause, words = HOSTILE[kind]

    denial = everything.denial(name_of(kind))

    assert denial.cause == cause
    assert words in denial.reason


def test_good_neighbours_of_hostile_modules_are_loaded_into_a_clean_process(everything):
    good = ["a_first", *(f"a_good_{number}" for number in range(len(HOSTILE)))]

    assert everything.exit_code == 0, everything.error
    assert list(everything.learned.loaded) == good
    assert everything.facts == {"modules": sorted(good), "threads": 1, "children": [], "variables": []}
    assert set(everything.causes) == {name_of(kind) for kind in HOSTILE}


def test_nothing_that_a_module_has_started_outlives_the_trial(try_modules):
    sources = {name: HOSTILE[kind][0] for name, kind in (("b_child", "child"), ("b_daemon", "daemon"))}

    try_modules(sources)

    left = [
        each
        for each in psutil.process_iter(["cmdline"])
        if each.info["cmdline"] in (["sleep", "3631"], ["sleep", "3632"])
    ]
    assert left == []


def test_values_of_variables_do_not_get_into_the_record(try_modules, site):
    outcome = try_modules({"b_hostile": HOSTILE["variable"][0]})

    assert "A_TEST_NAME" in outcome.denial("b_hostile").reason
    assert "secret" not in site.files.learned.read_text()


def test_module_that_ends_its_threads_at_forks_is_loaded(try_modules):
    source = """
import os, threading
class Pool:
    def start(self):
        self.event = threading.Event()
        self.thread = threading.Thread(target=self.event.wait, daemon=True)
        self.thread.start()
    def stop(self):
        self.event.set()
        self.thread.join()
pool = Pool()
pool.start()
os.register_at_fork(before=pool.stop)
"""
    outcome = try_modules({"a_pool": source})

    assert outcome.facts is not None
    assert outcome.facts["modules"] == ["a_pool"]
    assert outcome.facts["threads"] == 1


def test_threads_that_are_there_without_a_module_are_not_held_against_it(try_modules):
    hostile = {"b_forks": HOSTILE["thread in forks"][0], "b_thread": HOSTILE["thread"][0]}

    outcome = try_modules({"a_good": GOOD, **hostile}, beside="tests.support.restarting_thread")

    assert outcome.facts is not None, outcome.error
    assert outcome.facts["modules"] == ["a_good"]
    assert "each process that is forked" in outcome.denial("b_forks").reason
    assert "still there after a fork (poller)" in outcome.denial("b_thread").reason


@pytest.mark.parametrize("generation", [1, 2])
def test_where_scouts_cannot_fork_no_module_is_blamed(try_modules, generation):
    outcome = try_modules({"a_good": GOOD, "a_other": GOOD}, forks_die_at=generation)

    assert outcome.facts is not None, outcome.error
    assert outcome.facts["modules"] == []
    assert outcome.learned.denied == {}


def test_a_start_that_cannot_fork_is_none(try_modules, site):
    try_modules({"a_good": GOOD})

    outcome = site.start("verified", forks_die_at=1)

    assert "it cannot fork: a test fork ended with exit code 1" in outcome.error
    assert outcome.exit_code == 1


def test_module_that_imports_a_denied_one_is_denied_too(try_modules):
    outcome = try_modules({"b_hostile": HOSTILE["thread"][0], "b_importer": "import b_hostile", "a_good": GOOD})

    assert outcome.facts is not None
    assert outcome.facts["modules"] == ["a_good"]
    assert set(outcome.causes) == {"b_hostile", "b_importer"}


def test_package_is_denied_with_all_its_modules(try_modules):
    outcome = try_modules({"b_hostile": HOSTILE["raises"][0]})
    outcome.learned.seen["b_hostile.part"] = outcome.learned.seen["b_hostile"]

    from air_executor.core.preload import list_candidates

    assert list_candidates(outcome.learned, outcome.denial("b_hostile").at) == []


def test_options_decide(try_modules, site):
    modules = {"a_one": GOOD, "a_two": "import b_unwanted", "b_unwanted": GOOD}

    denied = try_modules(modules, deny="b_*")
    allowed = try_modules(modules, allow="a_one")

    assert denied.facts is not None
    assert allowed.facts is not None
    assert denied.facts["modules"] == ["a_one"]
    assert denied.causes == {"a_two": "denied", "b_unwanted": "option"}
    assert allowed.facts["modules"] == ["a_one"]


def test_module_from_elsewhere_is_denied_and_so_is_what_imports_it(try_modules, site, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "b_changing.py").write_text(GOOD)
    site.install({"a_good": GOOD, "b_importer": "import b_changing"})
    site.see("a_good", "b_importer")

    outcome = site.start(path=(tmp_path / "folder",))

    assert outcome.facts is not None
    assert outcome.facts["modules"] == ["a_good"]
    assert outcome.causes == {"b_importer": "origin"}
    assert "b_changing" in outcome.denial("b_importer").reason


def test_file_beside_the_packages_that_nobody_installed_is_denied(site):
    site.install({"a_good": GOOD})
    (site.packages / "b_copied.py").write_text(GOOD)
    site.see("a_good", "b_copied")

    outcome = site.start()

    assert outcome.causes == {"b_copied": "origin"}


def test_name_that_a_dag_folder_has_too_is_denied(try_modules):
    outcome = try_modules({"a_good": GOOD, "b_helper": GOOD}, shadows="b_helper,others")

    assert outcome.causes == {"b_helper": "shadowed"}


def test_nothing_is_held_against_a_module_for_which_the_machine_had_no_time(site):
    site.install({"a_good": GOOD, "b_starved": HOSTILE["spins"][0], "a_later": GOOD})
    site.see("a_good", "b_starved", "a_later")

    outcome = site.start(wall_s=1, cpu_s=1000)

    assert outcome.facts is not None
    assert outcome.facts["modules"] == ["a_good"]
    assert outcome.causes == {}
    assert outcome.learned.trial is not None
    assert "too busy" in (outcome.learned.trial.error or "")
    assert outcome.learned.trial.failures == 1
    assert set(outcome.learned.seen) == {"b_starved", "a_later"}


def test_child_that_works_for_an_import_is_waited_for(try_modules):
    outcome = try_modules({"a_patient": "import subprocess\nsubprocess.run(['sleep', '2'], check=True)\n"}, asleep_s=1)

    assert list(outcome.learned.loaded) == ["a_patient"]


def test_name_that_has_come_into_a_dag_folder_is_not_loaded_again(try_modules, site):
    try_modules({"a_good": GOOD, "a_package": "import a_part", "a_part": GOOD})

    again = site.start("verified", shadows="a_part")

    assert again.facts is not None
    assert again.facts["modules"] == ["a_good"]


def test_verified_modules_are_loaded_without_a_trial(try_modules, site):
    try_modules({"a_good": GOOD, "b_hostile": HOSTILE["thread"][0]})

    again = site.start("verified")

    assert again.facts is not None
    assert again.facts["modules"] == ["a_good"]


def test_nothing_is_verified_once_a_package_was_changed(try_modules, site):
    try_modules({"a_good": GOOD, "b_hostile": HOSTILE["raises"][0]})

    later = site.start("verified", fingerprint="another")

    assert later.facts is not None
    assert later.facts["modules"] == []
    assert later.learned.denied == {}
    assert site.start("trial", fingerprint="another").facts["modules"] == ["a_good"]


def test_verified_module_that_hurts_after_all_ends_the_start_and_is_denied(try_modules, site):
    try_modules({"a_good": GOOD, "b_changed": GOOD})
    (site.packages / "b_changed.py").write_text(HOSTILE["segfault"][0])

    broken = site.start("verified")
    next_one = site.start("verified")

    assert broken.exit_code == -signal.SIGSEGV
    assert broken.causes == {"b_changed": "crash"}
    assert next_one.facts is not None
    assert next_one.facts["modules"] == ["a_good"]


def test_module_that_behaves_only_in_its_scout_fails_the_trial_and_is_denied(try_modules, site, tmp_path):
    marker = tmp_path / "was-here"
    source = f"""
import os
if os.path.exists({str(marker)!r}):
    import socket
    CONNECTION = socket.socket()
else:
    open({str(marker)!r}, "w").close()
"""
    first = try_modules({"a_good": GOOD, "b_two_faced": source})
    second = site.start()

    assert first.exit_code == 1
    assert "b_two_faced" in first.error
    assert first.causes == {"b_two_faced": "descriptor"}
    assert second.facts is not None
    assert second.facts["modules"] == ["a_good"]


def test_trial_leaves_no_file_that_others_may_read(try_modules, site):
    try_modules({"a_good": GOOD})

    for directory, _, names in os.walk(site.files.directory):
        assert os.stat(directory).st_mode & 0o077 == 0
        for name in names:
            assert os.stat(os.path.join(directory, name)).st_mode & 0o077 == 0
