"""Python in processes of its own, without the seconds that an import takes in each.

`run` and `start` are like `subprocess.run` and `subprocess.Popen`, for commands that
begin with `sys.executable`, `-m` or `-c`. A server per backend of Keras has imported
it and Keras. It forks, and the fork runs the command. What depends on the environment
at these imports needs a process of the usual kind.

`share_imports` makes that of TensorFlow a fork of this process, for the imports of one.
"""

import atexit
import contextlib
import gc
import json
import logging
import os
import pathlib
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
import unittest.mock
import warnings
import weakref

PACKAGES = {name: (name, "keras") for name in ("tensorflow", "jax", "torch")}
SECONDS = 0.02  # Between two looks at whether a process has ended.
ROOT = pathlib.Path(__file__).parents[2]
_SERVERS = {}  # Functions that ask the server of a backend.
# What Keras imports where it is there, and uses for nothing that others do here.
UNUSED = ("matplotlib", "pandas", "sklearn")


def run(command, check=False, **options) -> subprocess.CompletedProcess:
    """Runs a command to its end, with its output as text.

    Args:
        command: Begins with `sys.executable`.
        check: Whether a status other than 0 is an error.
        **options: See `start`.
    """
    process = start(command, **options)
    output = process.communicate()
    if check and process.returncode:
        print(output[1], file=sys.stderr)
        raise subprocess.CalledProcessError(process.returncode, command, *output)
    return subprocess.CompletedProcess(command, process.returncode, *output)


