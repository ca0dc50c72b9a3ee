"""One rank lacks a module."""

from training import batches, finish, learn, odd, run, start


def main():
    if odd():
        import fast_tokens_that_nobody_has as tokens

        print(tokens)
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
    finish(loss)


if __name__ == "__main__":
    run(main)
