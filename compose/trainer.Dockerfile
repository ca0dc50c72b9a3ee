# What a trainer imports beyond what nodes have, in an environment of its own over the node image's.
# Like that image, it reaches no network: packages come from the wheelhouse beside this file.
ARG NODE_IMAGE
FROM ${NODE_IMAGE}

USER root
RUN --mount=type=bind,source=.,target=/build \
    /opt/metta/venv/bin/python /build/overlay.py /opt/metta/trainer \
 && /opt/metta/venv/bin/pip --python /opt/metta/trainer/bin/python install --no-cache-dir --no-compile --no-deps --no-index \
      --find-links /build/wheelhouse --requirement /build/wheelhouse/requirements.txt \
 && /opt/metta/venv/bin/python /build/overlay.py /opt/metta/trainer --scripts \
 && { /opt/metta/venv/bin/python -m compileall -q -j 0 /opt/metta/trainer/lib || echo 'some files are not for this Python'; }
# The environment that a workload installs into lies over this one now.
USER metta
RUN --mount=type=bind,source=overlay.py,target=/build/overlay.py \
    rm -r /home/metta/venv \
 && /opt/metta/trainer/bin/python /build/overlay.py /home/metta/venv \
 && /opt/metta/trainer/bin/python /build/overlay.py /home/metta/venv --scripts
ENV PATH=/home/metta/venv/bin:/opt/metta/trainer/bin:$PATH
