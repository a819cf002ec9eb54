"""`python -m cms`."""

import sys

from cms.cli import main

sys.exit(main())
