"""Ports of tests: of no range that the kernel or Ray draws from, and never given to two processes."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ports

ROOT = Path(__file__).resolve().parents[2]
DRAWING = "from tests.ports import free_ports; print(*free_ports(300), flush=True); input()"


def test_no_drawn_port_is_one_that_the_kernel_or_ray_hands_out() -> None:
    drawn = ports.free_ports(200)
    low, high = map(int, ports.KERNEL_RANGE.read_text().split())
    assert len(set(drawn)) == 200 and not [port for port in drawn if low <= port <= high]
    assert not set(drawn) & set(ports.RAY_WORKERS)
    for port in drawn[:5]:  # and what starts late can listen on it, more than once
        for _ in range(2):
            with socket.create_server(("127.0.0.1", port)) as server:
                socket.create_connection(server.getsockname()).close()


def test_the_ranges_are_rays_own() -> None:
    from ray.scripts.scripts import start

    given = {option.name: option.default for option in start.params}
    assert range(given["min_worker_port"], given["max_worker_port"] + 1) == ports.RAY_WORKERS
    fixed = [value for name, value in given.items() if name.endswith("port") and isinstance(value, int)]
    assert len(fixed) > 2 and not [port for port in fixed for some in ports.RANGES if port in some]


def test_processes_that_draw_at_once_never_get_the_same() -> None:
    """Four at once hold 1,200 ports; one that comes later gets others, and theirs when they have ended."""
    drawing = [
        subprocess.Popen(
            [sys.executable, "-c", DRAWING],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    taken = [set(map(int, process.stdout.readline().split())) for process in drawing if process.stdout]
    later = set(ports.free_ports(300))
    for process in drawing:
        process.communicate("\n")
    assert all(len(one) == 300 for one in taken)
    assert len(set.union(later, *taken)) == 5 * 300
    assert any(ports._lock(port) for port in taken[0])


def test_a_port_that_somebody_listens_on_is_not_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = tmp_path / "range"
    kernel.write_text("1\t1\n")
    monkeypatch.setattr(ports, "KERNEL_RANGE", kernel)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(ports, "RANGES", (range(port, port + 1),))
        with pytest.raises(RuntimeError, match="1 ports are asked for, 0 of 1 are free"):
            ports.free_ports(1)
    kernel.write_text("1024\t65535\n")
    with pytest.raises(RuntimeError, match="1 ports are asked for, 0 of 0 are free"):
        ports.free_ports(1)
