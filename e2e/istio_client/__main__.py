"""`python -m e2e.istio_client`: builds the client (some two minutes of one core), and prints its path.

Exit codes: 0 it is there; 1 it could not be built.
"""

import sys

from e2e.istio_client.program import ISTIO_CLIENT

sys.exit(ISTIO_CLIENT.main())
