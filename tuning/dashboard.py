"""optuna-dashboard on a sweep's ledger, to look at and not to change.

    with dashboard_server(Sweep.open(run), port=8080) as server:
        print(address(server))                  # http://127.0.0.1:8080
        server.serve_forever()

The dashboard can write notes into a study, and delete it. The driver is the ledger's only writer, so here requests that
would change anything are refused before they reach it, and the storage it reads through cannot write. It follows a
sweep that is at work on this machine; of one at home on object storage it shows what was fetched.
"""

import importlib.util
import json
from collections.abc import Callable, Iterable
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from reports.sweep import Sweep
from trainables.errors import UserError

HOST = "127.0.0.1"  # this machine alone: there is no password
_OWN_NAMES = (HOST, "localhost")
_READING = ("GET", "HEAD", "OPTIONS")

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def dashboard_server(sweep: Sweep, *, port: int) -> WSGIServer:
    """A server on this machine that shows the sweep; not yet serving. Port 0 takes any that is free.

    Raises:
        UserError: optuna-dashboard is not installed, or the port is taken.
    """
    if importlib.util.find_spec("optuna_dashboard") is None:
        raise UserError("optuna-dashboard is not installed", hint="pip install 'tuneyard[dashboard]'")
    from optuna_dashboard import wsgi

    app = local_only(read_only(wsgi(sweep.ledger().study._storage)))
    try:
        return make_server(HOST, port, app, server_class=_Server, handler_class=_Handler)
    except (OSError, OverflowError) as error:
        raise UserError(
            "cannot listen on this port", where="--port", got=port, hint=f"{error}; choose another, or 0 for any"
        ) from error


def address(server: WSGIServer) -> str:
    """Where the server is to be found."""
    return f"http://{HOST}:{server.server_port}"


def read_only(app: App) -> App:
    """A web application that answers whatever would change something with a refusal."""

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("REQUEST_METHOD") in _READING:
            return app(environ, start_response)
        return _refused(start_response, "tuneyard shows the sweep without changing it")

    return guarded


def local_only(app: App) -> App:
    """A web application that answers only those who ask for this machine by its own name or number.

    A page from elsewhere can have its own name lead to this machine (DNS rebinding) and would then be let in by the
    browser as the same site; the name it asks for gives it away.
    """

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        host = environ.get("HTTP_HOST", "").rpartition(":")[0] or environ.get("HTTP_HOST", "")
        if host.lower() in _OWN_NAMES:
            return app(environ, start_response)
        return _refused(start_response, f"tuneyard answers to {' and '.join(_OWN_NAMES)} alone")

    return guarded


def _refused(start_response: Callable[..., Any], reason: str) -> list[bytes]:
    status = HTTPStatus.FORBIDDEN
    body = json.dumps({"reason": reason}).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response(f"{status.value} {status.phrase}", headers)
    return [body]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        """A line for each request would hide the address."""