def check_on(backend: str, path: str):
    """Runs the tests of a file on another backend, and fails as they do.

    Args:
        backend: That of Keras.
        path: The file.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", path]
    result = run(command, env={**os.environ, "KERAS_BACKEND": backend})
    assert result.returncode == 0, result.stdout


def start(command, env=None, cwd=None) -> "Process":
    """Starts a command.

    Args:
        command: Begins with `sys.executable`.
        env: All of its environment; by default that of this process.
        cwd: Its working directory.
    """
    executable, *arguments = map(str, command)
    assert executable == sys.executable, command
    env = dict(os.environ if env is None else env)
    return Process(
        _server(env.get("KERAS_BACKEND", "tensorflow")),
        {"arguments": arguments, "env": env, "cwd": os.fspath(cwd or os.getcwd())},
    )


class Process:
    """A process that a server has forked.

    Args:
        ask: Sends a request to the server and returns its answer.
        request: What is run.
    """

    def __init__(self, ask, request):
        folder = tempfile.mkdtemp(prefix="process")
        weakref.finalize(self, shutil.rmtree, folder, True)
        self._ask, self.returncode = ask, None
        self._one_by_one = threading.Lock()
        self._files = [os.path.join(folder, name) for name in ("output", "errors")]
        self.pid = ask({**request, "files": self._files})

    def poll(self):
        """Returns the status, or None while it runs."""
        with self._one_by_one:  # The server can be told of the end once.
            if self.returncode is None:
                self.returncode = self._ask({"poll": self.pid})
        return self.returncode

    def wait(self, seconds: float = float("inf")):
        """Returns the status at the end; what takes longer is killed."""
        end = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > end:
                self.send_signal(signal.SIGKILL)
            time.sleep(SECONDS)
        return self.returncode

    def communicate(self, seconds: float = float("inf")):
        """Waits and returns what was written to standard output and standard error."""
        self.wait(seconds)
        return tuple(pathlib.Path(name).read_text() for name in self._files)

    def send_signal(self, number):
        """Sends a signal."""
        os.kill(self.pid, number)


def share_imports():
    """Imports TensorFlow and Keras, and forks their server from this process.

    It is for the beginning: TensorFlow has threads as soon as it computes, which a fork
    does not have.
    """
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        return
    with (
        _without_errors(),
        unittest.mock.patch.dict(os.environ, TF_CPP_MIN_LOG_LEVEL="2"),
    ):
        _import(PACKAGES[backend])
    (requests, asked), (told, answers) = os.pipe(), os.pipe()
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        stream.flush()
    if _fork() == 0:
        os.close(asked)
        os.close(told)
        _forget_pytest()
        with contextlib.suppress(BrokenPipeError):
            _serve(PACKAGES[backend], os.fdopen(requests), os.fdopen(answers, "w"))
        os._exit(0)  # The requests end with the process that asks.
    os.close(requests)
    os.close(answers)
    files = os.fdopen(asked, "w"), os.fdopen(told)
    for file in files:
        atexit.register(file.close)
    _SERVERS[backend] = _asking(*files)


@contextlib.contextmanager
def _without_errors():
    """Keeps what libraries say of themselves from standard error."""
    kept = os.dup(2)
    _redirect(2, os.devnull)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _forget_pytest():
    """Makes a fork of pytest what an interpreter is that has imported packages."""
    for number in range(3):
        _redirect(number, os.devnull)
    sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__
    for handler in [reference() for reference in logging._handlerList]:
        if type(getattr(handler, "stream", None)).__module__.startswith("_pytest"):
            handler.setStream(sys.stderr)
    sys.unraisablehook = sys.__unraisablehook__
    threading.excepthook = threading.__excepthook__
    atexit._clear()
    warnings.resetwarnings()
    for category in (DeprecationWarning, ImportWarning, PendingDeprecationWarning):
        warnings.simplefilter("ignore", category)
    warnings.simplefilter("ignore", ResourceWarning)
    warnings.filterwarnings("default", "", DeprecationWarning, "__main__")
    for hooks in (sys.meta_path, logging.root.handlers):
        hooks[:] = [h for h in hooks if not type(h).__module__.startswith("_pytest")]
    installed = sys.prefix, sys.base_prefix
    sys.path[:] = ["", *(path for path in sys.path if path.startswith(installed))]
    for name in [*sys.modules]:
        if (ROOT / name.partition(".")[0]).is_dir():
            del sys.modules[name]


def _server(backend):
    if backend not in _SERVERS:
        server = subprocess.Popen(
            [sys.executable, __file__, *PACKAGES[backend]],
            env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        atexit.register(_stop, server)
        _SERVERS[backend] = _asking(server.stdin, server.stdout)
    return _SERVERS[backend]


def _asking(requests, answers):
    """Returns a function that writes a request and reads the answer."""
    one_by_one = threading.Lock()

    def ask(request):
        with one_by_one:
            print(json.dumps(request), file=requests, flush=True)
            return json.loads(answers.readline())

    return ask


def _stop(server):
    server.kill()
    server.wait()
    server.stdin.close()
    server.stdout.close()


def _import(packages):
    for name in packages:
        __import__(name)


def _fork():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It has threads, which do not matter.
        return os.fork()


def _serve(packages, requests, answers):
    gc.disable()
    if "tensorflow" in packages:
        _import(packages)
        # Looks for GPUs, and says that there are none.
        sys.modules["tensorflow"].config.list_physical_devices()
    else:
        sys.modules.update(dict.fromkeys(UNUSED))
        _import(packages)
        for name in UNUSED:
            del sys.modules[name]
    gc.freeze()
    gc.enable()
    for line in requests:
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = _fork()
            if answer == 0:
                answers.close()
                _end(_status(**request))
        print(json.dumps(answer), file=answers, flush=True)


def _redirect(number, name):
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND if number else os.O_RDONLY
    file = os.open(name, flags)
    os.dup2(file, number)
    os.close(file)


def _status(arguments, env, cwd, files):
    """Runs a command as if Python had been started with it; returns its exit status."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, name in enumerate([os.devnull, *files]):
        _redirect(number, name)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path[0] = ""
    sys.path[1:1] = list(filter(None, env.get("PYTHONPATH", "").split(os.pathsep)))
    if arguments[0] == "-W":
        warnings.simplefilter(arguments[1])
        arguments = arguments[2:]
    kind, code, *arguments = arguments
    sys.argv = [kind, *arguments]
    try:
        if kind == "-m":
            runpy.run_module(code, run_name="__main__", alter_sys=True)
        else:
            main = sys.modules["__main__"] = types.ModuleType("__main__")
            exec(compile(code, "<string>", "exec"), main.__dict__)
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
            return 1
        return error.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _end(status):
    """Ends without the seconds in which Python forgets what it imported."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        _serve(sys.argv[1:], sys.stdin, os.fdopen(os.dup(1), "w"))
