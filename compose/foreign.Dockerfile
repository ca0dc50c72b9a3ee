# An image of the user's with our rollout's environment beside theirs, made by their own Python.
# Their PATH, packages and files stay as they are. Nothing here reaches the network.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}

USER root
ARG PYTHON
RUN --mount=type=bind,source=wheelhouse,target=/wheelhouse \
    "$PYTHON" -m venv /opt/metta/venv \
 && /opt/metta/venv/bin/pip install --no-cache-dir --no-compile --no-deps --no-index \
      --find-links /wheelhouse --requirement /wheelhouse/requirements.txt \
 && /opt/metta/venv/bin/pip check \
 && { /opt/metta/venv/bin/python -m compileall -q -j 0 /opt/metta/venv/lib || echo 'some files are not for this Python'; }

COPY lib /opt/metta/lib
RUN for folder in /opt/metta/venv/lib/python3*/site-packages; do \
      echo /opt/metta/lib > "$folder/metta_sandbox.pth"; \
    done
