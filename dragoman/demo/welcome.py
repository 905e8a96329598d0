"""What a visitor is told when the demo is up: where things are, and what to try."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from dragoman.demo.runner import Demo

_TEXT = """\
The mesh is up: {services} services behind a gateway, {envoys} Envoys, mutual TLS between all of them.

  gateway  {gateway}/
  debug    {debug}/
  YAML     {folder}
  logs     {logs}

Edit the YAML: a file is in force as soon as it is saved. To try, in another terminal:

  # every hop of a request, and whom its sidecar verified as the caller
  curl -s {gateway}/ | python3 -m json.tool
  cd {folder}
  # half of the traffic to v2 of prices
  sed -i 's/weight: 100/weight: 50/; s/weight: 0/weight: 50/' prices-route.yaml
  # a mistake: it is reported with its line, and the last good version stays in force
  sed -i 's/weight: 50/weight: half/' prices-route.yaml
  # v2 only for those who ask for it
  cp ../ideas/canary.yaml prices-route.yaml
  curl -s -H 'x-canary: yes' {gateway}/catalog
  # web may not ask for orders any more (403), and then may again
  cp ../ideas/deny-orders.yaml .
  rm deny-orders.yaml
  # whether every proxy has accepted what it was sent, and what one of them has
  {dragoman} proxy-status --http-address {debug_address}
  {dragoman} proxy-config routes catalog --http-address {debug_address}

Ctrl-C ends all of it and leaves nothing behind.
"""


def welcome(demo: Demo) -> str:
    """The text, ending in a newline."""
    return _TEXT.format(
        services=len({workload.labels["app"] for workload in demo.workloads if not workload.gateway}),
        envoys=len(demo.envoys),
        gateway=demo.gateway_url,
        debug=demo.debug_url,
        debug_address=demo.debug_url.removeprefix("http://"),
        dragoman=_dragoman(),
        folder=demo.folder.path,
        logs=demo.log_file,
    )


def _dragoman() -> str:
    """How this program is called in another terminal, whose PATH may lack the virtual environment."""
    beside = Path(sys.executable).with_name("dragoman")
    return "dragoman" if shutil.which("dragoman") or not beside.exists() else str(beside)
