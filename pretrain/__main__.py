"""`python -m pretrain` is `jepa-wm pretrain`."""

import sys

from jepa_wm.cli import main

sys.exit(main(["pretrain", *sys.argv[1:]]))
