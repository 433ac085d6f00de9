"""The page from a checkout and on a Space: `python app.py` is `magicstyle serve`."""

import sys

from magicstyle_core.__main__ import main
from magicstyle_core.app import APP_KWARGS, build_demo, build_page, launch

__all__ = ["APP_KWARGS", "build_demo", "build_page", "launch"]

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
