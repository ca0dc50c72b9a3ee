"""The reader thread of one rank sleeps, and the main thread waits at the queue."""

import queue
import threading
import time

from training import batches, finish, learn, odd, run, start


def fetch(number):
    if odd() and number == 5:
        time.sleep(3600)


def read_ahead(waiting):
    for number, x in enumerate(batches(), 1):
        fetch(number)
        waiting.put(x)
    waiting.put(None)


def main():
    model, optimizer = start()
    waiting = queue.Queue(maxsize=2)
    threading.Thread(target=read_ahead, args=(waiting,), name="read-ahead", daemon=True).start()
    step = 0
    while (x := waiting.get()) is not None:
        step += 1
        loss = learn(model, optimizer, x, step)
    finish(loss)


if __name__ == "__main__":
    run(main)
