"""The least that has all of Ray in it: a cluster, the storage actor, and a driver that puts rows.

A script, started and killed by ``ray_lives``. Its rows come from there over a socket, and there
goes word of those that were acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from pathlib import Path

from feeding import receive, send

from agents.ray_env import prepare
from schema.errors import GridpactError
from schema.rows import Record
from schema.rows.system import AgentKind
from storage.lane import DrainSettings
from storage.spool_file import SpoolSettings

PRODUCERS = 3
STORAGE = "storage"


def main(home: str, spool: str, state_file: str, path: str) -> int:
    # Workers in reserve cost as much as all the rest of a life's beginning, and nobody needs them.
    os.environ.update(RAY_prestart_worker_first_driver="0", RAY_enable_worker_prestart="0")
    temp_parent = prepare(Path(home))
    # Imported here: these import ray, whose environment stands only now.
    from agents.supervisor import ActorSpec, Cluster
    from storage.actor import RayStorage, StorageActor
    from storage.client import StorageClient

    cluster = Cluster(address=None, temp_parent=temp_parent, namespace="rig")
    arguments = {
        "folder": spool,
        "store_args": {"path": state_file},
        "spool": SpoolSettings(ballast_bytes=0),
        "drain": DrainSettings(batch_rows=100, start_rows=50),
    }
    try:
        cluster.start()
        cluster.launch([ActorSpec(STORAGE, AgentKind.STORAGE, StorageActor, arguments)])
        backend = RayStorage(lambda: cluster.handle(STORAGE))

        def produce(number: int) -> None:
            client = StorageClient(backend, seed=number)
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(path)
                while (put := receive(connection)) is not None:
                    client.put_sync([Record(*record) for record in put[1]])
                    send(connection, "ok")

        producers = [
            threading.Thread(target=produce, args=(number,), daemon=True)
            for number in range(PRODUCERS)
        ]
        for producer in producers:
            producer.start()
        for producer in producers:
            producer.join()
        asyncio.run(StorageClient(backend).barrier(60))
    finally:
        cluster.stop()
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = main(*sys.argv[1:])
    except GridpactError as exc:
        print(f"error: {exc}", file=sys.stderr)
        code = 1
    sys.exit(code)
