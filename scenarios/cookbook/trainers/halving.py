"""A search of one's own: it halves the learning rate until that no longer helps."""


class Halving:
    def __init__(self, parameters, goal, metric, trials, seed, options):
        self.sign = 1 if goal == "maximize" else -1
        self.value = parameters["lr"]["max"]
        self.smallest = parameters["lr"]["min"]
        self.best = None

    def suggest(self):
        return {"lr": self.value} if self.value >= self.smallest else None

    def observe(self, overrides, score, cost, failed):
        if failed or (self.best is not None and self.sign * score < self.best):
            self.smallest = float("inf")
        else:
            self.best = self.sign * score
        self.value = overrides["lr"] / 2
