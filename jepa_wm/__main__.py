"""`python -m jepa_wm` is `jepa-wm`."""

import sys

from jepa_wm.cli import main

sys.exit(main())
