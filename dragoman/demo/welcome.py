"""What a visitor is told when the demo is up: where things are, and what to try."""

from __future__ import annotations

from dragoman.demo.runner import Demo

_TEXT = """\
The mesh is up: {services} services behind a gateway, {envoys} Envoys, mutual TLS between all of them.

  gateway   {gateway}/
  debug     {debug}/
  YAML      {folder}   edit it: each save is in force at once
  logs      {logs}

Try, in another terminal:

  curl -s {gateway}/ | python3 -m json.tool                   # every hop, and whom its sidecar verified as the caller
  cd {folder}
  sed -i 's/weight: 100/weight: 50/; s/weight: 0/weight: 50/' prices-route.yaml      # half of the traffic to v2
  sed -i 's/weight: 50/weight: half/' prices-route.yaml       # a mistake: reported, and the last good version stays
  cp ../ideas/canary.yaml prices-route.yaml                   # v2 only for those who ask for it:
  curl -s -H 'x-canary: yes' {gateway}/catalog
  cp ../ideas/deny-orders.yaml .                              # web may not ask for orders: 403
  rm deny-orders.yaml                                         # and may again
  curl -s {debug}/debug/syncz                                 # what each proxy has been sent and has ACKed

Ctrl-C ends all of it and leaves nothing behind.
"""


def welcome(demo: Demo) -> str:
    """The text, ending in a newline."""
    return _TEXT.format(
        services=len({workload.labels["app"] for workload in demo.workloads if not workload.gateway}),
        envoys=len(demo.envoys),
        gateway=demo.gateway_url,
        debug=demo.debug_url,
        folder=demo.folder.path,
        logs=demo.log_file,
    )
