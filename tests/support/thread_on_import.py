"""A module that leaves a thread running, as some libraries do."""

import threading
import time

threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
