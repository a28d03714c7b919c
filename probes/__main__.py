"""`python -m probes` is `jepa-wm probe`."""

import sys

from jepa_wm.cli import main

sys.exit(main(["probe", *sys.argv[1:]]))
