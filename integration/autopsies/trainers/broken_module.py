"""One rank has a module of which only half was copied."""

from training import batches, finish, learn, odd, run, start


def main():
    if odd():
        open("half_written.py", "w").write("def half(\n")
        import half_written

        print(half_written)
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
    finish(loss)


if __name__ == "__main__":
    run(main)
