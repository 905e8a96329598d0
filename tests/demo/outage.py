"""A service of the demo that fails."""

_RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: outage
  namespace: shop
spec:
  hosts:
  - {host}
  http:
  - fault:
      abort:
        httpStatus: 503
        percentage:
          value: {percentage}
    route:
    - destination:
        host: {host}
"""


def outage(host: str, percentage: int) -> str:
    """The YAML by which so many of the requests to a service fail."""
    return _RULE.format(host=host, percentage=percentage)
