"""What the image brings along: it asks the control plane how it is."""

import json
import os
import urllib.request

with urllib.request.urlopen(os.environ["OBSERVATORY_URL"] + "/health") as answer:
    print("the control plane says", json.load(answer)["status"])
