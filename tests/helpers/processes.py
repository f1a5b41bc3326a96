"""Python in processes of its own, without the seconds that an import takes in each.

`run` and `start` are like `subprocess.run` and `subprocess.Popen`, for commands that
begin with `sys.executable`, `-m` or `-c`. A server per backend of Keras has imported
TensorFlow, or JAX, and Keras. It forks, and the fork runs the command. What depends on
the environment at these imports needs a process of the usual kind.
"""

import atexit
import contextlib
import functools
import json
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
import warnings
import weakref

PACKAGES = {"tensorflow": ("tensorflow", "keras"), "jax": ("jax", "keras")}
SECONDS = 0.02  # Between two looks at whether a process has ended.


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
        self._files = [os.path.join(folder, name) for name in ("output", "errors")]
        self.pid = ask({**request, "files": self._files})

    def poll(self):
        """Returns the status, or None while it runs."""
        if self.returncode is None:
            self.returncode = self._ask({"poll": self.pid})
        return self.returncode

    def wait(self):
        """Returns the status at the end."""
        while self.poll() is None:
            time.sleep(SECONDS)
        return self.returncode

    def communicate(self):
        """Waits and returns what was written to standard output and standard error."""
        self.wait()
        return tuple(pathlib.Path(name).read_text() for name in self._files)

    def send_signal(self, number):
        """Sends a signal."""
        os.kill(self.pid, number)


@functools.cache
def _server(backend):
    server = subprocess.Popen(
        [sys.executable, __file__, *PACKAGES[backend]],
        env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    atexit.register(_stop, server)
    one_by_one = threading.Lock()

    def ask(request):
        with one_by_one:
            print(json.dumps(request), file=server.stdin, flush=True)
            return json.loads(server.stdout.readline())

    return ask


def _stop(server):
    server.kill()
    server.wait()
    server.stdin.close()
    server.stdout.close()


def _serve(packages):
    for name in packages:
        __import__(name)
    if "tensorflow" in packages:  # Looks for GPUs, and says that there are none.
        sys.modules["tensorflow"].config.list_physical_devices()
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # It has threads, which do not matter.
                answer = os.fork()
            if answer == 0:
                answers.close()
                _end(_status(**request))
        print(json.dumps(answer), file=answers, flush=True)


def _status(arguments, env, cwd, files):
    """Runs a command as if Python had been started with it; returns its exit status."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    for number, name in enumerate([os.devnull, *files]):
        file = os.open(name, flags if number else os.O_RDONLY)
        os.dup2(file, number)
        os.close(file)
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
        _serve(sys.argv[1:])
