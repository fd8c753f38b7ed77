"""Ports for servers that start later, or more than once: `free_ports` gives none of them to anybody else.

A port that is asked for with bind(0) and closed again is the kernel's to hand out, and ten minutes later
another process has it. These ports are of a range from which neither the kernel nor Ray draws, and a lock
keeps each for the process that drew it until that process ends.
"""

import errno
import itertools
import random
import socket
from pathlib import Path

KERNEL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
RAY_WORKERS = range(10_002, 20_000)  # what `ray start` gives its workers unless it is told otherwise
# Below and above Ray's, and clear of ports that programs have by default: 5000 and 5001 (MLflow), 6379, 8000
# and 8265 (Ray), 29500 (torch.distributed), 30000 and up (Kubernetes).
RANGES = (range(2_000, 5_000), range(20_000, 29_000))

_locks: dict[int, socket.socket] = {}  # of the ports that are this process's


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, and that nobody else is given before this process ends."""
    candidates = handed_out_by_nobody()
    random.SystemRandom().shuffle(candidates)  # a seed that tests share would make them try the same ones
    found = list(itertools.islice(filter(_lock, candidates), count))
    if len(found) < count:
        raise RuntimeError(f"{count} ports are asked for, {len(found)} of {len(candidates)} are free")
    return found


def handed_out_by_nobody() -> list[int]:
    """The ports of RANGES from which the kernel draws none for connections and for bind(0)."""
    low, high = map(int, KERNEL_RANGE.read_text().split())
    return [port for ports in RANGES for port in ports if not low <= port <= high]


def _lock(port: int) -> bool:
    """Whether nobody has the port; then it is this process's.

    The lock is a Unix socket's abstract name: unique where ports are, on this machine or in this container,
    and free again when the process ends, however it ends.
    """
    lock = socket.socket(socket.AF_UNIX)
    try:
        lock.bind(f"\0facap-port-{port}")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
            probe.bind(("127.0.0.1", port))
            probe.listen()
    except OSError as error:
        lock.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    _locks[port] = lock
    return True
