# What a trainer imports beyond what nodes have, in an environment of its own over the node image's.
# Like that image, it reaches no network: packages come from the wheelhouse beside this file.
ARG NODE_IMAGE
FROM ${NODE_IMAGE}

USER root
RUN --mount=type=bind,source=.,target=/build \
    python /build/overlay.py /opt/metta/trainer \
 && pip --python /opt/metta/trainer/bin/python install --no-cache-dir --no-compile --no-deps --no-index \
      --find-links /build/wheelhouse --requirement /build/wheelhouse/requirements.txt \
 && python /build/overlay.py /opt/metta/trainer --scripts \
 && { python -m compileall -q -j 0 /opt/metta/trainer/lib || echo 'some files are not for this Python'; }
USER metta
ENV PATH=/opt/metta/trainer/bin:$PATH \
    VIRTUAL_ENV=/opt/metta/trainer
