"""The program of every pod: ``python -m batch_gateway.web.serve NAME``.

A start makes hundreds of thousands of objects that live as long as the process. Looking through
them for garbage again and again takes a fifth of a cold start, so the collector sleeps until the
server has started (``web.server`` wakes it), and then leaves what was there alone.
"""

import gc

if __name__ == "__main__":
    gc.disable()

    from batch_gateway.web.server import main

    main()
