"""Where the small HTTP servers of this process listen."""

from pathlib import Path

from aiohttp import web


async def serve_socket(app: web.Application, path: str) -> web.AppRunner:
    """On a Unix socket that only the owner of this process may use."""
    runner = await _runner(app)
    Path(path).unlink(missing_ok=True)
    await web.UnixSite(runner, path).start()
    Path(path).chmod(0o600)
    return runner


async def serve_port(app: web.Application, address: str, port: int) -> web.AppRunner:
    runner = await _runner(app)
    await web.TCPSite(runner, address, port).start()
    return runner


async def _runner(app: web.Application) -> web.AppRunner:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    return runner
