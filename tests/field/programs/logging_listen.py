"""A program that is told over a socket how to log, and logs."""
import logging.config
import time

thread = logging.config.listen(0)
thread.start()
try:
    while True:
        logging.getLogger("field").info("tick")
        time.sleep(0.02)
except KeyboardInterrupt:
    logging.config.stopListening()
    thread.join()
