"""`python -m device_status_worker.demo`: starts `run.py`; Ctrl-C ends it quietly, even during imports."""

from __future__ import annotations

import sys


def _main() -> int:
    try:
        from device_status_worker.demo.run import main  # noqa: PLC0415 - takes a second, see above

        return main()
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return 130


if __name__ == "__main__":
    sys.exit(_main())
