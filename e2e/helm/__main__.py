"""`python -m e2e.helm`: builds helm (some two minutes of two cores), and prints its path.

Exit codes: 0 it is there; 1 it could not be built.
"""

import sys

from e2e.helm.program import HELM

sys.exit(HELM.main())
